use super::forward::{SpectrumBlock, forward_with};
use super::inverse::inverse_with;
use super::work::Workspace;
use super::*;
use crate::shape::Shape;
use crate::vector::{Plain, Vector};

/// A block of one direction and the values of the other, by one vector type.
fn both<V: Vector>(tokens: usize, hidden: usize, block: Block) -> (Vec<f32>, Vec<f32>) {
    let values: Vec<f32> = (0..tokens * hidden).map(|i| ((i * i + 7 * i) % 1013) as f32 / 500.0 - 1.0).collect();
    let mut work = Workspace::default();
    let shape = Shape { tokens, hidden };
    let part = SpectrumBlock { band: Band::Mirrored, block, shape };
    let mut kept = vec![0.0; 2 * block.ks * block.kd];
    let largest = |values: &[f32]| values.iter().fold(0f32, |top, v| top.max(v.abs())).to_bits();
    assert_eq!(forward_with::<V>(&mut work, &values, part, 1.0, &mut kept), largest(&values));
    let mut out = vec![0.0; tokens * hidden];
    let top = inverse_with::<V>(&mut work, &kept, part, normalisation(shape) as f32, &mut out);
    assert_eq!(top, largest(&out));
    (kept, out)
}

/// What runs where the processor lacks AVX2, against what runs here; the codec's tests check the latter.
#[cfg(target_arch = "x86_64")]
#[test]
fn plain_arrays_give_what_vectors_give() {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return println!("skipped: no AVX2");
    }
    for (tokens, hidden, ks, kd) in [
        (5, 19, 3, 7),
        (54, 192, 20, 70),
        (63, 64, 23, 24),
        (85, 40, 31, 15),
        (200, 96, 72, 34),
        (261, 16, 95, 6),
        (331, 40, 9, 20),
        (3, 2048, 1, 800),
    ] {
        let block = Block { ks, kd };
        let (kept, values) = both::<Plain>(tokens, hidden, block);
        let (kept_avx, values_avx) = both::<crate::vector::Avx>(tokens, hidden, block);
        let top = kept.iter().fold(0f32, |top, v| top.max(v.abs()));
        assert!(kept.iter().zip(&kept_avx).all(|(a, b)| (a - b).abs() <= 1e-5 * top), "{tokens} x {hidden}");
        assert!(values.iter().zip(&values_avx).all(|(a, b)| (a - b).abs() <= 1e-4), "{tokens} x {hidden}");
    }
}
