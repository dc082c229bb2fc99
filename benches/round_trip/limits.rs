//! How far FC is from what the core could do: the arithmetic of fast transforms at the measured peak, its matrices at the
//! measured bandwidth.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{RATIO, median, seconds};

/// Prints both shares for the seconds that a pass took.
pub fn print(hidden: usize, lengths: &[(usize, usize)], taken: f64) {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return println!("       limits: no AVX2");
    }
    let (mut operations, mut bytes) = (0.0, 0.0);
    for &(tokens, count) in lengths {
        let ks = (tokens as f64 / RATIO.sqrt()).round().max(1.0);
        // Fast transforms of real columns and of the kept rows, as FFTW counts: 5 n log2 n for n complex numbers. What is
        // executed is another number: sums make kept frequencies only, and take more for each.
        let (s, d) = (tokens as f64, hidden as f64);
        let one_way = 2.5 * s * s.log2() * d + 5.0 * ks * d * d.log2();
        operations += count as f64 * 2.0 * one_way;
        bytes += count as f64 * 2.0 * 4.0 * (tokens * hidden) as f64;
    }
    // SAFETY: the processor was just asked.
    let peak = unsafe { peak() };
    let (arithmetic, memory) = (operations / peak, bytes / bandwidth());
    println!(
        "       limits: {:.0} GFLOP at {:.0} GFLOP/s {arithmetic:.2} s, A read and A' written at {:.1} GB/s {memory:.2} s; \
         together {:.0} % of the time taken",
        operations * 1e-9,
        peak * 1e-9,
        bandwidth() * 1e-9,
        100.0 * (arithmetic + memory) / taken
    );
}

/// Operations a second of fused products and sums in registers.
#[target_feature(enable = "avx2,fma")]
unsafe fn peak() -> f64 {
    const CALLS: usize = 10_000;
    const SUMS: usize = 12;
    let (factor, term) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
    let run = |_| {
        let mut sums = [term; SUMS];
        let start = seconds();
        for _ in 0..CALLS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, term);
            }
        }
        black_box(sums);
        seconds() - start
    };
    (CALLS * SUMS * 16) as f64 / median((0..51).map(run).collect())
}

/// Bytes a second read or written of matrices beyond the inner caches.
fn bandwidth() -> f64 {
    let from = vec![1f32; 1 << 24];
    let mut to = vec![0f32; 1 << 24];
    let run = |_| {
        let start = seconds();
        to.copy_from_slice(black_box(&from));
        black_box(&to);
        seconds() - start
    };
    (8 << 24) as f64 / median((0..51).map(run).collect())
}
