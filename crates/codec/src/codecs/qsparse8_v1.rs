//! `qsparse8_v1`: rows in 8 bits by MLX's affine quantisation, of which the channels of least energy are dropped for all
//! tokens. dnet's format of that name.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, ValueType};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::columns;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "qsparse8_v1",
    summary: "Rounds to 8 bits with a scale and a bias per group; keeps the channels of largest norm over all tokens (dnet).",
    options: &[GROUP],
    id: 25,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(QuantisedColumns { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// The groups that MLX quantises; dnet takes 64.
const GROUP: OptionInfo = OptionInfo {
    key: "group",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "32", meaning: "32 consecutive channels of a token" },
        OptionWord { word: "64", meaning: "64 consecutive channels of a token" },
        OptionWord { word: "128", meaning: "128 consecutive channels of a token" },
    ]),
    default: "64",
    meaning: "which values share a scale and a bias",
};

/// Group size, two masks, a byte per number kept; a scale and a bias per token and group of which anything is kept.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, kept| {
        let group: usize = spec.option("group").unwrap().parse().unwrap();
        let masks = a.hidden().div_ceil(8) + a.hidden().div_ceil(group).div_ceil(8);
        4 + masks + kept + 4 * a.tokens() * touched_groups(spec, a, kept / a.tokens(), group)
    },
    elements: |_, [s, d], ratio| Some(((d as f64 / ratio).floor() as usize).max(1) * s),
    least: |_, [s, _], _| s,
    more: |_, [s, _], kept| kept + s,
    ..SizeRule::WHOLE
};

/// Own header: channels of a group 4.
const OWN_BYTES: usize = 4;

/// A scale and a bias, f16 each.
const PAIR_BYTES: usize = 4;

/// Codes are 0 to 255.
const BINS: f32 = 255.0;

/// The least magnitude of a scale, so that a group of equal values has one.
const LEAST_SCALE: f32 = 1e-7;

/// How many groups the columns of largest energy lie in, by what comes back where all of them are sent.
#[cfg(test)]
fn touched_groups(spec: &CodecSpec, a: &Activation, columns: usize, group: usize) -> usize {
    let codec = QuantisedColumns { spec: spec.clone() };
    let back = codec.decode(&codec.encode(a, Some(Budget::elements(1.0).unwrap())).unwrap()).unwrap();
    let energy = |d: usize| (0..a.tokens()).map(|s| f64::from(back.row(s)[d]).powi(2)).sum::<f64>();
    let mut order: Vec<usize> = (0..a.hidden()).collect();
    order.sort_by(|&i, &j| energy(j).total_cmp(&energy(i)).then(i.cmp(&j)));
    order.iter().take(columns).map(|d| d / group).collect::<std::collections::BTreeSet<_>>().len()
}

struct QuantisedColumns {
    spec: CodecSpec,
}

/// An activation as MLX quantises it.
struct AffineCodes {
    codes: Scratch<u8>,
    /// Of each group of each token, rounded to f16.
    scales: Scratch<f32>,
    biases: Scratch<f32>,
}

/// The integer nearest to a number of magnitude 2^30 at most, halves away from zero, as Metal's `round` has it.
fn round(v: f32) -> f32 {
    // Exact in f64; larger numbers are integers already.
    let v = f64::from(v);
    (v + 0.5f64.copysign(v)) as i32 as f32
}

/// Scale and bias of a group: zero and the value of larger magnitude, least or largest, have codes of their own.
fn scale_and_bias(group: &[f32]) -> (f32, f32) {
    let low = group.iter().copied().fold(f32::MAX, f32::min);
    // The largest is zero at least, as in MLX's Metal kernel.
    let high = group.iter().copied().fold(0.0, f32::max);
    let magnitude = ((high - low) / BINS).max(LEAST_SCALE);
    let (edge, scale) = if low.abs() > high.abs() { (low, magnitude) } else { (high, -magnitude) };
    let steps = round(edge / scale);
    if steps == 0.0 { (scale, 0.0) } else { (edge / steps, edge) }
}

fn quantise(values: &[f32], hidden: usize, group: usize) -> AffineCodes {
    let groups = values.len() / hidden * hidden.div_ceil(group);
    let mut codes = Scratch::new(values.len());
    let (mut scales, mut biases) = (Scratch::new(groups), Scratch::new(groups));
    for group in values.chunks_exact(hidden).flat_map(|row| row.chunks(group)) {
        let (scale, bias) = scale_and_bias(group);
        // By the numbers as they are before f16 rounds them: MLX does so.
        codes.extend(group.iter().map(|v| round((v - bias) / scale).clamp(0.0, BINS) as u8));
        scales.push(scale);
        biases.push(bias);
    }
    let rounded = |exact: &Scratch<f32>| {
        let mut bytes = Scratch::new(2 * exact.len());
        values::put_plain(&mut bytes, ValueType::F16, exact);
        values::get_plain(&bytes, ValueType::F16)
    };
    AffineCodes { codes, scales: rounded(&scales).into(), biases: rounded(&biases).into() }
}

impl AffineCodes {
    /// The sum of squares of each column as it would be received.
    fn energies(&self, hidden: usize, group: usize) -> Scratch<f64> {
        let mut values = Scratch::new(self.codes.len());
        let pairs = self.scales.iter().zip(&*self.biases);
        for (codes, (scale, bias)) in self.codes.chunks_exact(hidden).flat_map(|row| row.chunks(group)).zip(pairs) {
            values.extend(codes.iter().map(|&code| f32::from(code) * scale + bias));
        }
        columns::energies(&values, hidden)
    }
}

impl QuantisedColumns {
    fn group(&self, hidden: usize) -> Result<usize> {
        // A row narrower than a group is one group.
        Ok(self.spec.typed::<usize>(GROUP.key)?.min(hidden))
    }
}

impl Codec for QuantisedColumns {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let group = self.group(hidden)?;
        let groups = hidden.div_ceil(group);
        let fixed = OWN_BYTES + columns::mask_bytes(hidden) + columns::mask_bytes(groups);
        let affine = quantise(activation.values(), hidden, group);
        let mut kept = columns::by_energy(&affine.energies(hidden, group));
        let count = match budget.accounting {
            Accounting::Elements => columns::count(budget, hidden),
            Accounting::Wire => {
                let room = wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + fixed, tokens);
                most_that_fit(&kept, group, groups, room)
            }
        };
        kept.truncate(count);
        kept.sort_unstable();
        let mut touched: Vec<u32> = kept.iter().map(|column| column / group as u32).collect();
        touched.dedup();

        let body = fixed + (count + PAIR_BYTES * touched.len()) * tokens;
        let mut bytes = Packet::begin(&INFO, ValueType::F16, (tokens, hidden), body)?;
        put_u32(&mut bytes, group);
        columns::write_mask(&mut bytes, &kept, hidden);
        columns::write_mask(&mut bytes, &touched, groups);
        for row in affine.codes.chunks_exact(hidden) {
            bytes.extend(kept.iter().map(|&column| row[column as usize]));
        }
        for numbers in [&affine.scales, &affine.biases] {
            let mut sent = Scratch::new(touched.len() * tokens);
            for row in numbers.chunks_exact(groups) {
                sent.extend(touched.iter().map(|&group| row[group as usize]));
            }
            values::put_plain(&mut bytes, ValueType::F16, &sent);
        }
        Packet::finish(&INFO, bytes)
    }
}

/// How many of the columns, in this order, fit where each token has `room` bytes; one in any case.
fn most_that_fit(order: &[u32], group: usize, groups: usize, room: usize) -> usize {
    let mut touched = vec![false; groups];
    let mut used = 0;
    let fits = |&&column: &&u32| {
        let new = !std::mem::replace(&mut touched[column as usize / group], true);
        used += 1 + if new { PAIR_BYTES } else { 0 };
        used <= room
    };
    order.iter().take_while(fits).count().max(1)
}

/// The group size, in bounds.
fn own_header(reader: &mut Reader<'_>, hidden: usize) -> Result<usize> {
    let group = reader.u32("group")? as usize;
    ensure!((1..=hidden).contains(&group), "packet field group: {group} is not in 1..={hidden}");
    Ok(group)
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F16, "packet field value type: qsparse8_v1 sends f16, found {}", view.values);
    let mut reader = Reader::new(view.body);
    let groups = view.hidden.div_ceil(own_header(&mut reader, view.hidden)?);
    let kept = columns::count_mask(&mut reader, view.hidden)?;
    let touched = columns::count_mask(&mut reader, groups)?;
    let fixed = OWN_BYTES + columns::mask_bytes(view.hidden) + columns::mask_bytes(groups);
    view.expect_len((fixed + (kept + PAIR_BYTES * touched) * view.tokens) as u64)?;
    Ok(kept * view.tokens)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let (tokens, hidden) = (packet.tokens(), packet.hidden());
    let mut reader = Reader::new(packet.view().body);
    let group = own_header(&mut reader, hidden)?;
    let kept = columns::read_mask(&mut reader, hidden)?;
    let touched = columns::read_mask(&mut reader, hidden.div_ceil(group))?;
    // For each kept column the place of its group among those sent.
    let mut places = Scratch::new(kept.len());
    for &column in kept.iter() {
        let place = touched.binary_search(&(column / group as u32));
        ensure!(place.is_ok(), "packet field mask: channel {column} is kept, its group is not");
        places.extend(place.ok().map(|place| place as u32));
    }
    let codes = reader.bytes(packet.elements(), "codes")?;
    let mut numbers = |field: &str| -> Result<Scratch<f32>> {
        let bytes = reader.bytes(2 * touched.len() * tokens, field)?;
        Ok(values::get_plain(bytes, ValueType::F16).into())
    };
    let (scales, biases) = (numbers("scales")?, numbers("biases")?);
    let mut out = buffers::floats(tokens * hidden);
    // The buffer still holds what it was used for before.
    out.fill(0.0);
    let pairs = scales.chunks_exact(touched.len()).zip(biases.chunks_exact(touched.len()));
    for ((row, codes), (scales, biases)) in out.chunks_exact_mut(hidden).zip(codes.chunks_exact(kept.len())).zip(pairs)
    {
        for ((&column, &place), &code) in kept.iter().zip(&*places).zip(codes) {
            let place = place as usize;
            row[column as usize] = f32::from(code) * scales[place] + biases[place];
        }
    }
    Ok(out)
}
