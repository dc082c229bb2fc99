//! An experiment: its file, the plan, the run and the rows it leaves.

mod batch;
mod calibrate;
mod calibration_cache;
mod cell;
mod collect;
mod entry;
mod evaluate;
mod indicators;
mod journal;
mod machine;
mod manifest;
mod memory;
mod merge;
mod needs;
pub mod plan;
mod probe;
mod progress;
mod row;
mod run;
mod scope;
mod score;
mod shard;
mod smoothness;
pub mod spec;
mod store;

pub use cell::Cell;
pub use indicators::Indicators;
pub use manifest::Known;
pub use memory::check_memory;
pub use merge::merge;
pub use needs::Needs;
pub use row::{Accuracy, Paired, Row};
pub use run::{Options, Outcome, run};
pub use scope::Scope;
pub use score::{ScoreRequest, score_in_memory};
pub use shard::Shard;
