//! The split over a real connection.

pub mod sampler;
