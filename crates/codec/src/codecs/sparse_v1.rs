//! `sparse_v1`: the channels of least energy are dropped for all tokens, the others sent in f16. dnet's format of that name.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::Reader;
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::columns;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "sparse_v1",
    summary: "Keeps the channels of largest norm over all tokens, in f16, and a mask of which they are (dnet).",
    options: &[],
    id: 24,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(SparseColumns { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// A bit per channel, and whole columns.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |_, a, kept| a.hidden().div_ceil(8) + 2 * kept,
    elements: |_, [s, d], ratio| Some(((d as f64 / ratio).floor() as usize).max(1) * s),
    least: |_, [s, _], _| s,
    more: |_, [s, _], kept| kept + s,
    ..SizeRule::WHOLE
};

struct SparseColumns {
    spec: CodecSpec,
}

impl Codec for SparseColumns {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let (shape, hidden) = ((activation.tokens(), activation.hidden()), activation.hidden());
        let mask = columns::mask_bytes(hidden);
        let count = match budget.accounting {
            Accounting::Elements => columns::count(budget, hidden),
            Accounting::Wire => {
                wire_items(budget.ratio, shape, HEADER_BYTES + mask, 2 * activation.tokens()).clamp(1, hidden)
            }
        };
        let mut kept = columns::by_energy(&columns::energies(activation.values(), hidden));
        kept.truncate(count);
        kept.sort_unstable();
        let mut bytes = Packet::begin(&INFO, ValueType::F16, shape, mask + 2 * count * activation.tokens())?;
        columns::write_mask(&mut bytes, &kept, hidden);
        let mut numbers = Scratch::new(count);
        for row in activation.values().chunks_exact(hidden) {
            numbers.clear();
            numbers.extend(kept.iter().map(|&column| row[column as usize]));
            values::put_plain(&mut bytes, ValueType::F16, &numbers);
        }
        Packet::finish(&INFO, bytes)
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F16, "packet field value type: sparse_v1 sends f16, found {}", view.values);
    let kept = columns::count_mask(&mut Reader::new(view.body), view.hidden)?;
    let elements = kept * view.tokens;
    view.expect_len((columns::mask_bytes(view.hidden) + 2 * elements) as u64)?;
    Ok(elements)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let hidden = packet.hidden();
    let mut reader = Reader::new(packet.view().body);
    let kept = columns::read_mask(&mut reader, hidden)?;
    let numbers = Scratch::from(values::get_plain(reader.bytes(2 * packet.elements(), "values")?, ValueType::F16));
    let mut out = buffers::floats(packet.tokens() * hidden);
    // The buffer still holds what it was used for before.
    out.fill(0.0);
    for (row, numbers) in out.chunks_exact_mut(hidden).zip(numbers.chunks_exact(kept.len())) {
        kept.iter().zip(numbers).for_each(|(&column, &v)| row[column as usize] = v);
    }
    Ok(out)
}
