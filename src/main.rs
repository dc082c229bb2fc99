/// See Cargo.toml: half of the training time went to page faults without it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::io::Write;

use clap::Parser;

/// `mi_option_purge_delay` of mimalloc.h, which its bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Longer than pages of one pass of a server wait for the next.
const SERVER_PURGE_DELAY_MS: std::ffi::c_long = 1000;

fn main() {
    // An error is a line or two for whoever reads it, here and in rows: with RUST_BACKTRACE set, libraries would put the addresses of
    // this program into theirs. A panic still tells its own.
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    let cli = splitbench::cmd::Cli::parse();
    // Freed pages stay: mimalloc would give them back after 10 ms, and a tenth of the scoring time went to clearing them again.
    // A server runs on, so what a rush of clients took goes back: else its memory is that of its worst moment for good.
    let purge_delay_ms = if cli.is_server() { SERVER_PURGE_DELAY_MS } else { -1 };
    // SAFETY: it takes any number, and no other thread runs yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, purge_delay_ms) };
    if let Err(error) = cli.run() {
        // Where nobody reads the error either, the exit code still says it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        std::process::exit(if error.is::<splitbench::cmd::WrongUsage>() { 2 } else { 1 });
    }
}
