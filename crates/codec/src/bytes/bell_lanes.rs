//! States of [`super::bell_rans`] eight at a time by AVX2, to the same bits as one after another.

use std::arch::x86_64::*;

use super::bell_rans::{CODES, LANES, PLACES, PRECISION, START, SYMBOLS, TOTAL};

/// By bits of eight lanes: which of them are set, the last first, a byte each.
static SET: [u64; 256] = {
    let mut lanes = [0; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut count) = (8, 0);
        while lane > 0 {
            lane -= 1;
            if mask >> lane & 1 == 1 {
                lanes[mask] |= (lane as u64) << (8 * count);
                count += 1;
            }
        }
        mask += 1;
    }
    lanes
};

/// By bits of eight lanes: for each that is set, which of eight words it takes, from the last on, a byte each.
static TAKEN: [u64; 256] = {
    let mut words = [0; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut word) = (0, 8);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                word -= 1;
                words[mask] |= word << (8 * lane);
            }
            lane += 1;
        }
        mask += 1;
    }
    words
};

/// Puts codes on the states from the last turn to the first, and the words that these give away into `words`, which has room
/// for one per code and [`LANES`] more. Returns how many there are.
#[target_feature(enable = "avx2,popcnt")]
pub(crate) fn encode<const VECTORS: usize>(
    shares: &[[u32; 2]; CODES],
    turns: &[[[u16; LANES]; VECTORS]],
    state: &mut [[u32; LANES]; VECTORS],
    words: &mut [u16],
) -> usize {
    assert!(words.len() >= (turns.len() * VECTORS + 1) * LANES);
    let first = shares.as_ptr().cast::<i32>();
    let total = _mm256_set1_epi32(TOTAL as i32);
    let mut count = 0;
    // SAFETY of the loads and stores below: whole arrays; shares at codes below their number; words as asserted, of which a
    // turn gives away at most one per code.
    let mut states: [__m256i; VECTORS] =
        std::array::from_fn(|v| unsafe { _mm256_loadu_si256(state[v].as_ptr().cast()) });
    for turn in turns.iter().rev() {
        for v in (0..VECTORS).rev() {
            let x = states[v];
            let codes = unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(turn[v].as_ptr().cast())) };
            let codes = _mm256_and_si256(codes, _mm256_set1_epi32(CODES as i32 - 1));
            let share = unsafe { _mm256_i32gather_epi32::<8>(first, codes) };
            let reciprocal = unsafe { _mm256_i32gather_epi32::<8>(first.add(1), codes) };
            let frequency = _mm256_srli_epi32::<20>(share);
            let limit = _mm256_slli_epi32::<{ 31 - PRECISION as i32 }>(frequency);
            // States and limits are below 2^31.
            let stays = _mm256_cmpgt_epi32(limit, x);
            let away = !(_mm256_movemask_ps(_mm256_castsi256_ps(stays))) as u8;
            let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(SET[usize::from(away)] as i64));
            let given = _mm256_and_si256(_mm256_permutevar8x32_epi32(x, order), _mm256_set1_epi32(0xffff));
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(given), _mm256_extracti128_si256::<1>(given));
            unsafe { _mm_storeu_si128(words.as_mut_ptr().add(count).cast(), packed) };
            count += away.count_ones() as usize;
            let x = _mm256_blendv_epi8(_mm256_srli_epi32::<16>(x), x, stays);
            let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(x, reciprocal));
            let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(x), _mm256_srli_epi64::<32>(reciprocal));
            let product = _mm256_blend_epi32::<0b1010_1010>(even, odd);
            let shift = _mm256_and_si256(_mm256_srli_epi32::<13>(share), _mm256_set1_epi32(15));
            let quotient = _mm256_srlv_epi32(product, shift);
            let rest = _mm256_sub_epi32(total, frequency);
            let bias = _mm256_and_si256(share, _mm256_set1_epi32(0x1fff));
            states[v] = _mm256_add_epi32(_mm256_mullo_epi32(quotient, rest), _mm256_add_epi32(x, bias));
        }
    }
    for v in 0..VECTORS {
        unsafe { _mm256_storeu_si256(state[v].as_mut_ptr().cast(), states[v]) };
    }
    count
}

/// Takes codes off the states, turn by turn, of tables whose codes of zero are `zeros`, while there are enough words
/// for one each. Returns how many turns were taken, and takes their words off `left`.
#[target_feature(enable = "avx2,popcnt")]
pub(crate) fn decode<const VECTORS: usize>(
    places: &[u32; PLACES],
    turns: &mut [[[u16; LANES]; VECTORS]],
    zeros: &[[[i32; LANES]; VECTORS]],
    state: &mut [[u32; LANES]; VECTORS],
    words: &[[u8; 2]],
    left: &mut usize,
) -> usize {
    let mask = |bits: i32| _mm256_set1_epi32(bits);
    let field = mask(TOTAL as i32 - 1);
    // SAFETY of the loads and stores below: whole arrays; places below their number.
    let mut states: [__m256i; VECTORS] =
        std::array::from_fn(|v| unsafe { _mm256_loadu_si256(state[v].as_ptr().cast()) });
    let mut taken = 0;
    for (turn, zeros) in turns.iter_mut().zip(zeros) {
        if *left < VECTORS * LANES {
            break;
        }
        for v in 0..VECTORS {
            let Some(window) = words[..*left].last_chunk::<LANES>() else { unreachable!("as many as asked for") };
            let x = states[v];
            let zeros = unsafe { _mm256_loadu_si256(zeros[v].as_ptr().cast()) };
            let base = _mm256_and_si256(zeros, mask(-(SYMBOLS as i32)));
            let table = _mm256_slli_epi32::<{ PRECISION as i32 - SYMBOLS.ilog2() as i32 }>(base);
            let at = _mm256_and_si256(_mm256_or_si256(table, _mm256_and_si256(x, field)), mask(PLACES as i32 - 1));
            let place = unsafe { _mm256_i32gather_epi32::<4>(places.as_ptr().cast(), at) };
            let codes = _mm256_or_si256(base, _mm256_srli_epi32::<{ 2 * PRECISION as i32 }>(place));
            let frequency = _mm256_and_si256(_mm256_srli_epi32::<{ PRECISION as i32 }>(place), field);
            let next = _mm256_mullo_epi32(frequency, _mm256_srli_epi32::<{ PRECISION as i32 }>(x));
            let next = _mm256_add_epi32(next, _mm256_and_si256(place, field));
            let wants = _mm256_cmpgt_epi32(mask(START as i32), next);
            let lanes = _mm256_movemask_ps(_mm256_castsi256_ps(wants)) as u8;
            let window = unsafe { _mm256_cvtepu16_epi32(_mm_loadu_si128(window.as_ptr().cast())) };
            let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(TAKEN[usize::from(lanes)] as i64));
            let refilled = _mm256_or_si256(_mm256_slli_epi32::<16>(next), _mm256_permutevar8x32_epi32(window, order));
            states[v] = _mm256_blendv_epi8(next, refilled, wants);
            *left -= lanes.count_ones() as usize;
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
            unsafe { _mm_storeu_si128(turn[v].as_mut_ptr().cast(), packed) };
        }
        taken += 1;
    }
    for v in 0..VECTORS {
        unsafe { _mm256_storeu_si256(state[v].as_mut_ptr().cast(), states[v]) };
    }
    taken
}
