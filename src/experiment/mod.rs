//! An experiment: its file, the plan, the run and the rows it leaves.

mod row;
pub use row::{Accuracy, Paired, Row};
