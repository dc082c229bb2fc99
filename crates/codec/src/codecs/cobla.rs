//! `cobla`: low rank for each of several groups of channels, ranks chosen together under one budget (after COBLA, Li and Shi,
//! 2018).

use anyhow::{Result, ensure};
use faer::{Mat, MatRef};

use crate::activation::Activation;
use crate::bytes::buffers;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, EXPONENT_BYTES, ValueType};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope, VALUES};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::linalg;
use crate::parts::low_rank::{self, Factors};

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "cobla",
    summary: "Truncated SVD of each group of channels, their ranks chosen together under one budget (after Li and Shi, 2018).",
    options: &[
        OptionInfo {
            key: "groups",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "2", meaning: "2 groups of consecutive channels" },
                OptionWord { word: "4", meaning: "4 groups of consecutive channels" },
                OptionWord { word: "8", meaning: "8 groups of consecutive channels" },
            ]),
            default: "4",
            meaning: "how many groups of channels have a rank of their own",
        },
        VALUES,
    ],
    id: 62,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Cobla { spec: spec.clone(), groups: spec.typed("groups")?, values: spec.values() })),
    layout,
    decode,
    #[cfg(test)]
    size: SIZE,
};

/// Two factors of each group. In the suite groups are equal, so each component costs the same.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, a, kept| {
        let groups = a.hidden().div_ceil(width(spec, a.hidden()));
        4 + 4 * groups + 2 + 2 + kept * crate::interface::size_rule::width(spec)
    },
    elements: |spec, [s, d], ratio| {
        let (width, cost) = (width(spec, d), s + width(spec, d));
        let most = d.div_ceil(width) * s.min(width);
        let count = ((s * d) as f64 / (ratio * cost as f64)).floor() as usize;
        Some(count.clamp(1, most) * cost)
    },
    least: |spec, [s, d], _| s + width(spec, d),
    more: |spec, [s, d], kept| kept + s + width(spec, d),
    ..SizeRule::LOW_RANK
};

/// Channels of a group.
#[cfg(test)]
fn width(spec: &CodecSpec, hidden: usize) -> usize {
    hidden.div_ceil(spec.option("groups").unwrap().parse::<usize>().unwrap().min(hidden))
}

/// Own header before the ranks: channels of a group 4.
const OWN_BYTES: usize = 4;

/// A rank in a packet.
const RANK_BYTES: usize = 4;

struct Cobla {
    spec: CodecSpec,
    groups: usize,
    values: ValueType,
}

/// One singular value of one group.
struct GroupComponent {
    group: usize,
    energy: f64,
    /// Numbers that it takes in a packet.
    cost: usize,
}

impl Codec for Cobla {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let (shape @ (tokens, hidden), budget) = low_rank::checked(activation, budget, &self.spec)?;
        let width = hidden.div_ceil(self.groups.min(hidden));
        let all = low_rank::to_f64(activation);
        let all = MatRef::from_row_major_slice(&all, tokens, hidden);
        let groups: Vec<MatRef<'_, f64>> =
            (0..hidden).step_by(width).map(|first| all.subcols(first, width.min(hidden - first))).collect();
        let spectra = groups.iter().map(|group| linalg::left_spectrum(*group)).collect::<Result<Vec<_>>>()?;

        let own_bytes = OWN_BYTES + RANK_BYTES * groups.len();
        let room = match budget.accounting {
            Accounting::Elements => ((tokens * hidden) as f64 / budget.ratio).floor() as usize,
            Accounting::Wire => {
                let fixed = HEADER_BYTES + own_bytes + 2 * EXPONENT_BYTES;
                wire_items(budget.ratio, shape, fixed, self.values.bytes())
            }
        };
        let component = |(group, (energies, _)): (usize, &(Vec<f64>, Mat<f64>))| {
            let cost = tokens + groups[group].ncols();
            energies.iter().map(move |&energy| GroupComponent { group, energy, cost }).collect::<Vec<_>>()
        };
        let ranks = choose_ranks(spectra.iter().enumerate().flat_map(component).collect(), groups.len(), room);

        let (mut left, mut right) = (Vec::new(), Vec::new());
        for ((group, (_, vectors)), &rank) in groups.iter().zip(&spectra).zip(&ranks).filter(|(_, rank)| **rank > 0) {
            let q = vectors.subcols(0, rank);
            // Singular vectors are orthonormal, so the projection is the best of this rank (Eckart and Young 1936).
            let factors = Factors::balanced(q, linalg::product(q.transpose(), *group).as_ref());
            left.extend(factors.left);
            right.extend(factors.right);
        }
        let body = own_bytes + 2 * EXPONENT_BYTES + (left.len() + right.len()) * self.values.bytes();
        let mut bytes = Packet::begin(&INFO, self.values, shape, body)?;
        put_u32(&mut bytes, width);
        ranks.iter().for_each(|&rank| put_u32(&mut bytes, rank));
        values::write_section(&mut bytes, self.values, &left, 0)?;
        values::write_section(&mut bytes, self.values, &right, 0)?;
        Packet::finish(&INFO, bytes)
    }
}

/// How many components of each group are kept: those that take most squared error off in `room` numbers, at least one.
///
/// The squared error is the sum of the energies left out, and what components cost adds up: a linear 0-1 program. Its relaxation
/// is solved by taking components by energy per number until one does not fit (Dantzig 1957), and later ones that still fit
/// fill the rest. Where groups are equal that is the best of all choices. Of one group larger energies come first, so the
/// components kept are always its leading ones.
fn choose_ranks(mut components: Vec<GroupComponent>, groups: usize, room: usize) -> Vec<usize> {
    let worth = |component: &GroupComponent| component.energy / component.cost as f64;
    // Stable: of equals the lower group comes first.
    components.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    let (mut ranks, mut left) = (vec![0; groups], room);
    for (nth, component) in components.iter().enumerate() {
        if nth == 0 || component.cost <= left {
            ranks[component.group] += 1;
            left = left.saturating_sub(component.cost);
        }
    }
    ranks
}

/// The own header.
struct CoblaHeader {
    /// Rank and channels of each group.
    groups: Vec<(usize, usize)>,
}

impl CoblaHeader {
    fn read(reader: &mut Reader<'_>, tokens: usize, hidden: usize) -> Result<Self> {
        let width = reader.u32("group")? as usize;
        ensure!((1..=hidden).contains(&width), "packet field group: {width} is not in 1..={hidden}");
        let count = hidden.div_ceil(width);
        let mut ranks = Reader::new(reader.bytes(RANK_BYTES * count, "ranks")?);
        // The bytes of all ranks are there, so a list of as many is no larger.
        let mut groups = Vec::with_capacity(count);
        for group in 0..count {
            let (rank, channels) = (ranks.u32("ranks")? as usize, width.min(hidden - group * width));
            let most = tokens.min(channels);
            ensure!(rank <= most, "packet field ranks: {rank} of group {group} is above {most}");
            groups.push((rank, channels));
        }
        ensure!(groups.iter().any(|(rank, _)| *rank > 0), "packet field ranks: nothing is kept");
        Ok(Self { groups })
    }

    /// Numbers of all left factors, and of all right ones.
    fn numbers(&self, tokens: usize) -> (usize, usize) {
        let (mut left, mut right) = (0, 0);
        for (rank, channels) in &self.groups {
            left += tokens * rank;
            right += rank * channels;
        }
        (left, right)
    }
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let own = CoblaHeader::read(&mut Reader::new(view.body), view.tokens, view.hidden)?;
    let (left, right) = own.numbers(view.tokens);
    let before = OWN_BYTES + RANK_BYTES * own.groups.len() + 2 * EXPONENT_BYTES;
    view.expect_len((before + (left + right) * view.values.bytes()) as u64)?;
    Ok(left + right)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let (tokens, hidden) = (view.tokens, view.hidden);
    let mut reader = Reader::new(view.body);
    let own = CoblaHeader::read(&mut reader, tokens, hidden)?;
    let (left, right) = own.numbers(tokens);
    let left = values::read_section(&mut reader, view.values, left, "left factors")?;
    let right = values::read_section(&mut reader, view.values, right, "right factors")?;
    // The product is made of stored numbers, then scaled.
    let gain = values::power_of_two(left.exponent + right.exponent);
    let mut out = buffers::floats(tokens * hidden);
    out.fill(0.0);
    let (mut left, mut right, mut first) = (&left.stored[..], &right.stored[..], 0);
    for &(rank, channels) in &own.groups {
        let (own_left, own_right);
        (own_left, left) = left.split_at(tokens * rank);
        (own_right, right) = right.split_at(rank * channels);
        if rank > 0 {
            let own_left = MatRef::from_row_major_slice(own_left, tokens, rank);
            let own_right = MatRef::from_row_major_slice(own_right, rank, channels);
            let product = linalg::product_f32(own_left, own_right, 1.0);
            for (to, row) in out.chunks_exact_mut(hidden).zip(product.chunks_exact(channels)) {
                let scaled = row.iter().map(|&v| (f64::from(v) * gain) as f32);
                to[first..first + channels].iter_mut().zip(scaled).for_each(|(to, v)| *to = v);
            }
        }
        first += channels;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most energy of any ranks that fit, one by one.
    fn best(energies: &[Vec<f64>], costs: &[usize], room: usize) -> f64 {
        let Some((own, rest)) = energies.split_first() else { return 0.0 };
        let kept = |rank: usize| own[..rank].iter().sum::<f64>() + best(rest, &costs[1..], room - rank * costs[0]);
        (0..=own.len()).filter(|rank| rank * costs[0] <= room).map(kept).fold(0.0, f64::max)
    }

    #[test]
    fn ranks_are_the_best_of_all_where_components_cost_the_same_and_near_it_elsewhere() {
        let energies = [vec![90.0, 20.0, 1.0, 0.5], vec![30.0, 25.0, 24.0, 2.0], vec![5.0, 4.0, 3.0, 0.0]];
        for (costs, share) in [([7, 7, 7], 1.0), ([7, 7, 4], 0.97)] {
            for room in 7..90 {
                let components = energies.iter().enumerate().flat_map(|(group, energies)| {
                    energies.iter().map(move |&energy| GroupComponent { group, energy, cost: costs[group] })
                });
                let ranks = choose_ranks(components.collect(), 3, room);
                let cost: usize = ranks.iter().zip(costs).map(|(rank, cost)| rank * cost).sum();
                assert!(cost <= room, "{ranks:?} in {room}");
                let kept: f64 =
                    ranks.iter().zip(&energies).map(|(&rank, energies)| energies[..rank].iter().sum::<f64>()).sum();
                let most = best(&energies, &costs, room);
                assert!(kept >= share * most - 1e-9, "{costs:?}, {room}: {ranks:?} keep {kept} of {most}");
            }
        }
    }

    #[test]
    fn a_group_of_little_energy_gets_no_rank_and_comes_back_as_zeros() {
        let value = |i: usize| if i % 16 < 12 { ((i * i * 7 + 3 * i) % 29) as f32 } else { 1e-3 };
        let a = Activation::new(6, 16, (0..96).map(value).collect()).unwrap();
        let codec = crate::registry::build(&CodecSpec::parse("cobla").unwrap(), None).unwrap();
        let packet = codec.encode(&a, Some(Budget::elements(1.0).unwrap())).unwrap();
        // Nine components of ten numbers each, none of them of the last group.
        assert_eq!(packet.elements(), 90);
        assert!((0..6).all(|token| codec.decode(&packet).unwrap().row(token)[12..] == [0.0; 4]));
    }
}
