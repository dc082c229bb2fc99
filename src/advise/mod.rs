//! Where to cut and what to send: profiles of machines, the rows of runs, and the planner over both.

mod advice;
mod board;
mod by_rate;
mod doubt;
mod fit;
pub mod from_run;
pub mod loss;
pub mod machine;
pub mod measure;
pub mod packets;
mod planners;
pub mod profile;
pub mod setting;
pub mod sheet;

pub use advice::{Advice, advise};
pub use board::{AdviceGoal, AdvisedCut, PAIR};
pub use by_rate::{LinkBreakEven, ResponseCurve, WinningRange};
pub use machine::{WantedModel, machine};
pub use planners::PlannerChoice;
