//! Eight f32 at a time: AVX2 where the processor has it (asked at run time), with the thirty-two registers of AVX-512 where it
//! has those, plain arrays elsewhere.

/// Values of a vector.
pub const LANES: usize = 8;

/// The bits of a magnitude.
const MAGNITUDE: u32 = i32::MAX as u32;

/// Arithmetic on eight f32. Whatever takes a vector must be inlined into the function that was compiled for it, or each
/// operation becomes a call: `inline(always)` on functions and closures, and none of the library's closures between.
pub trait Vector: Copy {
    fn splat(value: f32) -> Self;
    fn load(from: &[f32; LANES]) -> Self;
    fn store(self, to: &mut [f32; LANES]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * factor + term`.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// `term - self * factor`.
    fn neg_mul_add(self, factor: Self, term: Self) -> Self;
    /// Lane j of vector i becomes lane i of vector j.
    fn transpose(rows: [Self; LANES]) -> [Self; LANES];

    /// Lane by lane the larger magnitude, of NaN the largest: magnitudes are ordered as their bits are.
    fn larger_magnitude(self, other: Self) -> Self;
    /// Of which lanes the magnitude has bits of at least `least`, below 2^31: bit i for lane i. Magnitudes are ordered as
    /// their bits are.
    fn at_least(self, least: u32) -> u8;
    /// Lane by lane one of each in turn: the first four of either, then the last four.
    fn interleave(first: Self, second: Self) -> ([f32; LANES], [f32; LANES]);

    /// Calls `body`, compiled for this vector, without copying it into the caller.
    fn enter<R>(body: impl FnOnce() -> R) -> R;

    /// Bits of the largest magnitude.
    #[inline(always)]
    fn top_bits(self) -> u32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes);
        lanes.iter().fold(0, |top, lane| top.max(lane.to_bits() & MAGNITUDE))
    }

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }
}

/// Without special instructions.
#[derive(Clone, Copy)]
pub struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| op(self.0[i], other.0[i])))
    }
}

impl Vector for Plain {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        *to = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        self.mul(factor).add(term)
    }

    #[inline(always)]
    fn neg_mul_add(self, factor: Self, term: Self) -> Self {
        term.sub(self.mul(factor))
    }

    #[inline(never)]
    fn enter<R>(body: impl FnOnce() -> R) -> R {
        body()
    }

    #[inline(always)]
    fn larger_magnitude(self, other: Self) -> Self {
        self.zip(other, |a, b| f32::from_bits((a.to_bits() & MAGNITUDE).max(b.to_bits() & MAGNITUDE)))
    }

    #[inline(always)]
    fn at_least(self, least: u32) -> u8 {
        (0..LANES).fold(0, |mask, i| mask | u8::from(self.0[i].to_bits() & 0x7fff_ffff >= least) << i)
    }

    #[inline(always)]
    fn interleave(first: Self, second: Self) -> ([f32; LANES], [f32; LANES]) {
        let turn = |half: usize| {
            std::array::from_fn(|i| if i % 2 == 0 { first.0[half + i / 2] } else { second.0[half + i / 2] })
        };
        (turn(0), turn(LANES / 2))
    }

    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|j| Self(std::array::from_fn(|i| rows[i].0[j])))
    }
}

/// Calls a function of the vector type with the best one this processor has.
#[doc(hidden)]
#[macro_export]
macro_rules! dispatch {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2,fma")]
            fn with_avx<R>(call: impl FnOnce() -> R) -> R {
                call()
            }
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
            fn with_more_registers<R>(call: impl FnOnce() -> R) -> R {
                call()
            }
            let avx = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                // SAFETY: the processor was just asked.
                unsafe { with_more_registers(#[inline(always)] || $function::<$crate::vector::Avx<true>>($($argument),*)) }
            } else if avx {
                // SAFETY: as above.
                unsafe { with_avx(#[inline(always)] || $function::<$crate::vector::Avx<false>>($($argument),*)) }
            } else {
                $function::<$crate::vector::Plain>($($argument),*)
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        $function::<$crate::vector::Plain>($($argument),*)
    }};
}
pub use crate::dispatch;

#[cfg(target_arch = "x86_64")]
pub use avx::Avx;

#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    use super::{LANES, Vector};

    /// AVX2 with FMA, `WIDE` with the registers of AVX-512VL too: sixteen are too few for butterflies of eight complex numbers.
    /// The operations, and so the results, are the same. To be used only in functions that are compiled for these and called
    /// after they were found.
    #[derive(Clone, Copy)]
    pub struct Avx<const WIDE: bool>(__m256);

    // SAFETY of every block below: the only functions that name this type are entered after the processor was asked for
    // AVX2 and FMA; loads and stores go through references to whole arrays.
    impl<const WIDE: bool> Vector for Avx<WIDE> {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        fn load(from: &[f32; LANES]) -> Self {
            Self(unsafe { _mm256_loadu_ps(from.as_ptr()) })
        }

        #[inline(always)]
        fn store(self, to: &mut [f32; LANES]) {
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), self.0) }
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, term: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, term.0) })
        }

        #[inline(always)]
        fn neg_mul_add(self, factor: Self, term: Self) -> Self {
            Self(unsafe { _mm256_fnmadd_ps(self.0, factor.0, term.0) })
        }

        #[inline(always)]
        fn enter<R>(body: impl FnOnce() -> R) -> R {
            #[target_feature(enable = "avx2,fma")]
            #[inline(never)]
            fn compiled<R>(body: impl FnOnce() -> R) -> R {
                body()
            }
            #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
            #[inline(never)]
            fn compiled_wide<R>(body: impl FnOnce() -> R) -> R {
                body()
            }
            if WIDE { unsafe { compiled_wide(body) } } else { unsafe { compiled(body) } }
        }

        #[inline(always)]
        fn larger_magnitude(self, other: Self) -> Self {
            unsafe {
                let magnitude = |v: Self| _mm256_and_si256(_mm256_castps_si256(v.0), _mm256_set1_epi32(i32::MAX));
                Self(_mm256_castsi256_ps(_mm256_max_epu32(magnitude(self), magnitude(other))))
            }
        }

        #[inline(always)]
        fn at_least(self, least: u32) -> u8 {
            unsafe {
                let magnitudes = _mm256_and_si256(_mm256_castps_si256(self.0), _mm256_set1_epi32(i32::MAX));
                let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(least as i32), magnitudes);
                !_mm256_movemask_ps(_mm256_castsi256_ps(below)) as u8
            }
        }

        #[inline(always)]
        fn interleave(first: Self, second: Self) -> ([f32; LANES], [f32; LANES]) {
            let (mut low, mut high) = ([0.0; LANES], [0.0; LANES]);
            unsafe {
                let (a, b) = (_mm256_unpacklo_ps(first.0, second.0), _mm256_unpackhi_ps(first.0, second.0));
                Self(_mm256_permute2f128_ps::<0x20>(a, b)).store(&mut low);
                Self(_mm256_permute2f128_ps::<0x31>(a, b)).store(&mut high);
            }
            (low, high)
        }

        #[inline(always)]
        fn transpose(r: [Self; LANES]) -> [Self; LANES] {
            unsafe {
                // Pairs of rows, then pairs of pairs, within each half; then the halves change places.
                let low = |a: usize, b: usize| _mm256_unpacklo_ps(r[a].0, r[b].0);
                let high = |a: usize, b: usize| _mm256_unpackhi_ps(r[a].0, r[b].0);
                let (a0, a1, a2, a3) = (low(0, 1), high(0, 1), low(2, 3), high(2, 3));
                let (b0, b1, b2, b3) = (low(4, 5), high(4, 5), low(6, 7), high(6, 7));
                let c0 = _mm256_shuffle_ps::<0x44>(a0, a2);
                let c1 = _mm256_shuffle_ps::<0xee>(a0, a2);
                let c2 = _mm256_shuffle_ps::<0x44>(a1, a3);
                let c3 = _mm256_shuffle_ps::<0xee>(a1, a3);
                let d0 = _mm256_shuffle_ps::<0x44>(b0, b2);
                let d1 = _mm256_shuffle_ps::<0xee>(b0, b2);
                let d2 = _mm256_shuffle_ps::<0x44>(b1, b3);
                let d3 = _mm256_shuffle_ps::<0xee>(b1, b3);
                [
                    Self(_mm256_permute2f128_ps::<0x20>(c0, d0)),
                    Self(_mm256_permute2f128_ps::<0x20>(c1, d1)),
                    Self(_mm256_permute2f128_ps::<0x20>(c2, d2)),
                    Self(_mm256_permute2f128_ps::<0x20>(c3, d3)),
                    Self(_mm256_permute2f128_ps::<0x31>(c0, d0)),
                    Self(_mm256_permute2f128_ps::<0x31>(c1, d1)),
                    Self(_mm256_permute2f128_ps::<0x31>(c2, d2)),
                    Self(_mm256_permute2f128_ps::<0x31>(c3, d3)),
                ]
            }
        }
    }
}
