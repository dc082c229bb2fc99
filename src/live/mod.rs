//! The split over a real connection: a server, its clients, and the link between, emulated where there is none.

pub mod address;
pub mod bench;
mod channel;
pub mod chat;
pub mod client;
mod connection;
pub mod engine;
pub mod frame;
pub mod generate;
pub mod key;
mod lane;
pub mod link;
pub mod listener;
pub mod message;
mod metrics;
#[cfg(feature = "noise")]
mod noise;
pub mod quality;
pub mod relay;
pub mod sampler;
pub mod score;
pub mod server;
mod session;
pub mod shaper;
pub mod stream;
pub mod text_stream;
