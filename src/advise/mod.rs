//! Where to cut and what to send: profiles of machines, the rows of runs, and the planner over both.

pub mod advice;
pub mod loss;
pub mod profile;
pub mod setting;
