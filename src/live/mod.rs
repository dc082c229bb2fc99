//! The split over a real connection.

pub mod chat;
pub mod sampler;
pub mod text_stream;
