//! The FC transform in hardware: the bit-exact model of the cores in `rtl/`, and the child process that simulates them cycle
//! by cycle. `rtl/README.md` has the architecture and the word lengths.
//!
//! A row is transformed along D as it comes in, eight channels a cycle; the kept columns wait in a buffer, four a word with
//! a common exponent, and are then summed along S against cosines and sines of any period. The decoder goes the other way.

#[cfg(test)]
mod accuracy;
mod fixed;
mod float;
mod hidden;
mod model;
mod shape;
mod simulator;
mod sources;
mod tables;
mod tokens;

pub use float::{BlockFloat, QuantisedRows, quantise, quantise_at};
pub use model::{DecoderOutput, EncoderOutput, decode, encode};
pub use shape::{CoreShape, HIDDEN, MAX_TOKENS};
pub use simulator::{CoreTiming, DecodeRun, EncodeRun, Simulator};
pub use sources::tool;

/// Cycles a second that a simulated time is computed with: an assumption, not a result of place and route (`rtl/README.md`,
/// "Clock").
pub const CLOCK_HZ: f64 = 300e6;
