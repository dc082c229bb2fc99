//! The FC transform as a kernel: an activation to the low rows of its spectrum, and back.
//!
//! The token axis comes first, so that A is read once. Few tokens, and many with a large prime factor, are transformed by
//! sums over cosines and sines, of which only those that a block keeps are computed; others by fast transforms of
//! sixteen channels at a time, or by a convolution. The hidden axis follows: fast transforms of the kept rows, one
//! after another.

mod band;
mod butterfly;
mod classes;
mod columns;
mod forward;
mod inverse;
mod line_transform;
mod row;
#[cfg(test)]
mod tests;
mod token_axis;
mod work;

pub use band::{Band, Block};
pub use forward::{Complex32, Spectrum, forward, forward_all};
pub use inverse::{inverse, normalisation};
pub use work::{Workspace, with_workspace};
