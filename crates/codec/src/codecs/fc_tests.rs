use std::f64::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::interface::spec::CodecSpec;
use crate::kernel::{Workspace, normalisation, with_workspace};
use crate::registry::build;
use crate::shape::Shape;

type Complex64 = rustfft::num_complex::Complex<f64>;

/// The control: sums straight from the definition (paper, section III-C), in f64, first along rows, then along columns.
/// `sign` is -1 forward, +1 inverse; not normalised.
fn direct_2d(values: &[Complex64], s: usize, d: usize, sign: f64) -> Vec<Complex64> {
    let roots = |n: usize| -> Vec<Complex64> {
        (0..n).map(|k| Complex64::from_polar(1.0, sign * TAU * k as f64 / n as f64)).collect()
    };
    let (root_s, root_d) = (roots(s), roots(d));
    let mut rows = vec![Complex64::default(); s * d];
    for t in 0..s {
        for v in 0..d {
            rows[t * d + v] = (0..d).map(|x| values[t * d + x] * root_d[x * v % d]).sum();
        }
    }
    let mut out = vec![Complex64::default(); s * d];
    for u in 0..s {
        for t in 0..s {
            let root = root_s[t * u % s];
            for v in 0..d {
                out[u * d + v] += rows[t * d + v] * root;
            }
        }
    }
    out
}

fn complex(values: &[f32]) -> Vec<Complex64> {
    values.iter().map(|&v| Complex64::new(f64::from(v), 0.0)).collect()
}

fn random(s: usize, d: usize) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64((s * 10_000 + d) as u64);
    Activation::new(s, d, (0..s * d).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap()
}

/// The kernel's block.
fn kept(a: &Activation, band: Band, block: Block) -> Vec<f32> {
    let mut kept = Vec::new();
    let mut workspace = Workspace::default();
    let top = kernel::forward(a.values(), a.shape(), band, block, 1.0, &mut kept, &mut workspace);
    assert_eq!(top, a.values().iter().map(|v| v.abs()).reduce(f32::max));
    // A block of the whole spectrum is the same to the bit.
    let mut of_all = Vec::new();
    kernel::forward_all(a.values(), a.shape(), 1.0, &mut workspace).block(band, block, &mut of_all);
    assert_eq!(kept, of_all);
    kept
}

/// The reconstruction by definition: which positions are kept is written out from the text, position by position.
fn control_reconstruction(spectrum: &[Complex64], s: usize, d: usize, band: Band, block: Block) -> Vec<f64> {
    let kept = |u: usize, v: usize| {
        let row = match band {
            Band::Corner | Band::Mirrored => u < block.ks,
            Band::Centered => {
                let low = -(block.ks as i64 / 2);
                (low..low + block.ks as i64).any(|f| f.rem_euclid(s as i64) as usize == u)
            }
        };
        row && v < block.kd
    };
    let mut padded = vec![Complex64::default(); s * d];
    for u in 0..s {
        for v in 0..d {
            let mirror = band != Band::Corner && kept((s - u) % s, (d - v) % d);
            if kept(u, v) || mirror {
                padded[u * d + v] = spectrum[u * d + v];
            }
        }
    }
    direct_2d(&padded, s, d, 1.0).iter().map(|c| c.re / (s * d) as f64).collect()
}

fn restored(kept: &[f32], band: Band, block: Block, (tokens, hidden): (usize, usize)) -> Vec<f32> {
    // What a buffer held before must not show.
    let mut out = vec![f32::NAN; 7];
    with_workspace(|work| kernel::inverse(kept, Shape { tokens, hidden }, band, block, 1.0, &mut out, work));
    out
}

#[test]
fn control_is_right_on_known_signals() {
    let (s, d) = (5, 6);
    // An impulse is flat; a constant is an impulse at zero; a wave is a pair of impulses.
    let mut impulse = vec![0f32; s * d];
    impulse[0] = 1.0;
    assert!(direct_2d(&complex(&impulse), s, d, -1.0).iter().all(|c| (c - Complex64::new(1.0, 0.0)).norm() < 1e-12));
    let flat = direct_2d(&complex(&vec![2.0; s * d]), s, d, -1.0);
    assert!((flat[0].re - 60.0).abs() < 1e-12 && flat[1..].iter().all(|c| c.norm() < 1e-12));
    let wave: Vec<f32> = (0..s * d)
        .map(|i| (TAU * (2.0 * (i / d) as f64 / s as f64 + (i % d) as f64 / d as f64)).cos() as f32)
        .collect();
    for (i, c) in direct_2d(&complex(&wave), s, d, -1.0).iter().enumerate() {
        let expected = if i == 2 * d + 1 || i == 3 * d + 5 { 15.0 } else { 0.0 };
        assert!((c - Complex64::new(expected, 0.0)).norm() < 1e-5, "{i}: {c}");
    }
    // Forward and back is the identity times S D.
    let a = random(s, d);
    let back = direct_2d(&direct_2d(&complex(a.values()), s, d, -1.0), s, d, 1.0);
    assert!(back.iter().zip(a.values()).all(|(c, v)| (c.re / 30.0 - f64::from(*v)).abs() < 1e-12));
}

#[test]
fn the_inverse_carries_the_whole_factor() {
    assert_eq!(normalisation(Shape { tokens: 4, hidden: 8 }), 1.0 / 32.0);
    // A lone DC coefficient of S * D is the constant one.
    let block = Block { ks: 1, kd: 1 };
    for band in [Band::Corner, Band::Mirrored, Band::Centered] {
        let ones = restored(&[15.0, 0.0], band, block, (3, 5));
        assert!(ones.iter().all(|v| (v - 1.0).abs() < 1e-6), "{band:?}: {ones:?}");
    }
}

/// Compares coefficients and reconstruction of one packet with the control.
fn compare(a: &Activation, spectrum: &[Complex64], spec: &str, ratio: f64) {
    let (s, d) = (a.tokens(), a.hidden());
    let codec = build(&CodecSpec::parse(spec).unwrap(), None).unwrap();
    let packet = codec.encode(a, Some(Budget::elements(ratio).unwrap())).unwrap();
    let (sent, FcHeader { band, block, .. }, exponent) = sent(&packet).unwrap();
    let unit = power_of_two(exponent);
    let size = spectrum.iter().map(|c| c.norm_sqr()).sum::<f64>().sqrt();
    for (i, row) in sent.chunks(2 * block.kd).enumerate() {
        let u = match band {
            Band::Centered => (i as i64 - block.ks as i64 / 2).rem_euclid(s as i64) as usize,
            _ => i,
        };
        for (v, c) in row.chunks(2).enumerate() {
            let found = Complex64::new(f64::from(c[0]), f64::from(c[1])) * unit;
            let off = (found - spectrum[u * d + v]).norm();
            assert!(off <= 1e-5 * size, "{spec} {s} x {d} ratio {ratio}: ({u}, {v}) is off by {off}");
        }
    }
    let expected = control_reconstruction(spectrum, s, d, band, block);
    let found = codec.decode(&packet).unwrap();
    let off: f64 = expected.iter().zip(found.values()).map(|(e, f)| (e - f64::from(*f)).powi(2)).sum::<f64>().sqrt();
    assert!(off <= 1e-5 * a.norm(), "{spec} {s} x {d} ratio {ratio} {block:?}: reconstruction off by {off}");
}

#[test]
fn every_token_count_agrees_with_the_control() {
    for s in 1..=300 {
        // Each S meets an odd and an even D and two ratios; all residues are covered over the sweep.
        let ds: &[usize] = if s <= 24 { &[1, 2, 3, 5, 6, 16, 17] } else { &[[5, 6], [16, 17], [6, 17]][s % 3] };
        for &d in ds {
            let a = random(s, d);
            let spectrum = direct_2d(&complex(a.values()), s, d, -1.0);
            for band in ["corner", "mirrored", "centered"] {
                let ratio = [1.0, 1.5, 3.0, 8.0][(s + d) % 4];
                compare(&a, &spectrum, &format!("fc:band={band},values=f32"), ratio);
            }
        }
    }
}

#[test]
fn every_block_of_small_shapes_agrees_with_the_control() {
    for (s, d) in [(1, 1), (1, 7), (7, 1), (2, 2), (3, 4), (4, 5), (5, 6), (6, 8)] {
        let a = random(s, d);
        let spectrum = direct_2d(&complex(a.values()), s, d, -1.0);
        for band in [Band::Corner, Band::Mirrored, Band::Centered] {
            for ks in 1..=s {
                for kd in 1..=band.max_kd(d) {
                    let block = Block { ks, kd };
                    let fast = kept(&a, band, block);
                    let found = restored(&fast, band, block, (s, d));
                    for (e, f) in control_reconstruction(&spectrum, s, d, band, block).iter().zip(&found) {
                        assert!((e - f64::from(*f)).abs() < 1e-5, "{band:?} {s} x {d} {block:?}: {e} against {f}");
                    }
                }
            }
        }
    }
}

#[test]
fn larger_shapes_and_other_aspects_agree_with_the_control() {
    for (s, d) in
        [(31, 192), (64, 97), (12, 384), (3, 1536), (2, 2048), (2, 3072), (3, 896), (2, 572), (150, 48), (211, 32)]
    {
        let a = random(s, d);
        let spectrum = direct_2d(&complex(a.values()), s, d, -1.0);
        for band in ["corner", "mirrored", "centered"] {
            for aspect in ["proportional", "tokens", "hidden", "adaptive"] {
                compare(&a, &spectrum, &format!("fc:band={band},aspect={aspect},values=f32"), 7.6);
            }
        }
    }
}

/// A field of row frequencies -3..=3 and column frequencies 0..=20.
fn low_frequency_field(s: usize, d: usize) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut values = vec![0f64; s * d];
    for u in -3i32..=3 {
        for v in 0..=20 {
            let (size, phase) = (rng.random_range(-1.0..1.0), rng.random_range(0.0..TAU));
            for (i, value) in values.iter_mut().enumerate() {
                let (t, x) = ((i / d) as f64, (i % d) as f64);
                *value += size * (TAU * (f64::from(u) * t / s as f64 + f64::from(v) * x / d as f64) + phase).cos();
            }
        }
    }
    Activation::new(s, d, values.iter().map(|&v| v as f32).collect()).unwrap()
}

#[test]
fn only_centered_is_exact_on_a_low_frequency_field() {
    let a = low_frequency_field(32, 128);
    let error = |spec: &str| {
        let codec = build(&CodecSpec::parse(spec).unwrap(), None).unwrap();
        a.rel_error(&codec.decode(&codec.encode(&a, Some(Budget::elements(10.0).unwrap())).unwrap()).unwrap())
    };
    assert!(error("fc:band=centered,values=f32") < 1e-5);
    assert!(error("fc:band=centered") < 5e-4);
    let (mirrored, corner) = (error("fc:band=mirrored"), error("fc:band=corner"));
    assert!(mirrored > 0.3 && corner > mirrored, "mirrored {mirrored}, corner {corner}");
}

#[test]
fn adaptive_restores_what_it_promises_and_finds_the_best() {
    for (s, d) in [(6, 9), (9, 8), (1, 12)] {
        let a = random(s, d);
        for band in ["corner", "mirrored", "centered"] {
            for ratio in [1.3, 2.0, 5.0] {
                let spec = CodecSpec::parse(&format!("fc:band={band},aspect=adaptive,values=f32")).unwrap();
                let codec = build(&spec, None).unwrap();
                let packet = codec.encode(&a, Some(Budget::elements(ratio).unwrap())).unwrap();
                let error = a.rel_error(&codec.decode(&packet).unwrap());
                let band: Band = band.parse().unwrap();
                let best = (1..=s)
                    .filter_map(|ks| {
                        let kd = (((s * d) as f64 / ratio / ks as f64).floor() as usize).min(band.max_kd(d));
                        (kd > 0).then(|| {
                            let block = Block { ks, kd };
                            let kept = kept(&a, band, block);
                            let back = restored(&kept, band, block, (s, d));
                            a.rel_error(&Activation::new(s, d, back).unwrap())
                        })
                    })
                    .fold(f64::INFINITY, f64::min);
                assert!((error - best).abs() < 1e-5, "{spec} {s} x {d} ratio {ratio}: {error}, the best is {best}");
            }
        }
    }
}

#[test]
fn coefficients_neither_overflow_nor_vanish_in_f16() {
    // The DC coefficient is 64 * 256 * 1e4 = 1.6e8, 2500 times f16's largest number.
    for size in [1e-30f32, 1e-6, 1e4, 1e30, 3e38] {
        let values = (0..64 * 256).map(|i| size * if i % 2 == 0 { 1.0 } else { 0.5 }).collect();
        let a = Activation::new(64, 256, values).unwrap();
        let codec = build(&CodecSpec::parse("fc:band=centered").unwrap(), None).unwrap();
        let back = codec.decode(&codec.encode(&a, Some(Budget::elements(1.0).unwrap())).unwrap()).unwrap();
        assert!(a.rel_error(&back) < 5e-4, "size {size:e}: {}", a.rel_error(&back));
    }
}
