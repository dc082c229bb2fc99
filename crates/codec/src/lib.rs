//! Codecs: an activation in, bytes out, and back. A codec never sees a model.
//!
//! [`CodecSpec::parse`] reads a name such as `fc:band=centered`, [`build`] makes the codec, [`Codec::encode`] turns an
//! [`Activation`] and a [`Budget`] into a [`Packet`], and [`decode`] turns a packet back: a codec ships what its decoder
//! needs, so a packet is read without options; those whose sides share a calibration ([`Codec::decode`]) ship its digest.
//! [`round_trip`] does both with times.
//!
//! Everything here is sequential and deterministic; callers parallelise over activations.
//!
//! # Add a codec
//! `docs/add-a-codec.md` of splitbench does it with a codec of few lines. In short:
//! 1. Write `codecs/<name>.rs` with a `pub(crate) const INFO: CodecInfo`: name, summary, options, a wire id that no
//!    other codec has, whether a budget steers it, and four functions (what it needs, how to build it, how long its
//!    packets are, how to decode one).
//! 2. Name it in `codecs/mod.rs`, and in the list of `registry.rs`.
//! 3. Say in its `SizeRule`, beside the `CodecInfo`, how much its packets hold; the suite of all codecs finds it by itself.
//! 4. Let `tests/golden.rs` write its packet: `GOLDEN=write cargo test --release -p splitbench-codec --test golden`.
#![doc = include_str!("../README.md")]

mod activation;
mod bytes;
mod codecs;
mod grids;
mod interface;
pub mod kernel;
mod linalg;
pub mod npy;
mod parts;
mod registry;
mod round_trip;
mod shape;
pub mod suggest;
#[cfg(test)]
mod suite;
#[doc(hidden)]
pub mod vector;

pub use activation::{Activation, SharedValues, TokenIds};
pub use bytes::values::ValueType;
pub use codecs::external::NAME as EXTERNAL;
pub use interface::budget::{Accounting, Budget, raw_bytes};
pub use interface::calibration::{Calibration, CalibrationBuilder, CalibrationNeed, CalibrationSnapshot};
pub use interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
pub use interface::packet::Packet;
pub use interface::spec::CodecSpec;
pub use interface::{Codec, Delivery};
pub use parts::block_shape::{Aspect, proportional};
pub use registry::{build, decode, registered, split_codecs};
pub use round_trip::{RoundTrip, round_trip};
pub use shape::{MAX_ELEMENTS, MAX_SIDE, Shape};
