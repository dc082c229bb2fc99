//! `topk`: the k values of largest magnitude, and where they are.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::largest::largest;

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

/// Own header: k 4, coding 1, bytes of positions 4.
const OWN_BYTES: usize = 9;

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
        let all = activation.values();
        // Positions are free under `elements`, so the budget is a count; under `wire` they take their share.
        let positions = match budget.accounting {
            Accounting::Elements => largest(all, ((all.len() as f64 / budget.ratio).floor() as usize).max(1)),
            Accounting::Wire => self.largest_that_fit(activation, budget.ratio)?,
        };
        let coding = bits::shortest(&positions, all.len());
        let shape = (activation.tokens(), activation.hidden());
        let payload = self.payload(all, &positions)?;
        let kind = self.coefficients.kind;
        let mut bytes = Packet::begin(&INFO, kind, shape, OWN_BYTES + coding.bytes + payload.len())?;
        put_u32(&mut bytes, positions.len());
        bytes.push(coding.id);
        put_u32(&mut bytes, coding.bytes);
        bits::write(&mut bytes, &positions, coding);
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }
}

impl TopK {
    /// The values kept, as they go into the packet.
    fn payload(&self, all: &[f32], positions: &[u32]) -> Result<Scratch<u8>> {
        let mut kept = Scratch::new(positions.len());
        kept.extend(positions.iter().map(|&at| all[at as usize]));
        self.coefficients.encode(&kept, 0)
    }

    /// The largest k whose packet fits, by bisection: [`bits::shortest`] never shrinks as k grows.
    fn largest_that_fit(&self, activation: &Activation, ratio: f64) -> Result<Scratch<u32>> {
        let all = activation.values();
        let room = wire_items(ratio, (activation.tokens(), activation.hidden()), HEADER_BYTES + OWN_BYTES, 1);
        let mut fits = 1;
        // Positions take room as well, so no more fit than without them.
        let mut too_many = self.coefficients.certain(room, 1).min(all.len()) + 1;
        while fits + 1 < too_many {
            let k = fits.midpoint(too_many);
            let Coding { bytes, .. } = bits::shortest(&largest(all, k), all.len());
            if bytes + self.coefficients.bytes(k) <= room {
                fits = k;
            } else {
                too_many = k;
            }
        }
        let make = |k| {
            let positions = largest(all, k);
            let bytes = bits::shortest(&positions, all.len()).bytes + self.payload(all, &positions)?.len();
            Ok((positions, bytes))
        };
        // Entropy-coded numbers are never longer, so at least as many fit.
        let most = if self.coefficients.coded { all.len() } else { fits };
        if most == fits {
            return Ok(largest(all, fits));
        }
        largest_that_fits(fits, most, make, |(_, bytes)| *bytes <= room).map(|(positions, _)| positions)
    }
}

/// The own header: k, coding, bytes of positions.
fn own_header(reader: &mut Reader<'_>) -> Result<(usize, Coding)> {
    let k = reader.u32("k")? as usize;
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    Ok((k, Coding { id, bytes }))
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let (k, coding) = own_header(&mut Reader::new(view.body))?;
    let most = view.tokens * view.hidden;
    ensure!((1..=most).contains(&k), "packet field k: {k} is not in 1..={most}");
    coefficients::expect(view, OWN_BYTES + coding.bytes, k)?;
    Ok(k)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let (k, coding) = own_header(&mut reader)?;
    let n = packet.tokens() * packet.hidden();
    let positions = bits::read(reader.bytes(coding.bytes, "positions")?, coding.id, k, n)?;
    let kept = coefficients::read(&mut reader, packet.values(), k, "values")?.into_values();
    let mut out = buffers::floats(n);
    // The buffer still holds what it was used for before.
    out.fill(0.0);
    positions.iter().zip(&*kept).for_each(|(&at, &v)| out[at as usize] = v);
    Ok(out)
}
