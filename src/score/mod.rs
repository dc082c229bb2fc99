//! From log-likelihoods to accuracy, its uncertainty and paired comparisons.
pub fn log_softmax_at(logits: &[f32], target: u32) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&v| f64::from(v - top).exp()).sum();
    f64::from(logits[target as usize] - top) - sum.ln()
}
