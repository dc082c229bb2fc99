//! What every codec is given, gives, and says about itself.

pub(crate) mod budget;
pub(crate) mod calibration;
pub(crate) mod info;
pub(crate) mod packet;
pub(crate) mod row_sample;
pub(crate) mod shared;
#[cfg(test)]
pub(crate) mod size_rule;
pub(crate) mod spec;

use anyhow::{Result, ensure};

use crate::activation::{Activation, TokenIds};
use crate::bytes::values;
use budget::Budget;
use packet::Packet;
use spec::CodecSpec;

/// One way to send an activation. Implementations are sequential and deterministic.
pub trait Codec: Send + Sync {
    /// The name and options this codec was built from.
    fn spec(&self) -> &CodecSpec;

    /// Compresses one activation to the budget, which a codec of fixed rate ([`Rate::Fixed`](crate::Rate::Fixed))
    /// ignores. Fails where a value is not finite, where the budget is not a ratio of at least 1, or where the shape is
    /// not the one the codec was calibrated for.
    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet>;

    /// Reads a packet of this codec. Fails on a packet of another codec and on bytes that do not make sense.
    fn decode(&self, packet: &Packet) -> Result<Activation> {
        check_codec(self.spec(), packet)?;
        received(packet, (packet.info().decode)(packet)?)
    }

    /// What a packet of this codec hands the server: an activation, of all codecs but `token-ids`.
    fn receive(&self, packet: &Packet) -> Result<Delivery> {
        self.decode(packet).map(Delivery::Activation)
    }

    /// Whether the next call would first have to start something whose time is not the codec's; later calls would not.
    fn is_cold(&self) -> bool {
        false
    }
}

/// What a packet hands the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// An activation, to go on from.
    Activation(Activation),
    /// What the model was fed: the server runs the client half on it.
    TokenIds(TokenIds),
}

/// Fails where a packet was made by another codec than `spec`'s.
pub(crate) fn check_codec(spec: &CodecSpec, packet: &Packet) -> Result<()> {
    let own = spec.name();
    ensure!(packet.codec() == own, "packet field codec: {} was built, the packet is of {}", own, packet.codec());
    Ok(())
}

/// The activation of a packet with the values it decodes to; fails, naming token and channel, where one is not finite.
pub(crate) fn received(packet: &Packet, values: Vec<f32>) -> Result<Activation> {
    // Finite numbers of a packet may still sum to more than f32 holds.
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
pub(crate) fn check_finite(activation: &Activation) -> Result<f32> {
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
