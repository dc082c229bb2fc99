//! Grids of numbers that values are rounded to, with one scale per group, and how their codes lie in a packet.

pub(crate) mod blocks;
pub(crate) mod coefficients;
pub(crate) mod groups;
pub(crate) mod int8;
pub(crate) mod quantiser;
