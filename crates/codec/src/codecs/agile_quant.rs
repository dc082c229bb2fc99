//! `agile-quant`: tokens of least importance are pruned, the others go in int4 or int8.

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{EXPONENT_BYTES, ValueType};
use crate::codecs::int4::Int4;
use crate::grids::groups::{self, GROUP, SCALES};
use crate::grids::int8::Int8;
use crate::grids::quantiser::{self, Grid};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "agile-quant",
    summary: "Prunes the tokens of smallest norm, of which their mean is sent, and quantises the others (after Shen et al., \
              2024).",
    options: &[
        OptionInfo {
            key: "bits",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "4", meaning: "the grid of int4" },
                OptionWord { word: "8", meaning: "the grid of int8" },
            ]),
            default: "4",
            meaning: "how many bits a kept value has",
        },
        GROUP,
        SCALES,
    ],
    id: 43,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(AgileQuant { spec: spec.clone() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Whole rows.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, kept| {
        let (d, n) = (a.hidden(), kept / a.hidden());
        let group = spec.option("group").unwrap().parse().unwrap_or(d);
        let bits = spec.option("bits").unwrap().parse::<usize>().unwrap();
        let scales = 2 + size_rule::scale_width(spec) * n * d.div_ceil(group);
        4 + 4 + 1 + a.tokens().div_ceil(8) + scales + (n * d * bits).div_ceil(8)
    },
    elements: |_, [s, d], ratio| Some(((s as f64 / ratio).floor() as usize).max(1) * d),
    least: |_, [_, d], _| d,
    more: |_, [_, d], kept| kept + d,
    ..SizeRule::WHOLE
};

/// Own header: rows sent 4, channels of a group 4, bits of a code 1.
const OWN_BYTES: usize = 9;

struct AgileQuant {
    spec: CodecSpec,
}

impl Codec for AgileQuant {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        match self.spec.option("bits") {
            Some("8") => self.pack::<Int8>(activation, budget),
            _ => self.pack::<Int4>(activation, budget),
        }
    }
}

impl AgileQuant {
    fn pack<G: Grid>(&self, activation: &Activation, budget: Budget) -> Result<Packet> {
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let channels = groups::channels(&self.spec, hidden)?;
        let kind: ValueType = self.spec.typed(SCALES.key)?;
        let map = tokens.div_ceil(8);
        let rows = match budget.accounting {
            Accounting::Elements => (tokens as f64 / budget.ratio).floor() as usize,
            Accounting::Wire => {
                let fixed = HEADER_BYTES + OWN_BYTES + map + EXPONENT_BYTES;
                let room = wire_items(budget.ratio, (tokens, hidden), fixed, 1);
                // In bits, as an odd row ends in the middle of a byte.
                8 * room / (8 * groups::count(1, hidden, channels) * kind.bytes() + hidden * G::BITS)
            }
        };
        let rows = rows.clamp(1, tokens);
        // The mean of the pruned takes a row, where there is one left beside the last token's.
        let kept = if rows == tokens { tokens } else { (rows - 1).max(1) };
        let kept = most_important(activation, kept);
        let mut sent: Scratch<f64> = Scratch::new(rows * hidden);
        for (row, _) in activation.values().chunks_exact(hidden).zip(&kept).filter(|(_, kept)| **kept) {
            sent.extend(row.iter().map(|&v| f64::from(v)));
        }
        if sent.len() < rows * hidden {
            sent.extend(mean_of_pruned(activation, &kept));
        }
        let quantised = quantiser::quantise::<G, f64>(kind, (hidden, channels), &sent, 1.0)?;
        let codes = quantiser::plain_bytes::<G>(quantised.codes.len());
        let body = OWN_BYTES + map + quantised.scales.len() + codes;
        let mut bytes = Packet::begin(&INFO, kind, (tokens, hidden), body)?;
        put_u32(&mut bytes, rows);
        put_u32(&mut bytes, channels);
        bytes.push(G::BITS as u8);
        bytes.extend(kept.chunks(8).map(|kept| kept.iter().rev().fold(0, |byte, &kept| byte << 1 | u8::from(kept))));
        bytes.extend_from_slice(&quantised.scales);
        quantiser::put_codes::<G>(&mut bytes, &quantised.codes);
        Packet::finish(&INFO, bytes)
    }
}

/// Which tokens are kept: the last, which the next token is predicted from, and those of largest norm, of equals the earlier.
fn most_important(activation: &Activation, count: usize) -> Vec<bool> {
    let tokens = activation.tokens();
    let square = |token: usize| activation.row(token).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
    let mut others: Vec<(f64, usize)> = (0..tokens - 1).map(|token| (square(token), token)).collect();
    others.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut kept = vec![false; tokens];
    kept[tokens - 1] = true;
    others.iter().take(count - 1).for_each(|&(_, token)| kept[token] = true);
    kept
}

/// The row that all pruned tokens become: no other has a smaller squared error.
fn mean_of_pruned(activation: &Activation, kept: &[bool]) -> Vec<f64> {
    let mut sum = vec![0f64; activation.hidden()];
    let mut count = 0.0;
    for (row, _) in activation.values().chunks_exact(activation.hidden()).zip(kept).filter(|(_, kept)| !**kept) {
        sum.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
        count += 1.0;
    }
    sum.iter_mut().for_each(|sum| *sum /= count);
    sum
}

/// A packet's own header.
struct AgileHeader<'a> {
    rows: usize,
    channels: usize,
    bits: usize,
    /// One bit per token, lowest bit of a byte first: whether it is kept.
    map: &'a [u8],
}

impl<'a> AgileHeader<'a> {
    fn read(reader: &mut Reader<'a>, tokens: usize, hidden: usize) -> Result<Self> {
        let rows = reader.u32("rows")? as usize;
        ensure!((1..=tokens).contains(&rows), "packet field rows: {rows} is not in 1..={tokens}");
        let channels = reader.u32("group")? as usize;
        ensure!((1..=hidden).contains(&channels), "packet field group: {channels} is not in 1..={hidden}");
        let bits = usize::from(reader.u8("bits")?);
        ensure!([4, 8].contains(&bits), "packet field bits: {bits} is neither 4 nor 8");
        let map = reader.bytes(tokens.div_ceil(8), "kept tokens")?;
        let kept = map.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        ensure!(
            kept == rows || kept + 1 == rows,
            "packet field kept tokens: {kept} are kept, {rows} rows are sent: expected as many, or one more"
        );
        let spare = tokens.next_multiple_of(8) - tokens;
        ensure!(
            map[map.len() - 1].leading_zeros() as usize >= spare,
            "packet field kept tokens: a spare bit is not zero"
        );
        Ok(Self { rows, channels, bits, map })
    }

    fn is_kept(&self, token: usize) -> bool {
        self.map[token / 8] >> (token % 8) & 1 == 1
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let header = AgileHeader::read(&mut Reader::new(view.body), view.tokens, view.hidden)?;
    let scales = groups::count(header.rows, view.hidden, header.channels) * view.values.bytes();
    let codes = (header.rows * view.hidden * header.bits).div_ceil(8);
    view.expect_len((OWN_BYTES + header.map.len() + EXPONENT_BYTES + scales + codes) as u64)?;
    Ok(header.rows * view.hidden)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let header = AgileHeader::read(&mut reader, view.tokens, view.hidden)?;
    let rows = Scratch::from(if header.bits == 8 {
        read_rows::<Int8>(&mut reader, &view, &header)?
    } else {
        read_rows::<Int4>(&mut reader, &view, &header)?
    });
    let mut next = rows.chunks_exact(view.hidden);
    let kept = (0..view.tokens).filter(|&token| header.is_kept(token)).count();
    // Zeros where no mean was sent.
    let zeros = vec![0.0; view.hidden];
    let pruned = if kept < header.rows { &rows[kept * view.hidden..] } else { &zeros };
    let mut out = buffers::empty(view.tokens * view.hidden);
    for token in 0..view.tokens {
        out.extend_from_slice(if header.is_kept(token) { next.next().expect("one per bit") } else { pruned });
    }
    Ok(out)
}

fn read_rows<G: Grid>(reader: &mut Reader<'_>, view: &PacketView<'_>, header: &AgileHeader<'_>) -> Result<Vec<f32>> {
    let steps = groups::read(reader, view.values, groups::count(header.rows, view.hidden, header.channels))?;
    let codes = quantiser::read_codes::<G>(reader, header.rows * view.hidden)?;
    Ok(quantiser::numbers::<G, f32>(&codes, &steps, (view.hidden, header.channels), quantiser::saturated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_and_the_largest_come_back_and_the_others_as_their_mean() {
        let sizes = [7.0, 1.0, 5.0, 2.0, 3.0, 0.5];
        let value = |i: usize| sizes[i / 8] * if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let a = Activation::new(6, 8, (0..48).map(value).collect()).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse("agile-quant").unwrap(), None).unwrap();
        for (ratio, expected) in [
            (1.0, [7.0, 1.0, 5.0, 2.0, 3.0, 0.5]),
            // Three rows and the mean of 1, 2 and 3.
            (1.5, [7.0, 2.0, 5.0, 2.0, 2.0, 0.5]),
            (3.0, [3.6, 3.6, 3.6, 3.6, 3.6, 0.5]),
            (6.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.5]),
        ] {
            let packet = codec.encode(&a, Some(Budget::elements(ratio).unwrap())).unwrap();
            let back = codec.decode(&packet).unwrap();
            for (token, size) in expected.iter().enumerate() {
                let found = back.row(token)[0];
                assert!((found - size).abs() < 2e-3, "ratio {ratio}, token {token}: {found} for {size}");
            }
        }
    }
}
