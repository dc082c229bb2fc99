//! What one core could do: operations a second, and bytes a second from and to memory.

use std::hint::black_box;

use crate::clock::{median, thread_seconds, timed};

/// Measurements of each limit, of which the median counts.
const RUNS: usize = 51;

/// Floating-point operations a second of fused products and sums in AVX2 registers, a product and a sum as two; none where
/// the processor has no AVX2.
pub fn peak() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor was just asked.
        return Some(unsafe { peak_avx2() });
    }
    None
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn peak_avx2() -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};

    const CALLS: usize = 10_000;
    const SUMS: usize = 12;
    let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let run = |_| {
        let mut sums = [term; SUMS];
        let start = thread_seconds();
        for _ in 0..CALLS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
        thread_seconds() - start
    };
    (CALLS * SUMS * 16) as f64 / median(&(0..RUNS).map(run).collect::<Vec<_>>())
}

/// Bytes a second read or written of matrices beyond the inner caches.
pub fn bandwidth() -> f64 {
    let from = vec![1f32; 1 << 24];
    let mut to = vec![0f32; 1 << 24];
    let run = |_| timed(thread_seconds, || to.copy_from_slice(black_box(&from))).1;
    let seconds = median(&(0..RUNS).map(run).collect::<Vec<_>>());
    black_box(&to);
    (8 << 24) as f64 / seconds
}
