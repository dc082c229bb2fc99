//! The split over a real connection.

pub mod address;
mod lane;
pub mod link;
pub mod relay;
pub mod shaper;
