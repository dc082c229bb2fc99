//! Where to cut and what to send: profiles of machines, the rows of runs, and the planner over both.

pub mod advice;
mod fit;
pub mod from_run;
pub mod loss;
pub mod machine;
pub mod measure;
pub mod packets;
pub mod planners;
pub mod profile;
pub mod setting;
pub mod sheet;

pub use machine::{WantedModel, machine};
