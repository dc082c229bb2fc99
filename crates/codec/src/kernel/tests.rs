use std::f64::consts::TAU;

use rustfft::num_complex::Complex64;

use super::columns::{ColumnBuffers, ColumnTransform};
use super::forward::{SpectrumBlock, forward_with};
use super::inverse::inverse_with;
use super::line_transform::ComplexLine;
use super::token_axis::{AxisRows, SIDE, WIDTH, up_to_middle};
use super::work::Workspace;
use super::*;
use crate::shape::Shape;
use crate::vector::{LANES, Plain, Vector, dispatch};

/// Calls a generic function with every vector type that this processor runs.
macro_rules! with_each_vector {
    ($function:ident($($argument:expr),*)) => {{
        $function::<Plain>($($argument),*);
        #[cfg(target_arch = "x86_64")]
        {
            use crate::vector::Avx;
            let avx = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx {
                $function::<Avx<false>>($($argument),*);
            }
            if avx && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                $function::<Avx<true>>($($argument),*);
            }
        }
    }};
}

/// Lengths of each method of the token axis, and widths with and without channels that fill no vector.
const CASES: [(usize, usize, Block); 10] = [
    (5, 19, Block { ks: 3, kd: 7 }),
    (7, 12, Block { ks: 7, kd: 12 }),
    (54, 192, Block { ks: 20, kd: 70 }),
    (63, 64, Block { ks: 23, kd: 24 }),
    (85, 40, Block { ks: 31, kd: 15 }),
    (200, 96, Block { ks: 72, kd: 34 }),
    (256, 12, Block { ks: 256, kd: 12 }),
    (261, 16, Block { ks: 95, kd: 6 }),
    (331, 40, Block { ks: 9, kd: 20 }),
    (3, 2048, Block { ks: 1, kd: 800 }),
];

fn ramp(numbers: usize) -> Vec<f32> {
    (0..numbers).map(|i| ((i * i + 7 * i) % 1013) as f32 / 500.0 - 1.0).collect()
}

fn wave(k: usize, length: usize, sign: f64) -> Complex64 {
    Complex64::from_polar(1.0, sign * TAU * (k % length) as f64 / length as f64)
}

/// The mirrored block of row-major values, by its sums.
fn forward_of_the_sums(values: &[f32], shape: Shape, block: Block) -> Vec<Complex64> {
    let Shape { tokens, hidden } = shape;
    let mut out = Vec::new();
    for u in 0..block.ks {
        let mut row = vec![Complex64::default(); hidden];
        for (s, values) in values.chunks_exact(hidden).enumerate() {
            let turn = wave(u * s, tokens, -1.0);
            row.iter_mut().zip(values).for_each(|(sum, value)| *sum += turn * f64::from(*value));
        }
        let sum = |v: usize| -> Complex64 { row.iter().enumerate().map(|(d, x)| x * wave(v * d, hidden, -1.0)).sum() };
        out.extend((0..block.kd).map(sum));
    }
    out
}

/// The values that a mirrored block stands for, by its sums.
fn inverse_of_the_sums(kept: &[f32], shape: Shape, block: Block) -> Vec<f64> {
    let Shape { tokens, hidden } = shape;
    let mut out = vec![0.0; tokens * hidden];
    for (u, kept) in kept.chunks_exact(2 * block.kd).enumerate() {
        let mut row = vec![Complex64::default(); hidden];
        for (v, c) in kept.as_chunks::<2>().0.iter().enumerate() {
            let mirror_kept = (tokens - u) % tokens < block.ks && (hidden - v) % hidden < block.kd;
            let c = Complex64::new(c[0].into(), c[1].into()) * if mirror_kept { 1.0 } else { 2.0 };
            row.iter_mut().enumerate().for_each(|(d, sum)| *sum += c * wave(v * d, hidden, 1.0));
        }
        for (s, out) in out.chunks_exact_mut(hidden).enumerate() {
            let turn = wave(u * s, tokens, 1.0);
            out.iter_mut().zip(&row).for_each(|(out, x)| *out += (x * turn).re * normalisation(shape));
        }
    }
    out
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0f32, |top, v| top.max(v.abs()))
}

/// A block of one direction and the values of the other, by one vector type.
fn both<V: Vector>(work: &mut Workspace, values: &[f32], shape: Shape, block: Block) -> (Vec<f32>, Vec<f32>) {
    let part = SpectrumBlock { band: Band::Mirrored, block, shape };
    let mut kept = vec![0.0; 2 * block.ks * block.kd];
    assert_eq!(forward_with::<V>(work, values, part, 1.0, &mut kept), largest(values).to_bits());
    let mut out = vec![0.0; shape.elements()];
    let top = inverse_with::<V>(work, &kept, part, normalisation(shape) as f32, &mut out);
    assert_eq!(top, largest(&out).to_bits(), "{shape:?}");
    (kept, out)
}

fn agrees_with_the_sums<V: Vector>(shape: Shape, block: Block) {
    let values = ramp(shape.elements());
    let (kept, out) = both::<V>(&mut Workspace::default(), &values, shape, block);
    let name = std::any::type_name::<V>();
    let most = 2e-6 * (shape.elements() as f64).sqrt();
    for (nth, (found, expected)) in
        kept.as_chunks().0.iter().zip(forward_of_the_sums(&values, shape, block)).enumerate()
    {
        let [re, im] = *found;
        let off = (Complex64::new(f64::from(re), f64::from(im)) - expected).norm();
        assert!(off < most, "{name}, {shape:?}, coefficient {nth}: off by {off}");
    }
    for (nth, (found, expected)) in out.iter().zip(inverse_of_the_sums(&kept, shape, block)).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(off < 2e-6, "{name}, {shape:?}, value {nth}: off by {off}");
    }
}

#[test]
fn every_vector_type_agrees_with_the_sums() {
    for (tokens, hidden, block) in CASES {
        with_each_vector!(agrees_with_the_sums(Shape { tokens, hidden }, block));
    }
}

/// The codec's tests run what `dispatch` picks; it must be the last of the types that the tests here go through.
#[test]
fn the_best_vector_type_is_tested_and_picked() {
    fn name<V: Vector>() -> &'static str {
        std::any::type_name::<V>()
    }
    fn push<V: Vector>(names: &mut Vec<&'static str>) {
        names.push(name::<V>());
    }
    let mut names = Vec::new();
    with_each_vector!(push(&mut names));
    assert_eq!(dispatch!(name()), *names.last().unwrap());
}

/// Leaves a number in all that transforms of a shape, and of one longer than any case, write.
fn fill_workspace<V: Vector>(work: &mut Workspace, stale: f32, shape: Shape, block: Block) {
    let large = Shape { tokens: 360, hidden: 200 };
    for (shape, block) in [(large, Block { ks: 360, kd: 200 }), (shape, block)] {
        let part = SpectrumBlock { band: Band::Mirrored, block, shape };
        let mut kept = vec![stale; 2 * block.ks * block.kd];
        let mut values = vec![stale; shape.elements()];
        inverse_with::<V>(work, &kept, part, 1.0, &mut values);
        values.fill(stale);
        forward_with::<V>(work, &values, part, 1.0, &mut kept);
    }
}

/// Whatever lay in a workspace before, NaN or numbers that overflow when they are added or that leave large errors of
/// rounding, the results have the same bits.
fn ignores_what_was_there<V: Vector>() {
    let mut work = Workspace::default();
    for stale in [f32::NAN, 3e38, 1e30] {
        for (tokens, hidden, block) in CASES {
            let shape = Shape { tokens, hidden };
            let part = SpectrumBlock { band: Band::Mirrored, block, shape };
            let values = ramp(shape.elements());
            let (kept, out) = both::<V>(&mut Workspace::default(), &values, shape, block);
            let (mut found_kept, mut found_out) = (vec![0.0; kept.len()], vec![0.0; out.len()]);
            fill_workspace::<V>(&mut work, stale, shape, block);
            let top = forward_with::<V>(&mut work, &values, part, 1.0, &mut found_kept);
            assert_eq!(top, largest(&values).to_bits());
            fill_workspace::<V>(&mut work, stale, shape, block);
            let top = inverse_with::<V>(&mut work, &kept, part, normalisation(shape) as f32, &mut found_out);
            assert_eq!(top, largest(&out).to_bits(), "{}, {shape:?} after {stale}", std::any::type_name::<V>());
            let same = |a: &[f32], b: &[f32]| a.iter().map(|a| a.to_bits()).eq(b.iter().map(|b| b.to_bits()));
            let same = same(&kept, &found_kept) && same(&out, &found_out);
            assert!(same, "{}, {shape:?} after {stale}", std::any::type_name::<V>());
        }
    }
}

#[test]
fn nothing_is_left_in_a_workspace() {
    with_each_vector!(ignores_what_was_there());
}

/// One value that is not finite, anywhere, is told by either direction.
#[test]
fn numbers_that_are_not_finite_are_told() {
    let mut work = Workspace::default();
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    for (tokens, hidden, block) in CASES {
        let shape = Shape { tokens, hidden };
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, hidden - 1, shape.elements() / 2, shape.elements() - 1] {
                let mut values = ramp(shape.elements());
                values[at] = wrong;
                assert_eq!(forward(&values, shape, Band::Mirrored, block, 1.0, &mut kept, &mut work), None);
            }
            let mut wrong_kept = vec![0.5; 2 * block.ks * block.kd];
            *wrong_kept.last_mut().unwrap() = wrong;
            assert_eq!(inverse(&wrong_kept, shape, Band::Mirrored, block, 1.0, &mut out, &mut work), None);
        }
    }
}

/// The largest and smallest values that callers hand over scale as a power of two does: no digit is lost on the way.
#[test]
fn powers_of_two_change_no_digit() {
    let mut work = Workspace::default();
    let mut transform = |scale: f32, shape: Shape, block: Block| {
        let values: Vec<f32> = ramp(shape.elements()).into_iter().map(|v| v * scale).collect();
        let (mut kept, mut out) = (Vec::new(), Vec::new());
        assert!(forward(&values, shape, Band::Mirrored, block, 1.0, &mut kept, &mut work).is_some());
        assert!(inverse(&kept, shape, Band::Mirrored, block, 1.0, &mut out, &mut work).is_some());
        (kept, out)
    };
    for (tokens, hidden, block) in CASES {
        let shape = Shape { tokens, hidden };
        let (kept, out) = transform(1.0, shape, block);
        // As large as `shift_for_f32` lets sums of so many values become, and as small as it leaves values.
        for power in [119 - shape.elements().ilog2() as i32, -58] {
            let scale = 2f32.powi(power);
            let (scaled_kept, scaled_out) = transform(scale, shape, block);
            let most = 1e-6 * scale * largest(&kept);
            assert!(scaled_kept.iter().zip(&kept).all(|(a, b)| (a - b * scale).abs() <= most), "{shape:?} 2^{power}");
            assert!(
                scaled_out.iter().zip(&out).all(|(a, b)| (a - b * scale).abs() <= 1e-6 * scale),
                "{shape:?} 2^{power}"
            );
        }
    }
}

/// Columns of each length against the plain sum in f64: in place, by a convolution, and with channels that fill no vector.
#[test]
fn columns_are_those_of_the_plain_sum() {
    with_each_vector!(columns_agree());
}

fn columns_agree<V: Vector>() {
    const HIDDEN: usize = 19;
    for tokens in (2..=130).chain([173, 189, 210, 256, 257, 331, 394, 491, 512]) {
        let rows = match tokens % 3 {
            0 => up_to_middle(tokens),
            _ => (tokens / 3).max(1),
        };
        let values = ramp(tokens * HIDDEN);
        let transform = ColumnTransform::new(tokens, rows);
        let mut buffers = ColumnBuffers::default();
        let mut lines = vec![ComplexLine::default(); 2 * SIDE * rows];
        let mut back = vec![0.0; tokens * HIDDEN];
        for (nth, first) in [0, WIDTH].into_iter().enumerate() {
            let at = AxisRows { first: nth * SIDE * rows, step: SIDE, count: rows };
            let of_values = (&values[..], HIDDEN, first);
            transform.forward::<V>(of_values, 1.0, (&mut lines, at), &mut buffers);
        }
        let line = |u: usize, d: usize| &lines[d / WIDTH * SIDE * rows + u * SIDE + d % WIDTH / LANES];
        let angle = |k: usize| TAU * (k % tokens) as f64 / tokens as f64;
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
            transform.inverse::<V>((&exchanged, at), (&mut back, HIDDEN, first), &mut buffers);
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
