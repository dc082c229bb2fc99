//! What does it cost, in accuracy, bytes and time, to compress the activation that crosses the cut of a split
//! language model? See docs/README.md for use and for every definition.

/// `eprintln!` that does not panic: a word on the way is no reason to end a run, such as where nobody reads it any more.
macro_rules! tell {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}

pub mod cmd;
pub mod data;
pub mod embedded;
#[cfg(test)]
mod emulated;
mod exact;
pub mod experiment;
mod file_name;
pub mod hub;
pub mod model;
pub mod output;
pub mod prepare;
pub mod progress;
pub mod record;
mod repeats;
pub mod replay;
pub mod report;
pub mod save;
pub mod score;
pub mod simulate;

#[cfg(all(feature = "cuda-model", feature = "cuda-kernel"))]
compile_error!("cuda-model links CUDA and cuda-kernel loads it when it is run: build with one of the two features");

/// Version and git revision of this build; `-dirty` where the tree had changes.
pub const VERSION: &str = env!("SPLITBENCH_VERSION");
