//! Where to cut and what to send: profiles of machines, the rows of runs, and the planner over both.

pub mod profile;
