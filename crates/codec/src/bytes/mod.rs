//! Numbers and codes as bytes: fields, bits, value types, entropy coding, and buffers that are used again.

#[cfg(target_arch = "x86_64")]
mod bell_lanes;
pub(crate) mod bell_rans;
pub(crate) mod bits;
pub(crate) mod bitstream;
pub(crate) mod buffers;
pub(crate) mod fields;
pub(crate) mod ranges;
pub(crate) mod rans;
pub(crate) mod values;
