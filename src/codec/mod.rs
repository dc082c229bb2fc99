//! Codecs: an activation in, bytes out, and back. A codec never sees a model.
//!
//! [`CodecSpec::parse`] reads a name such as `fc:band=centered`, [`build`] makes the codec, [`Codec::encode`] turns an
//! [`Activation`] and a [`Budget`] into a [`Packet`], and [`decode`] turns a packet back: a codec ships what its decoder
//! needs, so a packet is read without options; those whose sides share a calibration ([`Codec::decode`]) ship its digest.
//!
//! Everything here is sequential and deterministic; callers parallelise over activations.
//!
//! # Add a codec
//! README.md, "Add a codec", does it with a codec of few lines; in another language, "A codec in any language". In short:
//! 1. Write `src/codec/<name>.rs` with a `pub(super) const INFO: CodecInfo`: name, summary, options, a wire id that no
//!    other codec has, whether a budget steers it, and four functions (what it needs, how to build it, how long its
//!    packets are, how to decode one).
//! 2. Name it below, and in the list of `registry.rs`.
//! 3. Tell `tests/codecs.rs` how much its packets hold (five lists); all other tests find it by themselves.
//! 4. Let `tests/golden.rs` write its packet: `GOLDEN=write cargo test --release --test golden`.

mod activation;
#[cfg(test)]
mod adaptive_reference;
mod asvd;
mod bits;
mod bitstream;
mod block;
mod budget;
mod buffers;
mod calibration;
mod coefficients;
mod external;
mod fc;
mod fc_mask;
mod fc_reading;
mod fp8;
mod fwsvd;
mod groups;
mod hadamard;
mod hadamard_int4;
mod half_spectrum;
mod int4;
mod int8;
mod klt;
mod largest;
mod linalg;
mod low_rank;
#[cfg(test)]
mod low_rank_tests;
mod mask;
mod noop;
mod packet;
mod qr;
mod quantiser;
mod ranges;
mod rans;
mod registry;
mod rotation;
mod shared;
mod slicer;
mod sparse_rans;
mod spec;
mod svd;
mod svd_llm;
mod threshold_split;
mod token_ids;
mod topk;
mod values;
mod weighed;
mod zfp;

pub use activation::{Activation, TokenIds};
pub use block::{Aspect, proportional};
pub use budget::{Accounting, Budget, raw_bytes};
pub(crate) use calibration::Snapshot;
pub use calibration::{Calibration, CalibrationBuilder, CalibrationNeed};
pub use external::NAME as EXTERNAL;
pub use packet::{MAX_ELEMENTS, MAX_SIDE, Packet};
pub use registry::{Allowed, Choice, CodecInfo, OptionInfo, Rate, registered};
pub use spec::CodecSpec;
pub use values::ValueType;

use anyhow::{Result, ensure};

/// One way to send an activation. Implementations are sequential and deterministic.
pub trait Codec: Send + Sync {
    /// The name and options this codec was built from.
    fn spec(&self) -> &CodecSpec;

    /// Compresses one activation to the budget; a codec of fixed rate ([`Rate::Fixed`]) does not look at it. Fails where a
    /// value is not finite, where the budget is not a ratio of at least 1, or where the shape is not the one the codec was
    /// calibrated for.
    fn encode(&self, activation: &Activation, budget: Budget) -> Result<Packet>;

    /// Reads a packet of this codec. Fails on a packet of another codec and on bytes that do not make sense.
    fn decode(&self, packet: &Packet) -> Result<Activation> {
        check_codec(self.spec(), packet)?;
        decode(packet)
    }

    /// What a packet of this codec hands the server: an activation, of all codecs but `token-ids`.
    fn receive(&self, packet: &Packet) -> Result<Received> {
        self.decode(packet).map(Received::Activation)
    }

    /// Whether a call would first have to start something whose time is not the codec's; the next ones would not.
    fn is_cold(&self) -> bool {
        false
    }
}

/// What a packet hands the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// An activation, to go on from.
    Activation(Activation),
    /// What the model was fed: the server runs the client half on it.
    TokenIds(TokenIds),
}

/// Makes the codec a spec names. Fails where it needs calibration data that is missing.
pub fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    (spec.info().build)(spec, calibration)
}

/// Decodes a packet of whichever codec it names, without options. The allocation is bounded by [`MAX_ELEMENTS`]. Fails for a
/// packet that only [`Codec::decode`] can read: of `external`, which hands it to its program, and of codecs whose two sides
/// share a calibration; and for one of `token-ids`, which has no activation.
pub fn decode(packet: &Packet) -> Result<Activation> {
    received(packet, (packet.info().decode)(packet)?)
}

/// Fails where a packet is of another codec than was built.
fn check_codec(spec: &CodecSpec, packet: &Packet) -> Result<()> {
    let own = spec.name();
    ensure!(packet.codec() == own, "packet field codec: {} was built, the packet is of {}", own, packet.codec());
    Ok(())
}

/// The activation of a packet with the values it decodes to; fails, naming token and channel, where one is not finite.
fn received(packet: &Packet, values: Vec<f32>) -> Result<Activation> {
    if values::max_magnitude(&values).is_none() {
        let at = values.iter().position(|v| !v.is_finite()).expect("one was found");
        anyhow::bail!(
            "packet of {}: token {}, channel {} decodes to {}, not a finite number",
            packet.codec(),
            at / packet.hidden(),
            at % packet.hidden(),
            values[at]
        );
    }
    Activation::new(packet.tokens(), packet.hidden(), values)
}

/// The largest magnitude of an activation; fails, naming token and channel, where a value is not finite.
fn check_finite(activation: &Activation) -> Result<f32> {
    if let Some(top) = values::max_magnitude(activation.values()) {
        return Ok(top);
    }
    let at = activation.values().iter().position(|v| !v.is_finite()).expect("one was found");
    anyhow::bail!(
        "the activation is {} at token {}, channel {}: only finite values can be encoded",
        activation.values()[at],
        at / activation.hidden(),
        at % activation.hidden()
    )
}
