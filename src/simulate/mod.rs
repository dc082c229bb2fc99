//! Response times of many clients that share a link and a server, by simulation. What a request takes was measured, or is
//! assumed and said so; how requests wait for each other is simulated.

pub mod capacity;
pub mod engine;
pub mod live;
mod load;
mod scenario;
mod sweep;

pub use load::{Cost, Load, ServicePair, ServiceProfile, label};
pub use scenario::{ArrivalLaw, Scenario, Simulate, find};
pub use sweep::sweep;
