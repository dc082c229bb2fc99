use std::f64::consts::PI;

use super::*;
use crate::interface::budget::{Accounting, Budget};
use crate::interface::calibration::CalibrationBuilder;
use crate::interface::spec::CodecSpec;
use crate::registry::build;

fn activation(tokens: usize, hidden: usize) -> Activation {
    let value = |i: usize| ((i * i + 7 * i) % 101) as f32 / 50.0 - 0.3;
    Activation::new(tokens, hidden, (0..tokens * hidden).map(value).collect()).unwrap()
}

fn calibration(hidden: usize) -> Calibration {
    let mut builder = CalibrationBuilder::new(hidden);
    builder.push_activation(&activation(9, hidden)).unwrap();
    builder.finish().unwrap()
}

fn round_trip(spec: &str, activation: &Activation, budget: Budget) -> (Packet, Activation) {
    let calibration = calibration(activation.hidden());
    let codec = build(&CodecSpec::parse(spec).unwrap(), Some(&calibration)).unwrap();
    let packet = codec.encode(activation, Some(budget)).unwrap();
    let decoded = codec.decode(&packet).unwrap();
    (packet, decoded)
}

fn elements(ratio: f64) -> Budget {
    Budget::elements(ratio).unwrap()
}

fn close(found: &Activation, expected: impl Iterator<Item = f64>, most: f64) {
    for (nth, (found, expected)) in found.values().iter().zip(expected).enumerate() {
        assert!((f64::from(*found) - expected).abs() < most, "{nth}: {found} for {expected}");
    }
}

/// A block of the orthonormal DCT-II by its sums, and back.
#[test]
fn the_cosine_transform_is_that_of_the_sums() {
    let a = activation(6, 10);
    let (packet, decoded) = round_trip("fc-reading:transform=dct,values=f32", &a, elements(3.0));
    let Block { ks, kd } =
        crate::parts::block_shape::choose(Aspect::Proportional, Band::Mirrored, (6, 10), Allowance::Ratio(3.0));
    assert_eq!(packet.elements(), ks * kd);
    let basis = |k: usize, n: usize, length: usize| {
        let norm = if k == 0 { 1.0 } else { 2.0 } / length as f64;
        norm.sqrt() * (PI / length as f64 * (n as f64 + 0.5) * k as f64).cos()
    };
    let coefficient = |u: usize, v: usize| -> f64 {
        let at = |s: usize, d: usize| f64::from(a.values()[s * 10 + d]) * basis(u, s, 6) * basis(v, d, 10);
        (0..6).flat_map(|s| (0..10).map(move |d| (s, d))).map(|(s, d)| at(s, d)).sum()
    };
    let kept: Vec<f64> = (0..ks).flat_map(|u| (0..kd).map(move |v| (u, v))).map(|(u, v)| coefficient(u, v)).collect();
    let restored = |s: usize, d: usize| -> f64 {
        let term = |(nth, value): (usize, &f64)| value * basis(nth / kd, s, 6) * basis(nth % kd, d, 10);
        kept.iter().enumerate().map(term).sum()
    };
    close(&decoded, (0..60).map(|i| restored(i / 10, i % 10)), 1e-5);
}

/// `fc` itself does it on the padded matrix; the ratio asked for counts that, the ratio told counts A.
#[test]
fn padding_is_rows_of_zeros() {
    let a = activation(5, 12);
    let mut rows = a.values().to_vec();
    rows.resize(256 * 12, 0.0);
    let padded = Activation::new(256, 12, rows).unwrap();
    let (packet, decoded) = round_trip("fc-reading:pad=256,values=f32", &a, elements(4.0));
    let (plain, expected) = round_trip("fc:values=f32", &padded, elements(4.0));
    assert_eq!(packet.elements(), plain.elements());
    assert_eq!((packet.tokens(), decoded.tokens()), (5, 5));
    assert!((packet.ratio_elements() * 256.0 / 5.0 - 4.0).abs() < 0.1, "{}", packet.ratio_elements());
    close(&decoded, expected.values().iter().map(|v| f64::from(*v)), 1e-5);
    // A length that A has already is no padding.
    let long = activation(300, 12);
    let (packet, decoded) = round_trip("fc-reading:pad=256,values=f32", &long, elements(4.0));
    let (plain, expected) = round_trip("fc:values=f32", &long, elements(4.0));
    assert_eq!(packet.elements(), plain.elements());
    close(&decoded, expected.values().iter().map(|v| f64::from(*v)), 1e-5);
}

/// The mean row off, the rest by `fc`, the mean row on again.
#[test]
fn means_are_taken_off_and_added() {
    let a = activation(5, 12);
    let calibrated: Vec<f64> = calibration(12).mean().unwrap().iter().map(|v| f64::from(*v as f32)).collect();
    let own: Vec<f64> =
        (0..12).map(|d| a.values().iter().skip(d).step_by(12).map(|v| f64::from(*v)).sum::<f64>() / 5.0).collect();
    for (spec, mean, sent) in [("tokens", &own, 12), ("calibrated", &calibrated, 0)] {
        let less: Vec<f32> =
            a.values().iter().enumerate().map(|(i, v)| (f64::from(*v) - mean[i % 12]) as f32).collect();
        let rest = Activation::new(5, 12, less).unwrap();
        let (packet, decoded) = round_trip(&format!("fc-reading:mean={spec},values=f32"), &a, elements(2.0));
        // Of 30 numbers the mean row takes its own.
        let (plain, expected) = round_trip("fc:values=f32", &rest, elements(60.0 / (30.0 - sent as f64)));
        assert_eq!(packet.elements(), plain.elements() + sent, "{spec}");
        close(&decoded, expected.values().iter().enumerate().map(|(i, v)| f64::from(*v) + mean[i % 12]), 1e-5);
    }
}

/// The whole of either transform brings everything back, at any size of the values, and bytes are as asked for.
#[test]
fn what_is_kept_whole_comes_back_and_bytes_fit() {
    for spec in ["dft,pad=256", "dct,pad=256", "dct", "dct,mean=calibrated"] {
        for size in [1e-30f32, 1.0, 1e30] {
            let a = activation(7, 12);
            let a = Activation::new(7, 12, a.values().iter().map(|v| v * size).collect()).unwrap();
            let spec = format!("fc-reading:transform={spec},values=f32");
            // A calibrated mean of ordinary numbers is beyond small ones.
            if spec.contains("calibrated") && size != 1.0 {
                continue;
            }
            let (_, decoded) = round_trip(&spec, &a, elements(1.0));
            assert!(a.rel_error(&decoded) < 1e-5, "{spec} {size}: {}", a.rel_error(&decoded));
            let wire = Budget { ratio: 2.0, accounting: Accounting::Wire };
            let (packet, _) = round_trip(&spec, &a, wire);
            assert!(packet.len() <= 7 * 12, "{spec}: {} bytes", packet.len());
        }
    }
}

/// What transforms along one axis keep is what `fc` keeps with all of the other axis: they are no readings of their own.
#[test]
fn one_axis_alone_is_an_aspect() {
    let (tokens, hidden, kd) = (5, 12, 3);
    let a = activation(tokens, hidden);
    let (packet, decoded) = round_trip("fc:aspect=tokens,values=f32", &a, elements(4.0));
    assert_eq!(packet.elements(), tokens * kd);
    // Of each token the first coefficients of a DFT along the hidden axis, and the conjugates that a real row has.
    let row = |s: usize, d: usize| -> f64 {
        let value = |n: usize| f64::from(a.values()[s * hidden + n]);
        (0..kd)
            .map(|v| {
                let angle = |n: usize| 2.0 * PI * (v * n) as f64 / hidden as f64;
                let re: f64 = (0..hidden).map(|n| value(n) * angle(n).cos()).sum();
                let im: f64 = (0..hidden).map(|n| -value(n) * angle(n).sin()).sum();
                let twice = if v == 0 { 1.0 } else { 2.0 };
                twice * (re * angle(d).cos() - im * angle(d).sin()) / hidden as f64
            })
            .sum()
    };
    close(&decoded, (0..tokens * hidden).map(|i| row(i / hidden, i % hidden)), 1e-5);
}
