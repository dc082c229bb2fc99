//! `decimate`: some tokens, evenly spread.

use anyhow::{Result, ensure};

use super::budget::wire_items;
use super::packet::{self, Frame, HEADER_BYTES, Packet, Reader};
use super::registry::{CodecInfo, Rate, VALUES};
use super::values::{self, EXPONENT_BYTES};
use super::{Accounting, Activation, Budget, Codec, CodecSpec};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "decimate",
    summary: "Sends some tokens, evenly spread; the others become zero.",
    options: &[VALUES], // values=f16|f32|bf16, on the command line, in TOML and in rows
    id: 20,             // the codec's number in a packet: no other codec's
    rate: Rate::Budget, // a ratio says how much is sent
    needs: |_| None,    // no calibration
    build: |spec, _| Ok(Box::new(Decimate { spec: spec.clone() })),
    layout,
    decode,
};

/// Bytes before the numbers: how many tokens were kept, and the section's exponent.
const OWN_BYTES: usize = 4 + EXPONENT_BYTES;

struct Decimate {
    spec: CodecSpec,
}

impl Codec for Decimate {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Budget) -> Result<Packet> {
        budget.check()?;
        super::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let kind = self.spec.values();
        let room = match budget.accounting {
            Accounting::Elements => (tokens as f64 / budget.ratio).floor() as usize,
            Accounting::Wire => {
                wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + OWN_BYTES, hidden * kind.bytes())
            }
        };
        let rows = room.clamp(1, tokens);
        let kept: Vec<f32> = (0..rows).flat_map(|i| activation.row(i * tokens / rows)).copied().collect();
        let mut bytes = packet::begin(&INFO, kind, (tokens, hidden), OWN_BYTES + kept.len() * kind.bytes())?;
        packet::put_u32(&mut bytes, rows);
        values::write_section(&mut bytes, kind, &kept, 0)?;
        Packet::from_bytes(bytes)
    }
}

/// How many numbers a packet has, by its own header, whose length is checked before anything is allocated.
fn layout(frame: &Frame<'_>) -> Result<usize> {
    let rows = Reader::new(frame.body).u32("rows")? as usize;
    ensure!((1..=frame.tokens).contains(&rows), "packet field rows: {rows} of {} tokens", frame.tokens);
    let kept = rows * frame.hidden;
    frame.expect_len((OWN_BYTES + kept * frame.values.bytes()) as u64)?;
    Ok(kept)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (tokens, hidden) = (packet.tokens(), packet.hidden());
    let mut reader = Reader::new(packet.frame().body);
    let rows = reader.u32("rows")? as usize;
    let kept = values::read_section(&mut reader, packet.values(), packet.elements(), "tokens")?.into_values();
    let mut out = vec![0.0; tokens * hidden];
    for (i, row) in kept.chunks_exact(hidden).enumerate() {
        out[i * tokens / rows * hidden..][..hidden].copy_from_slice(row);
    }
    Ok(out)
}
