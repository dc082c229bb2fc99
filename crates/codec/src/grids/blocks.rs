//! Formats of GGML: 32 consecutive channels of a token with an f16 scale before their codes, one block after another.

use std::marker::PhantomData;

use anyhow::{Result, ensure};
use half::f16;

use crate::activation::Activation;
use crate::bytes::buffers;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::packet::{Packet, PacketView};
use crate::interface::spec::CodecSpec;

/// Channels of a block.
pub(crate) const BLOCK: usize = 32;

/// Bytes of a scale.
pub(crate) const SCALE_BYTES: usize = 2;

/// How the 32 values of a block become bytes.
pub(crate) trait BlockFormat: Send + Sync + 'static {
    /// Bytes of the codes of a block.
    const CODES: usize;
    /// Writes [`BlockFormat::CODES`] bytes; returns the scale, not rounded.
    fn encode(values: &[f32; BLOCK], codes: &mut [u8]) -> f32;
    /// The values over the scale.
    fn decode(codes: &[u8], scaled: &mut [f32; BLOCK]);
}

/// 1 / scale; 0 for a scale of 0, and for one so small that the quotient is no f32. Such a scale is 0 in f16.
pub(crate) fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The codec of a block format.
pub(crate) struct BlockCodec<F> {
    spec: CodecSpec,
    format: PhantomData<F>,
}

impl<F> BlockCodec<F> {
    pub fn new(spec: &CodecSpec) -> Self {
        Self { spec: spec.clone(), format: PhantomData }
    }
}

impl<F: BlockFormat> Codec for BlockCodec<F> {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        let body = body_bytes::<F>(shape);
        let mut bytes = Packet::begin(self.spec.info(), ValueType::F16, shape, body)?;
        let start = bytes.len();
        bytes.resize(start + body, 0);
        let mut out = bytes[start..].chunks_exact_mut(SCALE_BYTES + F::CODES);
        for row in activation.values().chunks_exact(activation.hidden()) {
            for (channels, block) in row.chunks(BLOCK).zip(&mut out) {
                // A row that ends within a block is filled up with zeros.
                let mut values = [0f32; BLOCK];
                values[..channels.len()].copy_from_slice(channels);
                let (scale, codes) = block.split_at_mut(SCALE_BYTES);
                let exact = F::encode(&values, codes);
                // GGML sends an infinite scale where f16 ends; the largest number there is keeps all values finite.
                let sent = f16::from_f32(exact.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
                scale.copy_from_slice(&sent.to_le_bytes());
            }
        }
        Packet::finish(self.spec.info(), bytes)
    }
}

/// Bytes of all blocks.
fn body_bytes<F: BlockFormat>((tokens, hidden): (usize, usize)) -> usize {
    tokens * hidden.div_ceil(BLOCK) * (SCALE_BYTES + F::CODES)
}

pub(crate) fn layout<F: BlockFormat>(view: &PacketView<'_>) -> Result<usize> {
    ensure!(
        view.values == ValueType::F16,
        "packet field value type: expected f16, the type of the scales, found {}",
        view.values
    );
    view.expect_len(body_bytes::<F>((view.tokens, view.hidden)) as u64)?;
    Ok(view.tokens * view.hidden)
}

pub(crate) fn decode<F: BlockFormat>(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut blocks = view.body.chunks_exact(SCALE_BYTES + F::CODES);
    let mut out = buffers::empty(packet.elements());
    for token in 0..view.tokens {
        for (at, block) in (0..view.hidden).step_by(BLOCK).zip(&mut blocks) {
            let scale = f16::from_le_bytes([block[0], block[1]]);
            ensure!(scale.is_finite(), "packet field scales: {scale} of token {token}, channel {at} is not finite");
            let mut values = [0f32; BLOCK];
            F::decode(&block[SCALE_BYTES..], &mut values);
            let (channels, filling) = values.split_at((view.hidden - at).min(BLOCK));
            let zeros = filling.iter().all(|v| *v == 0.0);
            ensure!(zeros, "packet field codes: those behind the last channel of token {token} are not zero");
            let scale = scale.to_f32();
            out.extend(channels.iter().map(|v| v * scale));
        }
    }
    Ok(out)
}
