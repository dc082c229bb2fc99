//! `topk`: the k values of largest magnitude, and where they are.

use anyhow::Result;

use crate::activation::Activation;
use crate::bytes::buffers;
use crate::bytes::fields::Reader;
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::sparse::{self, SPARSE_BYTES, SparseSource};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "topk",
    summary: "Keeps the k values of largest magnitude and their positions; ties go to the lower position.",
    options: &[coefficients::VALUES, coefficients::CODER],
    id: 2,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(TopK { spec: spec.clone(), coefficients: Coefficients::new(spec) })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// k values, and where they are.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, kept| 4 + 1 + 4 + position_bytes(a, kept) + size_rule::coefficient_bytes(spec, kept),
    stated: |spec, _, packet| {
        let bytes = packet.as_bytes();
        size_rule::coded_coefficients(spec, bytes, 24 + size_rule::count(bytes, 20), packet.elements())
    },
    elements: |_, [s, d], ratio| Some((((s * d) as f64 / ratio).floor() as usize).max(1)),
    least: |_, _, _| 1,
    more: |_, _, kept| kept + 1,
    ..SizeRule::WHOLE
};

/// The shorter of a bitmap and the best Rice code of the gaps between the positions kept.
#[cfg(test)]
fn position_bytes(a: &Activation, k: usize) -> usize {
    let values = a.values();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[j].abs().total_cmp(&values[i].abs()).then(i.cmp(&j)));
    order.truncate(k);
    order.sort_unstable();
    let rice = |width: usize| {
        let (mut next, mut bits) = (0, 0);
        for &at in &order {
            bits += ((at - next) >> width) + 1 + width;
            next = at + 1;
        }
        bits.div_ceil(8)
    };
    (0..=27).map(rice).min().unwrap().min(values.len().div_ceil(8))
}

struct TopK {
    spec: CodecSpec,
    coefficients: Coefficients,
}

impl Codec for TopK {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        let source = SparseSource { ranks: activation.values(), numbers: activation.values(), shift: 0 };
        let sent = source.choose(self.coefficients, budget, shape, 0)?;
        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, shape, sent.bytes())?;
        sent.write(&mut bytes);
        Packet::finish(&INFO, bytes)
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let (k, coding) = sparse::header(&mut Reader::new(view.body), view.tokens * view.hidden)?;
    coefficients::expect(view, SPARSE_BYTES + coding.bytes, k)?;
    Ok(k)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let n = packet.tokens() * packet.hidden();
    let mut out = buffers::floats(n);
    // The buffer still holds what it was used for before.
    out.fill(0.0);
    let (positions, kept) = sparse::read(&mut Reader::new(packet.view().body), packet.values(), n)?;
    positions.iter().zip(&*kept.into_values()).for_each(|(&at, &v)| out[at as usize] = v);
    Ok(out)
}
