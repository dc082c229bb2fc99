//! What does it cost, in accuracy, bytes and time, to compress the activation that crosses the cut of a split
//! language model? See README.md for use, METHODOLOGY.md for every definition.

pub mod cmd;
pub mod codec;
pub mod data;
mod exp;
pub mod experiment;
pub mod fpga;
pub mod hub;
pub mod kernel;
pub mod model;
pub mod npy;
pub mod prepare;
pub mod replay;
pub mod report;
mod save;
pub mod score;
pub mod simulate;
pub mod suggest;
mod table_file;
mod vector;

#[cfg(all(feature = "cuda-model", feature = "cuda-kernel"))]
compile_error!("cuda-model links CUDA and cuda-kernel loads it when it is run: build with one of the two features");

/// Version and git revision of this build; `-dirty` where the tree had changes.
pub const VERSION: &str = env!("SPLITBENCH_VERSION");
