//! The quantisers of the paper's Table I: against NumPy (`tests/reference/table1.py`), and what each is there for.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use splitbench_codec::{Activation, Budget, Calibration, CalibrationBuilder, CodecSpec, build, decode};

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn round_trip(text: &str, calibration: &Calibration, a: &Activation, ratio: f64) -> Activation {
    let codec = build(&CodecSpec::parse(text).unwrap(), Some(calibration)).unwrap();
    codec.decode(&codec.encode(a, Some(Budget::elements(ratio).unwrap())).unwrap()).unwrap()
}

#[test]
fn values_are_those_of_numpy() {
    let reference: Value = serde_json::from_str(include_str!("../../../tests/reference/table1.json")).unwrap();
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let (tokens, hidden) = (case["tokens"].as_u64().unwrap() as usize, case["hidden"].as_u64().unwrap() as usize);
        let a = Activation::new(tokens, hidden, numbers(&case["values"])).unwrap();
        let rows = numbers(&case["calibration"]);
        let mut builder = CalibrationBuilder::new(hidden);
        builder.push_activation(&Activation::new(rows.len() / hidden, hidden, rows).unwrap()).unwrap();
        let weights: Vec<f64> = numbers(&case["weights"]).into_iter().map(f64::from).collect();
        let product = |i: usize| weights.chunks(hidden).map(|row| row[i / hidden] * row[i % hidden]).sum();
        builder.set_next_weights((0..hidden * hidden).map(product).collect()).unwrap();
        let calibration = builder.finish().unwrap();
        for expected in case["decoded"].as_array().unwrap() {
            let (codec, ratio) = (expected["codec"].as_str().unwrap(), expected["ratio"].as_f64().unwrap());
            let back = round_trip(codec, &calibration, &a, ratio);
            let expected = Activation::new(tokens, hidden, numbers(&expected["values"])).unwrap();
            // The reference has six digits. A value off by a step of its grid would be far beyond this.
            let error = expected.rel_error(&back);
            assert!(error < 1e-5, "{codec} at ratio {ratio}, {tokens} x {hidden}: {error:e}");
            compared += 1;
        }
    }
    assert_eq!(compared, 24);
}

/// Rows of a few directions and noise, three channels of them thirty times larger.
fn rows(count: usize, hidden: usize, seed: u64) -> Activation {
    let mut mixing = ChaCha8Rng::seed_from_u64(40);
    let directions: Vec<f32> = (0..8 * hidden).map(|_| mixing.random_range(-1.0..1.0)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::new();
    for _ in 0..count {
        let weights: [f32; 8] = std::array::from_fn(|_| rng.random_range(-1.0..1.0));
        for channel in 0..hidden {
            let sum: f32 = (0..8).map(|k| weights[k] * directions[k * hidden + channel]).sum();
            let size = if channel % 50 == 17 { 30.0 } else { 1.0 };
            values.push(size * (sum + rng.random_range(-0.5..0.5)));
        }
    }
    Activation::new(count, hidden, values).unwrap()
}

/// `cargo test --test table1 -- --nocapture` prints them.
#[test]
fn what_calibration_is_worth_on_rows_with_large_channels() {
    let hidden = 144;
    let mut builder = CalibrationBuilder::new(hidden);
    builder.push_activation(&rows(400, hidden, 1)).unwrap();
    let calibration = builder.finish().unwrap();
    let a = rows(60, hidden, 2);
    // By token, as the layers normalise each.
    let error = |text: &str| {
        let back = round_trip(text, &calibration, &a, 1.0);
        let row = |token: usize| {
            let off: f64 = a.row(token).iter().zip(back.row(token)).map(|(v, r)| f64::from(v - r).powi(2)).sum();
            off / a.row(token).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()
        };
        let error = ((0..60).map(row).sum::<f64>() / 60.0).sqrt();
        println!("{text:<40} {error:.4}");
        error
    };
    let (int4, rotated) = (error("int4"), error("hadamard-int4"));
    let (awq, learned) = (error("awq:error=activation,group=token"), error("spinquant"));
    assert!(awq <= int4 * 1.01, "{awq} for {int4}");
    assert!(learned < 0.95 * rotated, "{learned} for {rotated}");
    assert!(error("atom:outliers=32") < 0.5 * error("int4:group=128"));
    // A longer grid in place of the clip, which pays where no value of a group is far beyond the others.
    assert!(error("atom:outliers=32,clip=1") > 0.0);
}

#[test]
fn packets_are_read_with_the_calibration_they_were_made_with() {
    let calibrations = [1, 2].map(|seed| {
        let mut builder = CalibrationBuilder::new(24);
        builder.push_activation(&rows(50, 24, seed)).unwrap();
        builder.finish().unwrap()
    });
    let (a, narrow) = (rows(3, 24, 5), rows(3, 16, 5));
    for text in ["awq:error=activation", "spinquant", "atom"] {
        let spec = CodecSpec::parse(text).unwrap();
        let [one, other] = calibrations.each_ref().map(|calibration| build(&spec, Some(calibration)).unwrap());
        let packet = one.encode(&a, None).unwrap();
        let error = other.decode(&packet).unwrap_err().to_string();
        assert!(error.starts_with("packet field digest") && error.contains("same calibration"), "{text}: {error}");
        let error = decode(&packet).unwrap_err().to_string();
        assert!(error.contains("--calibration"), "{text}: {error}");
        let error = one.encode(&narrow, None).unwrap_err().to_string();
        assert!(error.contains("calibrated for 24 channels"), "{text}: {error}");
        let error = build(&spec, None).err().unwrap().to_string();
        assert!(error.contains("needs a calibration with activations"), "{text}: {error}");
    }
    // Weights are asked for by name where only rows were collected.
    let error = build(&CodecSpec::parse("awq").unwrap(), Some(&calibrations[0])).err().unwrap().to_string();
    assert!(error.contains("q, k, v weights"), "{error}");
}
