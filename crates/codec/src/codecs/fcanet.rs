//! `fcanet`: of each group of channels the frequencies along the tokens that hold the most energy (after FcaNet, Qin et al., 2021).

use anyhow::{Result, ensure};

use crate::activation::Activation;
use crate::bytes::buffers::{self, Scratch};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, power_of_two, shift_for_f32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::{self, Amount, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::parts::columns::{by_energy, count_mask, mask_bytes, read_mask, write_mask};
use crate::parts::{cosine, transform};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "fcanet",
    summary: "Keeps, of each group of channels, the DCT frequencies along the tokens that hold the most energy (after Qin et \
              al., 2021).",
    options: &[
        OptionInfo {
            key: "groups",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "1", meaning: "one group of all channels" },
                OptionWord { word: "4", meaning: "4 groups of consecutive channels" },
                OptionWord { word: "16", meaning: "16 groups, as the paper's best" },
                OptionWord { word: "32", meaning: "32 groups" },
            ]),
            default: "16",
            meaning: "how many groups of channels have frequencies of their own",
        },
        coefficients::VALUES,
        coefficients::CODER,
    ],
    id: 60,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| {
        let groups = spec.typed("groups")?;
        Ok(Box::new(FcaNet { spec: spec.clone(), groups, coefficients: Coefficients::new(spec) }))
    },
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Whole groups of channels, and a mask of all frequencies of all groups. The last group may be smaller than the others.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    amount: Amount::Counted,
    bytes: |spec, a, kept| {
        let width = width(spec, a.hidden());
        4 + (a.tokens() * a.hidden().div_ceil(width)).div_ceil(8) + size_rule::coefficient_bytes(spec, kept)
    },
    stated: |spec, a, packet| {
        let at = 19 + (a.tokens() * a.hidden().div_ceil(width(spec, a.hidden()))).div_ceil(8);
        size_rule::coded_coefficients(spec, packet.as_bytes(), at, packet.elements())
    },
    elements: |spec, [s, d], ratio| {
        let width = width(spec, d);
        let kept = ((s * d) as f64 / (ratio * width as f64)).floor() as usize;
        // Where groups are equal.
        d.is_multiple_of(width).then_some(kept.max(1) * width)
    },
    least: |spec, [_, d], _| width(spec, d),
    more: |spec, [_, d], kept| kept + width(spec, d),
};

/// Channels of a group.
#[cfg(test)]
fn width(spec: &CodecSpec, hidden: usize) -> usize {
    hidden.div_ceil(spec.option("groups").unwrap().parse::<usize>().unwrap().min(hidden))
}

/// Own header: channels of a group 4.
const OWN_BYTES: usize = 4;

struct FcaNet {
    spec: CodecSpec,
    groups: usize,
    coefficients: Coefficients,
}

/// Frequencies of groups: unit u * G + g is frequency u of group g.
#[derive(Clone, Copy)]
struct GroupedChannels {
    tokens: usize,
    hidden: usize,
    /// Channels of a group; the last may have fewer.
    width: usize,
}

impl GroupedChannels {
    fn groups(self) -> usize {
        self.hidden.div_ceil(self.width)
    }

    /// How many units there are.
    fn count(self) -> usize {
        self.tokens * self.groups()
    }

    /// The coefficients of a unit, in a row-major matrix of them.
    fn range(self, unit: u32) -> std::ops::Range<usize> {
        let (u, group) = (unit as usize / self.groups(), unit as usize % self.groups());
        let row = u * self.hidden;
        row + group * self.width..row + self.hidden.min((group + 1) * self.width)
    }

    /// Numbers of some units.
    fn numbers(self, units: &[u32]) -> usize {
        units.iter().map(|&unit| self.range(unit).len()).sum()
    }
}

impl Codec for FcaNet {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let shape @ (tokens, hidden) = (activation.tokens(), activation.hidden());
        let grouped = GroupedChannels { tokens, hidden, width: hidden.div_ceil(self.groups.min(hidden)) };
        let shift = shift_for_f32(values::exponent(top), tokens);
        let mut spectrum = Scratch::new(tokens * hidden);
        spectrum.extend_from_slice(activation.values());
        transform::times(&mut spectrum, power_of_two(-shift));
        cosine::forward_columns(&mut spectrum, hidden);

        let own_bytes = OWN_BYTES + mask_bytes(grouped.count());
        let room = wire_items(budget.ratio, shape, HEADER_BYTES + own_bytes, 1);
        let allowed = match budget.accounting {
            Accounting::Elements => ((tokens * hidden) as f64 / budget.ratio).floor() as usize,
            Accounting::Wire => self.coefficients.certain(room, 1),
        };
        // The transform is orthonormal: what is left out is the squared error. A number of each unit costs the same, so units
        // are taken by energy per number.
        let energy = |unit: u32| {
            let unit = &spectrum[grouped.range(unit)];
            unit.iter().map(|&c| f64::from(c).powi(2)).sum::<f64>() / unit.len() as f64
        };
        let order = by_energy(&(0..grouped.count() as u32).map(energy).collect::<Vec<f64>>());
        let make = |count: usize| -> Result<(Vec<u32>, Scratch<u8>)> {
            let mut units = order[..count].to_vec();
            units.sort_unstable();
            let mut kept = Scratch::new(grouped.numbers(&units));
            units.iter().for_each(|&unit| kept.extend_from_slice(&spectrum[grouped.range(unit)]));
            let payload = self.coefficients.encode(&kept, shift)?;
            Ok((units, payload))
        };
        let mut left = allowed;
        let fitting = order.iter().take_while(|&&unit| {
            let numbers = grouped.range(unit).len();
            let fits = numbers <= left;
            left -= if fits { numbers } else { 0 };
            fits
        });
        let least = fitting.count().max(1);
        // Of entropy-coded numbers more may fit than is certain.
        let searched = self.coefficients.coded && budget.accounting == Accounting::Wire;
        let most = if searched { grouped.count() } else { least };
        let (units, payload) = largest_that_fits(least, most, make, |(_, payload)| payload.len() <= room)?;

        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, shape, own_bytes + payload.len())?;
        put_u32(&mut bytes, grouped.width);
        write_mask(&mut bytes, &units, grouped.count());
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }
}

fn own_header(reader: &mut Reader<'_>, tokens: usize, hidden: usize) -> Result<GroupedChannels> {
    let width = reader.u32("group")? as usize;
    ensure!((1..=hidden).contains(&width), "packet field group: {width} is not in 1..={hidden}");
    Ok(GroupedChannels { tokens, hidden, width })
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let mut reader = Reader::new(view.body);
    let grouped = own_header(&mut reader, view.tokens, view.hidden)?;
    let mask = view.body.get(OWN_BYTES..).unwrap_or_default();
    let units = count_mask(&mut reader, grouped.count())?;
    // Units of the last group, which may be smaller: bits G - 1, 2 G - 1 and so on.
    let last =
        (1..=view.tokens).map(|u| u * grouped.groups() - 1).filter(|at| mask[at / 8] >> (at % 8) & 1 == 1).count();
    let numbers = units * grouped.width - last * (grouped.groups() * grouped.width - view.hidden);
    coefficients::expect(view, OWN_BYTES + mask_bytes(grouped.count()), numbers)?;
    Ok(numbers)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let grouped = own_header(&mut reader, view.tokens, view.hidden)?;
    let units = read_mask(&mut reader, grouped.count())?;
    let sent = coefficients::read(&mut reader, view.values, packet.elements(), "coefficients")?;
    let mut out = buffers::floats(view.tokens * view.hidden);
    out.fill(0.0);
    let mut next = 0;
    for &unit in units.iter() {
        let range = grouped.range(unit);
        let end = next + range.len();
        out[range].copy_from_slice(&sent.stored[next..end]);
        next = end;
    }
    cosine::inverse_columns(&mut out, view.hidden);
    transform::times(&mut out, power_of_two(sent.exponent));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two halves of the channels, each a wave of its own along the tokens.
    #[test]
    fn each_group_has_frequencies_of_its_own() {
        let (tokens, hidden) = (12, 8);
        let wave = |i: usize| {
            let (s, d) = (i / hidden, i % hidden);
            let frequency = if d < 4 { 2.0 } else { 7.0 };
            (d + 1) as f32 * (std::f32::consts::PI * frequency * (s as f32 + 0.5) / tokens as f32).cos()
        };
        let a = Activation::new(tokens, hidden, (0..tokens * hidden).map(wave).collect()).unwrap();
        // Two coefficients for each group of two channels or more, where one frequency for all channels takes two rows.
        for (text, ratio, exact) in
            [("fcanet:groups=4,values=f32", 12.0, true), ("fcanet:groups=1,values=f32", 12.0, false)]
        {
            let codec = crate::registry::build(&CodecSpec::parse(text).unwrap(), None).unwrap();
            let packet = codec.encode(&a, Some(Budget::elements(ratio).unwrap())).unwrap();
            assert_eq!(packet.elements(), 8);
            let error = a.rel_error(&codec.decode(&packet).unwrap());
            assert_eq!(error < 1e-5, exact, "{text}: {error}");
        }
    }

    #[test]
    fn a_smaller_last_group_counts_as_it_is() {
        let (tokens, hidden) = (5, 18);
        let value = |i: usize| if i % hidden >= 16 { 9.0 } else { (i % 7) as f32 };
        let a = Activation::new(tokens, hidden, (0..tokens * hidden).map(value).collect()).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse("fcanet:groups=4").unwrap(), None).unwrap();
        // Four groups: 5, 5, 5 and 3 channels, of which the last holds most.
        let packet = codec.encode(&a, Some(Budget::elements(10.0).unwrap())).unwrap();
        assert_eq!(packet.elements(), 8);
        assert!((codec.decode(&packet).unwrap().row(2)[17] - 9.0).abs() < 0.01);
    }
}
