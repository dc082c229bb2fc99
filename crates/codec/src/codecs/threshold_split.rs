//! `threshold-split`: values above a threshold apart, the others in as many bits as their token needs (arXiv 2511.04002:
//! threshold splitting, TS, and token-wise adaptive bit quantisation, TAB-Q). docs/methodology/split-papers.md says
//! what is our reading.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::bits::{self, Coding};
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::buffers::Scratch;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::ranges::{self, RangeBlock, WIDTH_BITS};
use crate::bytes::values::{self, EXPONENT_BYTES, ValueType};
use crate::grids::quantiser::saturated;
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, NUMBER_BITS, raw_bytes};
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::largest::{keep_largest, largest};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "threshold-split",
    summary: "Sends values above a threshold apart, and the others of each token in 0 to 15 bits over the token's range.",
    options: &[VALUES],
    id: 12,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(ThresholdSplit { spec: spec.clone(), values: spec.values() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    stated: |spec, a, packet| {
        let (bytes, width) = (packet.as_bytes(), size_rule::width(spec));
        let bits = 4 * a.tokens() + size_rule::count(bytes, 24);
        let (values, positions) = (size_rule::count(bytes, 15), size_rule::count(bytes, 20));
        Some(28 + positions + 2 + values * width + 2 + 2 * a.tokens() * width + bits.div_ceil(8))
    },
    ..SizeRule::ADAPTIVE
};

/// Own header: k 4, coding 1, bytes of positions 4, bits of codes 4.
const OWN_BYTES: usize = 13;

struct ThresholdSplit {
    spec: CodecSpec,
    values: ValueType,
}

/// The best threshold so far.
struct ThresholdChoice {
    error: f64,
    split: Split,
    widths: Vec<u8>,
}

/// What one threshold makes of an activation.
#[derive(Clone)]
struct Split {
    /// Positions above the threshold, ascending.
    above: Vec<u32>,
    coding: Coding,
    /// The values below it, one block per token.
    blocks: Vec<RangeBlock>,
}

/// The thresholds of an activation, from the lowest on.
struct Thresholds<'a> {
    activation: &'a Activation,
    /// Each token in one block, nothing above the threshold.
    whole: Vec<RangeBlock>,
    /// Each layer normalises each token by itself, so an error counts by the token's own length: by plain squares a large
    /// first token takes the bits of all others.
    weights: Vec<f64>,
}

impl<'a> Thresholds<'a> {
    fn new(activation: &'a Activation) -> Self {
        let rows = || activation.values().chunks_exact(activation.hidden());
        let weight = |energy: f64| if energy > 0.0 { 1.0 / energy } else { 1.0 };
        let weights: Vec<f64> = rows().map(|row| weight(ranges::energy(row))).collect();
        let whole = rows().zip(&weights).map(|(row, &weight)| RangeBlock::new(row).weighted(weight)).collect();
        Self { activation, whole, weights }
    }

    /// Nothing above the threshold.
    fn none(&self) -> Split {
        Split {
            above: Vec::new(),
            coding: bits::shortest(&[], self.activation.values().len()),
            blocks: self.whole.clone(),
        }
    }

    /// The split of `count` values above the threshold, from that of more of them or of none.
    fn split(&self, before: Option<&Split>, count: usize) -> Split {
        let (all, hidden) = (self.activation.values(), self.activation.hidden());
        let above = match before {
            Some(more) => {
                let mut above = more.above.clone();
                keep_largest(all, &mut above, count);
                above
            }
            None => largest(all, count).into_vec(),
        };
        let mut below = Scratch::new(hidden);
        let (mut rest, mut rest_before) = (&above[..], before.map(|before| &before.above[..]));
        let mut blocks = Vec::with_capacity(self.whole.len());
        for (token, row) in all.chunks_exact(hidden).enumerate() {
            let own = take_below(&mut rest, (token + 1) * hidden);
            let own_before = rest_before.as_mut().map(|rest| take_below(rest, (token + 1) * hidden).len());
            blocks.push(match before {
                _ if own.is_empty() => self.whole[token].clone(),
                // What is above is always part of what was, so as many are the same ones.
                Some(before) if own_before == Some(own.len()) => before.blocks[token].clone(),
                _ => {
                    below.clear();
                    put_others(&mut below, row, own, token * hidden);
                    RangeBlock::new(&below).weighted(self.weights[token])
                }
            });
        }
        Split { coding: bits::shortest(&above, all.len()), above, blocks }
    }
}

/// Takes the positions below `end` from ascending ones.
fn take_below<'a>(rest: &mut &'a [u32], end: usize) -> &'a [u32] {
    let (taken, left) = rest.split_at(rest.partition_point(|&at| (at as usize) < end));
    *rest = left;
    taken
}

/// Appends the values of a row that begins at `start` but for those at some positions.
fn put_others(out: &mut Vec<f32>, row: &[f32], positions: &[u32], start: usize) {
    let mut next = 0;
    for &at in positions {
        let at = at as usize - start;
        out.extend_from_slice(&row[next..at]);
        next = at + 1;
    }
    out.extend_from_slice(&row[next..]);
}

impl Split {
    /// Bits of codes there is room for; `None` where the rest alone is too much.
    fn room(&self, values: ValueType, budget: Budget, shape: (usize, usize)) -> Option<u64> {
        let k = self.above.len();
        match budget.accounting {
            Accounting::Elements => {
                let allowed = ((shape.0 * shape.1) as f64 / budget.ratio).floor() as usize;
                // Each value sent apart is one number of the budget; positions are free.
                Some(allowed.checked_sub(k)? as u64 * NUMBER_BITS)
            }
            Accounting::Wire => {
                let limit = (raw_bytes(shape.0, shape.1) as f64 / budget.ratio).floor() as usize;
                let fixed = HEADER_BYTES + OWN_BYTES + self.coding.bytes + section_bytes(values, k, shape.0);
                (8 * limit as u64).checked_sub(8 * fixed as u64 + shape.0 as u64 * u64::from(WIDTH_BITS))
            }
        }
    }
}

/// Bytes of the two sections: the values above the threshold, and the ranges of the tokens.
fn section_bytes(values: ValueType, k: usize, tokens: usize) -> usize {
    2 * EXPONENT_BYTES + (k + 2 * tokens) * values.bytes()
}

/// How many values may be above the threshold: none, or a share that halves from an eighth on. With more of them, at some
/// 20 bits each with their positions, Top-k is the better name.
fn counts(elements: usize) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain((3..).map(move |halvings| elements >> halvings).take_while(|&count| count > 0))
}

impl Codec for ThresholdSplit {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let shape = (activation.tokens(), activation.hidden());
        let thresholds = Thresholds::new(activation);
        let mut before: Option<Split> = None;
        let mut best: Option<ThresholdChoice> = None;
        // A threshold trades numbers sent apart for narrower ranges of the tokens. Which one pays depends on the
        // values, so all are tried.
        for count in counts(activation.values().len()) {
            let split = if count == 0 { thresholds.none() } else { thresholds.split(before.as_ref(), count) };
            if let Some(room) = split.room(self.values, budget, shape)
                && let most = best.as_ref().map_or(f64::INFINITY, |best| best.error)
                && let Some(widths) = ranges::allocate(&split.blocks, room, most)
                && let error = ranges::error(&split.blocks, &widths)
                && (best.is_none() || error < most)
            {
                best = Some(ThresholdChoice { error, split: split.clone(), widths });
            }
            before = (count > 0).then_some(split);
        }
        // Nothing fits: the smallest packet there is has the mean of each token.
        let smallest = || ThresholdChoice { error: 0.0, split: thresholds.none(), widths: vec![0; shape.0] };
        let ThresholdChoice { split, widths, .. } = best.unwrap_or_else(smallest);
        self.pack(activation, &split, &widths)
    }
}

impl ThresholdSplit {
    fn pack(&self, activation: &Activation, split: &Split, widths: &[u8]) -> Result<Packet> {
        let shape = (activation.tokens(), activation.hidden());
        let k = split.above.len();
        let code_bits = ranges::code_bits(&split.blocks, widths);
        let body = OWN_BYTES
            + split.coding.bytes
            + section_bytes(self.values, k, shape.0)
            + stream_bytes(shape.0, code_bits) as usize;
        let mut bytes = Packet::begin(&INFO, self.values, shape, body)?;
        put_u32(&mut bytes, k);
        bytes.push(split.coding.id);
        put_u32(&mut bytes, split.coding.bytes);
        bytes.extend_from_slice(&(code_bits as u32).to_le_bytes());
        bits::write(&mut bytes, &split.above, split.coding);
        let above: Vec<f32> = split.above.iter().map(|&at| activation.values()[at as usize]).collect();
        values::write_section(&mut bytes, self.values, &above, 0)?;
        let ranges = ranges::write(&mut bytes, self.values, &split.blocks, widths)?;
        let mut stream = BitWriter::new(&mut bytes);
        // Widths come first: a decoder needs them to tell where codes end.
        widths.iter().for_each(|&width| stream.put(width.into(), WIDTH_BITS));
        let (mut rest, mut below) = (&split.above[..], Scratch::new(shape.1));
        for (token, (&width, range)) in widths.iter().zip(ranges).enumerate() {
            below.clear();
            let own = take_below(&mut rest, (token + 1) * shape.1);
            put_others(&mut below, activation.row(token), own, token * shape.1);
            for &v in below.iter() {
                stream.put(range.code(v.into(), width), width.into());
            }
        }
        stream.finish();
        Packet::finish(&INFO, bytes)
    }
}

/// Bytes of widths and codes.
fn stream_bytes(tokens: usize, code_bits: u64) -> u64 {
    (tokens as u64 * u64::from(WIDTH_BITS) + code_bits).div_ceil(8)
}

/// The own header: k, coding, bytes of positions, bits of codes.
fn own_header(reader: &mut Reader<'_>) -> Result<(usize, Coding, u64)> {
    let k = reader.u32("k")? as usize;
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    Ok((k, Coding { id, bytes }, reader.u32("code bits")?.into()))
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let (k, coding, code_bits) = own_header(&mut Reader::new(view.body))?;
    let most = view.tokens * view.hidden;
    ensure!(k <= most, "packet field k: {k} is more than the activation's {most} values");
    let sections = section_bytes(view.values, k, view.tokens) as u64;
    view.expect_len(OWN_BYTES as u64 + coding.bytes as u64 + sections + stream_bytes(view.tokens, code_bits))?;
    // A value sent apart is one number, and so are 16 bits of codes.
    Ok((k + code_bits.div_ceil(NUMBER_BITS) as usize).max(1))
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let (k, coding, code_bits) = own_header(&mut reader)?;
    let n = view.tokens * view.hidden;
    let positions = bits::read(reader.bytes(coding.bytes, "positions")?, coding.id, k, n)?;
    let above = values::read_section(&mut reader, view.values, k, "values")?.into_values();
    let ranges = ranges::read(&mut reader, view.values, view.tokens)?;
    let rest = reader.bytes(stream_bytes(view.tokens, code_bits) as usize, "codes")?;
    let mut stream = BitReader::new(rest, "codes");
    let widths = (0..view.tokens).map(|_| Ok(stream.take(WIDTH_BITS as u8)? as u8)).collect::<Result<Vec<u8>>>()?;
    // Positions ascend, so one pass puts them between the codes.
    let mut apart = positions.iter().zip(&*above).peekable();
    let mut out = Vec::with_capacity(n);
    for (token, (&width, range)) in widths.iter().zip(ranges).enumerate() {
        for at in token * view.hidden..(token + 1) * view.hidden {
            match apart.next_if(|(p, _)| **p as usize == at) {
                Some((_, &v)) => out.push(v),
                None => out.push(saturated(range.value(stream.take(width)? as u32, width))),
            }
        }
    }
    ensure!(stream.only_padding_left(), "packet field codes: bits left over");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn encode(a: &Activation, budget: Budget) -> Packet {
        let spec = CodecSpec::parse("threshold-split").unwrap();
        crate::registry::build(&spec, None).unwrap().encode(a, Some(budget)).unwrap()
    }

    #[test]
    fn an_outlier_channel_comes_back_and_costs_the_others_little() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (tokens, hidden) = (20, 256);
        let plain: Vec<f32> = (0..tokens * hidden).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut spiked = plain.clone();
        spiked.iter_mut().skip(100).step_by(hidden).for_each(|v| *v += 3000.0);
        let budget = Budget::wire(4.0).unwrap();
        let [error, beside] = [plain, spiked].map(|values| {
            let a = Activation::new(tokens, hidden, values).unwrap();
            let back = decode(&encode(&a, budget)).unwrap();
            let mut off = 0.0;
            for (at, (v, r)) in a.values().iter().zip(&back).enumerate() {
                if at % hidden != 100 {
                    off += f64::from(v - r).powi(2);
                } else if *v > 1000.0 {
                    assert!((v - r).abs() < 1.5, "{v} came back as {r}");
                }
            }
            off.sqrt()
        });
        assert!(beside < 1.3 * error, "{beside} beside an outlier channel, {error} without");
    }

    #[test]
    fn tokens_are_equally_good_whatever_their_size() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let values: Vec<f32> =
            (0..4 * 64).map(|i| rng.random_range(-1.0..1.0) * [1.0, 100.0, 0.01, 0.0][i / 64]).collect();
        let a = Activation::new(4, 64, values).unwrap();
        let back = decode(&encode(&a, Budget::wire(3.0).unwrap())).unwrap();
        for (token, back) in back.chunks(64).enumerate().take(3) {
            let off: f64 = a.row(token).iter().zip(back).map(|(v, r)| f64::from(v - r).powi(2)).sum();
            let energy: f64 = a.row(token).iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((off / energy).sqrt() < 0.05, "token {token}: {}", (off / energy).sqrt());
        }
        assert_eq!(back[192..], [0.0; 64]);
    }
}
