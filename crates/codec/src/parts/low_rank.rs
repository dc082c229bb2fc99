//! What `qr` and the SVD family share: the rank, two factors, and how they lie in a packet.

use anyhow::{Result, ensure};
use faer::{Mat, MatRef};

use crate::activation::Activation;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, EXPONENT_BYTES, ValueType};
use crate::interface::budget::{Accounting, Budget, wire_items};
use crate::interface::info::CodecInfo;
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
use crate::interface::spec::CodecSpec;
use crate::linalg;

/// Own header: r 4.
const OWN_BYTES: usize = 4;

/// r = max(1, floor(S D / (ratio (S + D)))) under `elements`; the largest r whose packet fits, at least 1, under `wire`.
/// Never above min(S, D): S D / (S + D) is below both.
pub(crate) fn rank(budget: Budget, shape: (usize, usize), kind: ValueType) -> usize {
    let (tokens, hidden) = shape;
    let r = match budget.accounting {
        Accounting::Elements => ((tokens * hidden) as f64 / (budget.ratio * (tokens + hidden) as f64)).floor() as usize,
        Accounting::Wire => {
            let fixed = HEADER_BYTES + OWN_BYTES + 2 * EXPONENT_BYTES;
            wire_items(budget.ratio, shape, fixed, (tokens + hidden) * kind.bytes())
        }
    };
    r.clamp(1, tokens.min(hidden))
}

/// L (S x r) and R (r x D), row-major; L R is the reconstruction.
pub(crate) struct Factors {
    pub left: Vec<f32>,
    pub right: Vec<f32>,
    pub rank: usize,
}

impl Factors {
    /// From orthonormal columns Q (S x r) and Q^T A (r x D). The size of each component is shared evenly, by the root of
    /// its norm: the spread inside each factor is then the root of the spread of the singular values, well inside f16.
    pub fn balanced(q: MatRef<'_, f64>, projected: MatRef<'_, f64>) -> Self {
        let ((tokens, rank), hidden) = (q.shape(), projected.ncols());
        let share: Vec<f64> = (0..rank).map(|j| projected.row(j).norm_l2().sqrt()).collect();
        let mut left = vec![0f32; tokens * rank];
        let mut right = vec![0f32; rank * hidden];
        // A component without size stays zero: its share cannot be divided by.
        for (j, &c) in share.iter().enumerate().filter(|(_, c)| **c > 0.0) {
            for i in 0..tokens {
                left[i * rank + j] = (q[(i, j)] * c) as f32;
            }
            for k in 0..hidden {
                right[j * hidden + k] = (projected[(j, k)] / c) as f32;
            }
        }
        Self { left, right, rank }
    }

    /// From orthonormal columns Q, for Q Q^T A: A itself is projected, not A W, for the weight has cancelled.
    pub fn projected(q: Mat<f64>, a: MatRef<'_, f64>) -> Self {
        Self::balanced(q.as_ref(), linalg::product(q.transpose(), a).as_ref())
    }

    /// The packet of these factors.
    pub fn pack(&self, info: &'static CodecInfo, kind: ValueType, shape: (usize, usize)) -> Result<Packet> {
        let body = OWN_BYTES + 2 * EXPONENT_BYTES + (self.left.len() + self.right.len()) * kind.bytes();
        let mut bytes = Packet::begin(info, kind, shape, body)?;
        put_u32(&mut bytes, self.rank);
        values::write_section(&mut bytes, kind, &self.left, 0)?;
        values::write_section(&mut bytes, kind, &self.right, 0)?;
        Packet::finish(info, bytes)
    }
}

/// The best approximation Q Q^T A of rank r under a weight W on the right (Eckart and Young 1936, for A W): Q spans the
/// leading left singular space of `weighted` = A W.
///
/// Truncating A W gives Q Q^T A W; undoing the weight gives Q Q^T A W W^-1 = Q Q^T A. The weight cancels, so no inverse is
/// formed, a weight near zero does no harm, and the decoder multiplies two factors and knows nothing of weights.
pub(crate) fn truncate(a: MatRef<'_, f64>, weighted: MatRef<'_, f64>, rank: usize) -> Result<Factors> {
    Ok(Factors::projected(linalg::leading_left(weighted, rank)?, a))
}

/// Truncation under a diagonal weight, one factor per channel.
pub(crate) fn truncate_diagonal(activation: &Activation, weights: &[f64], rank: usize) -> Result<Factors> {
    let a = to_f64(activation);
    let mut weighted = a.clone();
    for row in weighted.chunks_exact_mut(weights.len()) {
        row.iter_mut().zip(weights).for_each(|(v, w)| *v *= w);
    }
    let (tokens, hidden) = (activation.tokens(), activation.hidden());
    truncate(
        MatRef::from_row_major_slice(&a, tokens, hidden),
        MatRef::from_row_major_slice(&weighted, tokens, hidden),
        rank,
    )
}

/// Below this share of the largest eigenvalue of A W W^T A^T a direction is not told by products in f32: 1e-4 of the largest
/// singular value, a thousand times what rounding leaves of it.
const SINGLE_LIMIT: f64 = 1e-8;

/// A lower triangular weight, D x D.
pub(crate) struct LowerWeight {
    exact: Mat<f64>,
    /// The same in f32, over the power of two that its largest number has.
    single: Mat<f32>,
}

impl LowerWeight {
    pub fn new(exact: Mat<f64>) -> Self {
        let gain = inverse_power(exact.norm_max());
        let single = Mat::from_fn(exact.nrows(), exact.ncols(), |i, j| (exact[(i, j)] * gain) as f32);
        Self { exact, single }
    }

    /// Rows and columns.
    pub fn side(&self) -> usize {
        self.exact.nrows()
    }
}

/// One over the power of two that a number has; 1 of zero.
fn inverse_power(top: f64) -> f64 {
    values::exponent(top).map_or(1.0, |e| values::power_of_two(-e.clamp(-1000, 1000)))
}

/// Truncation under a lower triangular weight.
///
/// A W costs S D^2 products, most of the time, and only says which directions lead. Its products are in f32 where these
/// are well above rounding: Q is then that of a matrix within some 1e-7 of A W, and A itself is projected in f64.
pub(crate) fn truncate_lower(activation: &Activation, weight: &LowerWeight, rank: usize) -> Result<Factors> {
    let (tokens, hidden) = (activation.tokens(), activation.hidden());
    let gain = inverse_power(values::max_magnitude(activation.values()).unwrap_or(0.0).into());
    let single: Vec<f32> = activation.values().iter().map(|&v| (f64::from(v) * gain) as f32).collect();
    let a = to_f64(activation);
    let a = MatRef::from_row_major_slice(&a, tokens, hidden);
    if tokens <= hidden {
        let single = MatRef::from_row_major_slice(&single, tokens, hidden);
        let weighted = linalg::times_lower_f32(single, weight.single.as_ref());
        if let Some(q) = linalg::leading_left_of_gram(weighted.as_ref(), rank, SINGLE_LIMIT)? {
            return Ok(Factors::projected(q, a));
        }
    }
    truncate(a, linalg::times_lower(a, weight.exact.as_ref()).as_ref(), rank)
}

/// All values in f64, row-major.
pub(crate) fn to_f64(activation: &Activation) -> Vec<f64> {
    activation.values().iter().map(|&v| f64::from(v)).collect()
}

/// What every encoder of the family does first: checks the budget and the values; returns S and D, and the budget.
pub(crate) fn checked(
    activation: &Activation,
    budget: Option<Budget>,
    spec: &CodecSpec,
) -> Result<((usize, usize), Budget)> {
    let budget = Budget::required(budget, spec)?;
    crate::interface::check_finite(activation)?;
    Ok(((activation.tokens(), activation.hidden()), budget))
}

/// Fails where a calibrated codec meets another hidden size.
pub(crate) fn check_hidden(name: &str, calibrated: usize, hidden: usize) -> Result<()> {
    ensure!(calibrated == hidden, "codec {name} was calibrated for {calibrated} channels, the activation has {hidden}");
    Ok(())
}

fn own_header(reader: &mut Reader<'_>) -> Result<usize> {
    Ok(reader.u32("rank")? as usize)
}

pub(crate) fn layout(view: &PacketView<'_>) -> Result<usize> {
    let rank = own_header(&mut Reader::new(view.body))?;
    let most = view.tokens.min(view.hidden);
    ensure!((1..=most).contains(&rank), "packet field rank: {rank} is not in 1..={most}");
    let elements = rank * (view.tokens + view.hidden);
    view.expect_len((OWN_BYTES + 2 * EXPONENT_BYTES + elements * view.values.bytes()) as u64)?;
    Ok(elements)
}

pub(crate) fn decode(packet: &Packet) -> Result<Vec<f32>> {
    let view = packet.view();
    let mut reader = Reader::new(view.body);
    let rank = own_header(&mut reader)?;
    let left = values::read_section(&mut reader, packet.values(), packet.tokens() * rank, "left factor")?;
    let right = values::read_section(&mut reader, packet.values(), rank * packet.hidden(), "right factor")?;
    // Stored numbers are below 2^15 unless the bytes are hostile: the product is made first, then scaled.
    let gain = values::power_of_two(left.exponent + right.exponent) as f32;
    let left = MatRef::from_row_major_slice(&left.stored, packet.tokens(), rank);
    let right = MatRef::from_row_major_slice(&right.stored, rank, packet.hidden());
    Ok(linalg::product_f32(left, right, gain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_rule_by_hand() {
        let r = |s, d, ratio| rank(Budget::elements(ratio).unwrap(), (s, d), ValueType::F16);
        // 131072 / (7.6 * 2112) = 8.17.
        assert_eq!(r(64, 2048, 7.6), 8);
        assert_eq!(r(64, 2048, 1.0), 62);
        for s in 1..=3 {
            assert_eq!(r(s, 2048, 8.0), 1, "S = {s}");
        }
        assert_eq!((r(1, 2048, 1.0), r(2, 2048, 1.0), r(3, 2048, 1.0)), (1, 1, 2));
        assert_eq!((r(1, 1, 1.0), r(5, 5, 1e9)), (1, 1));
    }

    #[test]
    fn wire_rank_fills_the_packet() {
        // 2 * 131072 / 8 = 32768 bytes, 23 of them fixed, 4224 per component in f16: 7.75.
        assert_eq!(rank(Budget::wire(8.0).unwrap(), (64, 2048), ValueType::F16), 7);
        assert_eq!(rank(Budget::wire(8.0).unwrap(), (64, 2048), ValueType::F32), 3);
    }
}
