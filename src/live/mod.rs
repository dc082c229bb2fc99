//! The split over a real connection.

pub mod address;
pub mod client;
mod connection;
mod engine;
pub mod frame;
pub mod generate;
pub mod key;
pub mod message;
mod metrics;
pub mod sampler;
pub mod server;
mod session;
