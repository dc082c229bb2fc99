//! An experiment: its file, the plan, the run and the rows it leaves.

mod batch;
mod calibrate;
mod calibration_cache;
mod cell;
mod evaluate;
mod indicators;
pub(crate) mod machine;
mod memory;
mod needs;
pub mod plan;
mod probe;
mod progress;
mod row;
mod run;
mod scope;
mod score;
mod smoothness;
pub mod spec;
mod store;

pub use batch::runs;
pub use cell::Cell;
pub use indicators::Indicators;
pub use memory::check_memory;
pub use needs::Needs;
pub use row::{Accuracy, Paired, Row};
pub use run::{Options, Outcome, run};
pub use scope::Scope;
pub use score::{ScoreRequest, Scored, score};
pub(crate) use store::Store;
