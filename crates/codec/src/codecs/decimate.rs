//! `decimate`: some tokens, evenly spread.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, EXPONENT_BYTES};
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::interface::{Codec, check_finite};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "decimate",
    summary: "Sends some tokens, evenly spread; the others become zero.",
    options: &[VALUES],    // values=f16|f32|bf16, on the command line, in TOML and in rows
    id: 20,                // the codec's number in a packet: no other codec's
    rate: Rate::Budget,    // a ratio says how much is sent
    rows: RowScope::Joint, // which tokens are sent depends on their number
    needs: |_| None,       // no calibration
    build: |spec, _| Ok(Box::new(Decimate { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Whole rows.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, _, kept| 4 + 2 + kept * size_rule::width(spec),
    elements: |_, [s, d], ratio| Some(((s as f64 / ratio).floor() as usize).max(1) * d),
    least: |_, [_, d], _| d,
    more: |_, [_, d], kept| kept + d,
    ..SizeRule::WHOLE
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

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        check_finite(activation)?;
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
        let mut bytes = Packet::begin(&INFO, kind, (tokens, hidden), OWN_BYTES + kept.len() * kind.bytes())?;
        put_u32(&mut bytes, rows);
        values::write_section(&mut bytes, kind, &kept, 0)?;
        Packet::finish(&INFO, bytes)
    }
}

/// How many numbers a packet has, by its own header, whose length is checked before anything is allocated.
fn layout(view: &PacketView<'_>) -> Result<usize> {
    let rows = Reader::new(view.body).u32("rows")? as usize;
    ensure!((1..=view.tokens).contains(&rows), "packet field rows: {rows} of {} tokens", view.tokens);
    let kept = rows * view.hidden;
    view.expect_len((OWN_BYTES + kept * view.values.bytes()) as u64)?;
    Ok(kept)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (tokens, hidden) = (packet.tokens(), packet.hidden());
    let mut reader = Reader::new(packet.view().body);
    let rows = reader.u32("rows")? as usize;
    let kept = values::read_section(&mut reader, packet.values(), packet.elements(), "tokens")?.into_values();
    let mut out = vec![0.0; tokens * hidden];
    for (i, row) in kept.chunks_exact(hidden).enumerate() {
        out[i * tokens / rows * hidden..][..hidden].copy_from_slice(row);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_tokens_come_back_and_the_others_are_zero() {
        let a = Activation::new(8, 3, (0..24).map(|i| i as f32).collect()).unwrap();
        let spec = CodecSpec::read(&INFO, "decimate", None).unwrap();
        let codec = (INFO.build)(&spec, None).unwrap();
        let packet = codec.encode(&a, Some(Budget::elements(2.0).unwrap())).unwrap();
        let back = codec.decode(&packet).unwrap();
        for token in 0..8 {
            let expected = if token % 2 == 0 { a.row(token) } else { &[0.0; 3] };
            assert_eq!(back.row(token), expected, "token {token}");
        }
    }
}
