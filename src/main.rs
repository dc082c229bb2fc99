/// See Cargo.toml: half of the training time went to page faults without it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::io::Write;

use clap::Parser;

fn main() {
    let cli = splitbench::cmd::Cli::parse();
    if let Err(error) = cli.run() {
        // Where nobody reads the error either, the exit code still says it.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        std::process::exit(1);
    }
}
