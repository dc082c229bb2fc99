//! One activation through a codec and back, with times.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::activation::Activation;
use crate::interface::budget::Budget;
use crate::interface::packet::Packet;
use crate::interface::{Codec, Delivery};

/// What one round trip came to.
#[derive(Debug)]
pub struct RoundTrip {
    /// What was sent, read again from its bytes.
    pub packet: Packet,
    /// What the server gets.
    pub received: Delivery,
    /// Wall time to encode, one thread.
    pub encode: Duration,
    /// Wall time to decode.
    pub decode: Duration,
}

/// Sends an activation through a codec. The decoder gets the packet's bytes and nothing else of the encoder's. A codec that first
/// has to start something ([`Codec::is_cold`]) makes one round trip before the one that is timed. Fails where encoding or decoding
/// does, and says which.
pub fn round_trip(codec: &dyn Codec, activation: &Activation, budget: Option<Budget>) -> Result<RoundTrip> {
    let encode = || codec.encode(activation, budget).context("encoding");
    let decode = |packet: &Packet| codec.receive(packet).context("decoding");
    if codec.is_cold() {
        decode(&encode()?)?;
    }
    let clock = Instant::now();
    let packet = encode()?;
    let encode = clock.elapsed();
    let packet = Packet::from_bytes(packet.into_bytes())?;
    let clock = Instant::now();
    let received = decode(&packet)?;
    Ok(RoundTrip { packet, received, encode, decode: clock.elapsed() })
}
