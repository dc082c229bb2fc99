//! What does it cost, in accuracy, bytes and time, to compress the activation that crosses the cut of a split language
//! model? `docs/README.md` has a page for each question about its use.
//!
//! The rooms, top down; an import only goes down (`tests/architecture.rs`):
//!
//! | room | what it does |
//! |---|---|
//! | [`cmd`] | one file per subcommand: puts the rooms below together |
//! | [`report`] | records to tables, figures and pages; computes no score |
//! | [`prepare`] | downloads models and data sets |
//! | [`advise`] | profiles of machines, and where to cut by them |
//! | [`experiment`] | an experiment file to a plan, its cells, a run and its journal |
//! | [`replay`] | times of codecs and kernels over traces |
//! | [`simulate`] | many clients, from service times |
//! | [`live`] | the split over a real connection, and the link between |
//! | [`record`] | what is on disk after a run |
//! | [`score`] | log-likelihoods to accuracy, fidelity and paired statistics |
//! | [`model`] | the decoder with a cut, weights, tokenizers |
//! | [`data`] | data sets, rows, prompts |
//! | [`hub`] | the Hugging Face hub |
//!
//! The codecs are a package of their own, [`splitbench_codec`], and so are the FPGA cores, [`splitbench_fpga`].

/// `eprintln!` that does not panic: a word on the way is no reason to end a run, such as where nobody reads it any more.
macro_rules! tell {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}

pub mod advise;
mod caught;
pub mod clock;
pub mod cmd;
#[cfg(feature = "cuda-model")]
mod cuda_libraries;
pub mod data;
pub mod embedded;
#[cfg(test)]
mod emulated;
mod exact;
pub mod experiment;
mod file_name;
pub mod hub;
pub mod live;
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

/// Version and git revision of this build; `-dirty` where the tree had changes.
pub const VERSION: &str = env!("SPLITBENCH_VERSION");
