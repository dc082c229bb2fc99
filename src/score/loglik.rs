//! Log-softmax at one id.

/// 2 to the 23 times 1.5: adding it rounds a small f32 to a whole number, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Numbers summed side by side, so that the compiler can use vector instructions.
const LANES: usize = 16;

/// Log-probability of id `target` under the softmax over all `logits`, padding ids included, as the harness has it.
/// The exponentials are of f32 (2e-7 relative), their sum is f64. NaN where a logit is NaN or all are -inf.
///
/// # Panics
/// Where `target` is not an index of `logits`.
pub fn log_softmax_at(logits: &[f32], target: u32) -> f64 {
    let chosen = f64::from(logits[target as usize]);
    let max = maximum(logits);
    if !max.is_finite() {
        return f64::NAN;
    }
    let mut sums = [0f64; LANES];
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (sum, logit) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(exp(logit - max));
        }
    }
    let rest: f64 = chunks.remainder().iter().map(|logit| f64::from(exp(logit - max))).sum();
    chosen - f64::from(max) - (sums.iter().sum::<f64>() + rest).ln()
}

/// The largest logit; NaN where there is one.
fn maximum(logits: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    for chunk in logits.chunks(LANES) {
        for ((best, nan), logit) in best.iter_mut().zip(&mut nan).zip(chunk) {
            *best = if *logit > *best { *logit } else { *best };
            *nan |= logit.is_nan();
        }
    }
    if nan.contains(&true) { f32::NAN } else { best.into_iter().fold(f32::NEG_INFINITY, f32::max) }
}

/// `e^x` for x <= 0 without a branch, so that it runs in vector registers: `exp` of the C library takes as long over a
/// vocabulary of 150,000 as the output layer of a small model. Below -87 the result is 0 where f32 would be subnormal.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // ln 2 in two parts: the first has few enough bits that n * HIGH is exact.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let y = if x < -87.0 { -87.0 } else { x };
    let shifted = y * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (y - n * HIGH) - n * LOW;
    // Taylor terms to r^7 / 7!, |r| <= 0.35: the next term is 6e-9.
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let value = p * scale;
    if x < -87.0 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn direct(logits: &[f32], target: usize) -> f64 {
        let max = logits.iter().fold(f64::NEG_INFINITY, |m, l| m.max(f64::from(*l)));
        let sum: f64 = logits.iter().map(|l| (f64::from(*l) - max).exp()).sum();
        f64::from(logits[target]) - max - sum.ln()
    }

    #[test]
    fn equals_the_direct_formula_at_every_length_and_scale() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        for n in (1..70).chain([1000, 151_936]) {
            for scale in [0.0f32, 0.1, 5.0, 40.0, 300.0] {
                let logits: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0f32) * scale + 3.0).collect();
                let target = rng.random_range(0..n);
                let (got, want) = (log_softmax_at(&logits, target as u32), direct(&logits, target));
                assert!((got - want).abs() <= 5e-7, "n {n} scale {scale}: {got} {want}");
            }
        }
    }

    #[test]
    fn the_exponential_is_good_to_f32() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let (got, want) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got / want - 1.0).abs() < 3e-7, "exp({x}) = {got}, not {want}");
        }
        assert_eq!((exp(-88.0), exp(f32::NEG_INFINITY)), (0.0, 0.0));
    }

    #[test]
    fn every_id_counts_and_large_logits_do_not_overflow() {
        assert_eq!(log_softmax_at(&[2.5], 0), 0.0);
        assert!((log_softmax_at(&[1e30, 1e30], 1) + 2f64.ln()).abs() < 1e-12);
        let padded = [1.0f32, 2.0, 0.0, 0.0];
        assert!(log_softmax_at(&padded, 1) < log_softmax_at(&padded[..2], 1) - 0.1, "padding ids take part");
        assert_eq!(log_softmax_at(&[0.0, f32::NEG_INFINITY], 1), f64::NEG_INFINITY);
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(log_softmax_at(&[0.0, bad, 1.0], 0).is_nan());
        }
        assert!(log_softmax_at(&[f32::NEG_INFINITY; 3], 0).is_nan());
    }
}
