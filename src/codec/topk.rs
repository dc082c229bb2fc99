//! `topk`: the k values of largest magnitude, and where they are.

use anyhow::{Result, ensure};

use super::bits::{self, Coding};
use super::budget::wire_items;
use super::packet::{self, Frame, HEADER_BYTES, Packet, Reader};
use super::registry::{CodecInfo, Rate, VALUES};
use super::values::{self, EXPONENT_BYTES, ValueType};
use super::{Accounting, Activation, Budget, Codec, CodecSpec};

pub(super) const INFO: CodecInfo = CodecInfo {
    name: "topk",
    summary: "Keeps the k values of largest magnitude and their positions; ties go to the lower position.",
    options: &[VALUES],
    id: 2,
    rate: Rate::Budget,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(TopK { spec: spec.clone(), values: spec.values() })),
    layout,
    decode,
};

/// Own header: k 4, coding 1, bytes of positions 4.
const OWN_BYTES: usize = 9;

/// Bytes of a packet beside positions and values.
const FIXED_BYTES: usize = HEADER_BYTES + OWN_BYTES + EXPONENT_BYTES;

struct TopK {
    spec: CodecSpec,
    values: ValueType,
}

impl Codec for TopK {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Budget) -> Result<Packet> {
        budget.check()?;
        super::check_finite(activation)?;
        let all = activation.values();
        let positions = match budget.accounting {
            Accounting::Elements => largest(all, ((all.len() as f64 / budget.ratio).floor() as usize).max(1)),
            Accounting::Wire => self.largest_that_fit(activation, budget.ratio),
        };
        let coding = bits::shortest(&positions, all.len());
        let shape = (activation.tokens(), activation.hidden());
        let body = OWN_BYTES + coding.bytes + EXPONENT_BYTES + positions.len() * self.values.bytes();
        let mut bytes = packet::begin(&INFO, self.values, shape, body)?;
        packet::put_u32(&mut bytes, positions.len());
        bytes.push(coding.id);
        packet::put_u32(&mut bytes, coding.bytes);
        bits::write(&mut bytes, &positions, coding);
        let kept: Vec<f32> = positions.iter().map(|&at| all[at as usize]).collect();
        values::write_section(&mut bytes, self.values, &kept, 0)?;
        Packet::from_bytes(bytes)
    }
}

impl TopK {
    /// The largest k whose packet fits, by bisection: [`bits::shortest`] never shrinks as k grows.
    fn largest_that_fit(&self, activation: &Activation, ratio: f64) -> Vec<u32> {
        let all = activation.values();
        let room = wire_items(ratio, (activation.tokens(), activation.hidden()), FIXED_BYTES, 1);
        let mut fits = 1;
        let mut too_many = (room / self.values.bytes()).min(all.len()) + 1;
        while fits + 1 < too_many {
            let k = fits.midpoint(too_many);
            let Coding { bytes, .. } = bits::shortest(&largest(all, k), all.len());
            if bytes + k * self.values.bytes() <= room {
                fits = k;
            } else {
                too_many = k;
            }
        }
        largest(all, fits)
    }
}

/// Positions, ascending, of the `k` largest magnitudes; among equals the lower position wins. Linear in the number of
/// values: a histogram over exponent and three bits of mantissa finds the bucket of the k-th largest, and only that
/// bucket is searched exactly.
fn largest(values: &[f32], k: usize) -> Vec<u32> {
    debug_assert!((1..=values.len()).contains(&k));
    let magnitude = |v: &f32| v.to_bits() & 0x7fff_ffff;
    const SHIFT: u32 = 20;
    let mut counts = [0usize; 1 << (31 - SHIFT)];
    values.iter().for_each(|v| counts[(magnitude(v) >> SHIFT) as usize] += 1);
    let mut above = 0;
    let mut bucket = counts.len() - 1;
    while above + counts[bucket] < k {
        above += counts[bucket];
        bucket -= 1;
    }
    let mut inside: Vec<u32> = values.iter().map(magnitude).filter(|m| (m >> SHIFT) as usize == bucket).collect();
    let within = k - above - 1;
    let (larger, &mut threshold, _) = inside.select_nth_unstable_by(within, |a, b| b.cmp(a));
    let mut ties = k - above - larger.iter().filter(|m| **m > threshold).count();
    let mut positions = Vec::with_capacity(k);
    for (at, m) in values.iter().map(magnitude).enumerate() {
        if m > threshold {
            positions.push(at as u32);
        } else if m == threshold && ties > 0 {
            ties -= 1;
            positions.push(at as u32);
        }
    }
    debug_assert_eq!(positions.len(), k);
    positions
}

/// The own header: k, coding, bytes of positions.
fn own_header(reader: &mut Reader<'_>) -> Result<(usize, Coding)> {
    let k = reader.u32("k")? as usize;
    let id = reader.u8("coding")?;
    let bytes = reader.u32("positions")? as usize;
    Ok((k, Coding { id, bytes }))
}

fn layout(frame: &Frame<'_>) -> Result<usize> {
    let (k, coding) = own_header(&mut Reader::new(frame.body))?;
    let most = frame.tokens * frame.hidden;
    ensure!((1..=most).contains(&k), "packet field k: {k} is not in 1..={most}");
    frame.expect_len((OWN_BYTES + EXPONENT_BYTES) as u64 + coding.bytes as u64 + (k * frame.values.bytes()) as u64)?;
    Ok(k)
}

fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let frame = packet.frame();
    let mut reader = Reader::new(frame.body);
    let (k, coding) = own_header(&mut reader)?;
    let n = packet.tokens() * packet.hidden();
    let positions = bits::read(reader.bytes(coding.bytes, "positions")?, coding.id, k, n)?;
    let kept = values::read_section(&mut reader, packet.values(), k, "values")?.into_values();
    let mut out = vec![0f32; n];
    positions.iter().zip(kept).for_each(|(&at, v)| out[at as usize] = v);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// By sorting everything.
    fn control(values: &[f32], k: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_by(|&a, &b| values[b as usize].abs().total_cmp(&values[a as usize].abs()).then(a.cmp(&b)));
        order.truncate(k);
        order.sort_unstable();
        order
    }

    #[test]
    fn selection_agrees_with_sorting() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..200 {
            let n = rng.random_range(1..400);
            // Few distinct values, so that ties are common; every third round they are spread over 30 decades.
            let values: Vec<f32> = (0..n)
                .map(|_| match round % 3 {
                    0 => rng.random_range(-3..=3) as f32,
                    1 => rng.random_range(-1.0..1.0),
                    _ => rng.random_range(-1.0f32..1.0) * 10f32.powi(rng.random_range(-15..15)),
                })
                .collect();
            let k = rng.random_range(1..=n);
            assert_eq!(largest(&values, k), control(&values, k), "n {n}, k {k}, round {round}");
        }
    }

    #[test]
    fn ties_go_to_the_lower_position() {
        assert_eq!(largest(&[1.0, -2.0, 2.0, 2.0, -0.0], 2), [1, 2]);
        assert_eq!(largest(&[0.0; 6], 3), [0, 1, 2]);
    }
}
