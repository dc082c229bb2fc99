use super::columns::{ColumnBuffers, ColumnTransform};
use super::forward::{SpectrumBlock, forward_with};
use super::inverse::inverse_with;
use super::line_transform::ComplexLine;
use super::token_axis::{AxisRows, SIDE, WIDTH, up_to_middle};
use super::work::Workspace;
use super::*;
use crate::shape::Shape;
use crate::vector::{LANES, Plain, Vector};

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
        let (kept_avx, values_avx) = both::<crate::vector::Avx<false>>(tokens, hidden, block);
        let top = kept.iter().fold(0f32, |top, v| top.max(v.abs()));
        assert!(kept.iter().zip(&kept_avx).all(|(a, b)| (a - b).abs() <= 1e-5 * top), "{tokens} x {hidden}");
        assert!(values.iter().zip(&values_avx).all(|(a, b)| (a - b).abs() <= 1e-4), "{tokens} x {hidden}");
    }
}

/// Columns of each length against the plain sum in f64: in place, by a convolution, and with channels that fill no vector.
#[test]
fn columns_are_those_of_the_plain_sum() {
    const HIDDEN: usize = 19;
    for tokens in (2..=130).chain([173, 189, 210, 256, 257, 331, 394, 491, 512]) {
        let rows = match tokens % 3 {
            0 => up_to_middle(tokens),
            _ => (tokens / 3).max(1),
        };
        let values: Vec<f32> = (0..tokens * HIDDEN).map(|i| ((i * i + 7 * i) % 1013) as f32 / 500.0 - 1.0).collect();
        let transform = ColumnTransform::new(tokens, rows);
        let mut buffers = ColumnBuffers::default();
        let mut lines = vec![ComplexLine::default(); 2 * SIDE * rows];
        let mut back = vec![0.0; tokens * HIDDEN];
        for (nth, first) in [0, WIDTH].into_iter().enumerate() {
            let at = AxisRows { first: nth * SIDE * rows, step: SIDE, count: rows };
            let of_values = (&values[..], HIDDEN, first);
            transform.forward::<Plain>(of_values, 1.0, (&mut lines, at), &mut buffers);
        }
        let line = |u: usize, d: usize| &lines[d / WIDTH * SIDE * rows + u * SIDE + d % WIDTH / LANES];
        let angle = |k: usize| std::f64::consts::TAU * (k % tokens) as f64 / tokens as f64;
        let size = (tokens as f64).sqrt();
        for d in 0..HIDDEN {
            for u in 0..rows {
                let (mut re, mut im) = (0.0, 0.0);
                for s in 0..tokens {
                    let value = f64::from(values[s * HIDDEN + d]);
                    re += value * angle(u * s).cos();
                    im -= value * angle(u * s).sin();
                }
                let line = line(u, d);
                let off = (f64::from(line.re[d % LANES]) - re).hypot(f64::from(line.im[d % LANES]) - im);
                assert!(off < 2e-6 * size, "{tokens} tokens, row {u}, channel {d}: off by {off}");
            }
        }
        // Back, from rows whose parts change places.
        let exchanged: Vec<ComplexLine> = lines.iter().map(|l| ComplexLine { re: l.im, im: l.re }).collect();
        for (nth, first) in [0, WIDTH].into_iter().enumerate() {
            let at = AxisRows { first: nth * SIDE * rows, step: SIDE, count: rows };
            transform.inverse::<Plain>((&exchanged, at), (&mut back, HIDDEN, first), &mut buffers);
        }
        for d in 0..HIDDEN {
            for s in (0..tokens).step_by(1 + tokens / 16) {
                let wave = |u: usize| {
                    let line = line(u, d);
                    let (re, im) = (f64::from(line.re[d % LANES]), f64::from(line.im[d % LANES]));
                    re * angle(u * s).cos() - im * angle(u * s).sin()
                };
                let expected: f64 = (0..rows).map(wave).sum();
                let off = (f64::from(back[s * HIDDEN + d]) - expected).abs();
                assert!(off < 2e-6 * size * size, "{tokens} tokens, token {s}, channel {d}: off by {off}");
            }
        }
    }
}
