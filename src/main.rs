/// See Cargo.toml: half of the training time went to page faults without it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::io::Write;

use clap::Parser;

/// `mi_option_purge_delay` of mimalloc.h, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() {
    // Freed pages stay: mimalloc would give them back after 10 ms, and a tenth of the scoring time went to clearing them again.
    // SAFETY: it takes any number, and no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    // An error is a line or two for whoever reads it, here and in rows: with RUST_BACKTRACE set, libraries would put the addresses of
    // this program into theirs. A panic still tells its own.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    let cli = splitbench::cmd::Cli::parse();
    if let Err(error) = cli.run() {
        // Where nobody reads the error either, the exit code still says it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        std::process::exit(if error.is::<splitbench::cmd::WrongUsage>() { 2 } else { 1 });
    }
}
