//! The split over a real connection.

pub mod address;
pub mod chat;
pub mod client;
mod connection;
pub mod engine;
pub mod frame;
pub mod generate;
pub mod key;
pub mod message;
mod metrics;
pub mod sampler;
pub mod server;
mod session;
pub mod text_stream;
