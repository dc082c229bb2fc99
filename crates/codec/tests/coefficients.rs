//! Int8 coefficients, masks, calibrated bases and rotations: against NumPy (`tests/reference/coefficients.py`), and what
//! must hold between them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use splitbench_codec::{Activation, Budget, Calibration, CalibrationBuilder, Codec, CodecSpec, build, decode};

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn calibration(rows: Activation) -> Calibration {
    let mut builder = CalibrationBuilder::new(rows.hidden());
    builder.push_activation(&rows).unwrap();
    builder.finish().unwrap()
}

fn codec(text: &str, calibration: &Calibration) -> Box<dyn Codec> {
    build(&CodecSpec::parse(text).unwrap(), Some(calibration)).unwrap()
}

/// Relative error after a packet.
fn error(codec: &dyn Codec, a: &Activation, budget: Budget) -> f64 {
    a.rel_error(&codec.decode(&codec.encode(a, Some(budget)).unwrap()).unwrap())
}

/// Each matrix of the reference with its calibration and its case.
fn cases() -> Vec<(Activation, Calibration, Value)> {
    let reference: Value = serde_json::from_str(include_str!("../../../tests/reference/coefficients.json")).unwrap();
    let read = |case: &Value| {
        let side = |key: &str| case[key].as_u64().unwrap() as usize;
        let (tokens, hidden) = (side("tokens"), side("hidden"));
        let rows = numbers(&case["calibration"]);
        let rows = Activation::new(rows.len() / hidden, hidden, rows).unwrap();
        (Activation::new(tokens, hidden, numbers(&case["values"])).unwrap(), calibration(rows), case.clone())
    };
    reference["cases"].as_array().unwrap().iter().map(read).collect()
}

#[test]
fn decoded_values_are_those_of_numpy() {
    let mut compared = 0;
    for (a, calibration, case) in cases() {
        for made in case["decoded"].as_array().unwrap() {
            let (text, ratio) = (made["codec"].as_str().unwrap(), made["ratio"].as_f64().unwrap());
            let codec = codec(text, &calibration);
            let back = codec.decode(&codec.encode(&a, Some(Budget::elements(ratio).unwrap())).unwrap()).unwrap();
            let expected = Activation::new(a.tokens(), a.hidden(), numbers(&made["values"])).unwrap();
            let off = expected.rel_error(&back);
            assert!(off < 1e-5, "{text}, {} x {}, ratio {ratio}: off by {off}", a.tokens(), a.hidden());
            compared += 1;
        }
    }
    assert_eq!(compared, 50);
}

#[test]
fn masks_are_near_the_best_of_their_kind() {
    let mut worst = (1.0f64, String::new());
    for (a, calibration, case) in cases() {
        for least in case["least"].as_array().unwrap() {
            let (text, ratio) = (least["codec"].as_str().unwrap(), least["ratio"].as_f64().unwrap());
            let found = error(codec(text, &calibration).as_ref(), &a, Budget::elements(ratio).unwrap());
            let best = least["error"].as_f64().unwrap();
            assert!(found >= best - 1e-4, "{text}, ratio {ratio}: {found} is better than the best, {best}");
            let share = (1.0 - found.powi(2)) / (1.0 - best.powi(2));
            if share < worst.0 {
                worst = (share, format!("{text}, {} x {}, ratio {ratio}", a.tokens(), a.hidden()));
            }
        }
    }
    println!("least share of the best energy: {worst:?}");
    assert!(worst.0 > 0.96, "{worst:?}");
}

/// Rows that walk, channels of unequal size, a large one among them: a little like a residual stream.
fn stream(tokens: usize, hidden: usize, seed: u64) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fixed = ChaCha8Rng::seed_from_u64(1);
    let sizes: Vec<f32> = (0..hidden).map(|_| fixed.random_range(0.1f32..1.0).powi(3)).collect();
    let mixing: Vec<f32> = (0..hidden * 6).map(|_| fixed.random_range(-1.0..1.0)).collect();
    let mut state = [0f32; 6];
    let mut values = Vec::new();
    for _ in 0..tokens {
        state.iter_mut().for_each(|s| *s = 0.8 * *s + rng.random_range(-1.0..1.0));
        for (d, size) in sizes.iter().enumerate() {
            let mixed: f32 = state.iter().zip(&mixing[6 * d..]).map(|(s, m)| s * m).sum();
            let large = if d == hidden / 3 { 40.0 } else { 1.0 };
            values.push(large * size * (mixed + rng.random_range(-0.3f32..0.3)));
        }
    }
    Activation::new(tokens, hidden, values).unwrap()
}

#[test]
fn more_freedom_is_less_error_and_a_fitting_basis_less_still() {
    let (a, calibration) = (stream(24, 96, 2), calibration(stream(2000, 96, 3)));
    let at = |text: &str, ratio: f64| error(codec(text, &calibration).as_ref(), &a, Budget::elements(ratio).unwrap());
    for ratio in [4.0, 8.0, 16.0] {
        let free = at("fc-mask", ratio);
        for other in ["fc-mask:mask=separable", "fc-mask:mask=staircase", "fc", "fc:band=centered,aspect=adaptive"] {
            assert!(free <= at(other, ratio), "{other}, ratio {ratio}");
        }
        assert!(at("fc-mask:mask=staircase", ratio) <= at("fc:band=centered", ratio) + 1e-3, "ratio {ratio}");
        assert!(at("klt", ratio) < at("fc", ratio), "ratio {ratio}");
    }
}

#[test]
fn int8_keeps_more_within_the_same_bytes() {
    let (a, calibration) = (stream(48, 192, 2), calibration(stream(500, 192, 3)));
    for name in ["fc", "topk", "fc-mask", "fc-mask:mask=separable", "fc-mask:mask=staircase", "klt"] {
        let comma = if name.contains(':') { ',' } else { ':' };
        for ratio in [4.0, 8.0] {
            let sent = |values: &str| {
                let codec = codec(&format!("{name}{comma}values={values}"), &calibration);
                let packet = codec.encode(&a, Some(Budget::wire(ratio).unwrap())).unwrap();
                assert!(packet.ratio_wire() >= ratio, "{name}, {values}");
                (packet.elements(), a.rel_error(&codec.decode(&packet).unwrap()))
            };
            let (f16, int8, coded) = (sent("f16"), sent("int8"), sent("int8,coder=rans"));
            println!("{name:<24} ratio {ratio}: f16 {f16:?}, int8 {int8:?}, coded {coded:?}");
            assert!(int8.0 > f16.0 && coded.0 >= int8.0 * 98 / 100, "{name}, ratio {ratio}");
        }
    }
}

#[test]
fn another_calibration_is_refused() {
    let (a, one, other) = (stream(5, 24, 2), calibration(stream(50, 24, 3)), calibration(stream(50, 24, 4)));
    for text in ["klt", "fc:rotate=whiten"] {
        let packet = codec(text, &one).encode(&a, Some(Budget::elements(2.0).unwrap())).unwrap();
        assert!(codec(text, &one).decode(&packet).is_ok());
        let error = codec(text, &other).decode(&packet).unwrap_err().to_string();
        assert!(error.starts_with("packet field digest") && error.contains("same calibration"), "{text}: {error}");
        let error = decode(&packet).unwrap_err().to_string();
        assert!(error.contains("--calibration"), "{text}: {error}");
        let error = build(&CodecSpec::parse(text).unwrap(), None).err().unwrap().to_string();
        assert!(error.contains("needs a calibration"), "{text}: {error}");
    }
    // A packet says itself how its rows were rotated.
    for text in ["fc", "fc:rotate=hadamard"] {
        let packet = codec(text, &one).encode(&a, Some(Budget::elements(2.0).unwrap())).unwrap();
        assert_eq!(codec("fc:rotate=whiten", &one).decode(&packet).unwrap(), decode(&packet).unwrap(), "{text}");
    }
}

#[test]
fn rotations_of_huge_and_tiny_rows_come_back() {
    for size in [1e-30f32, 1e-6, 1e4, 1e30, 1e38] {
        let mut values = stream(6, 24, 2).into_values();
        let top = values.iter().fold(0f32, |top, v| top.max(v.abs()));
        values.iter_mut().for_each(|v| *v = *v / top * size);
        let a = Activation::new(6, 24, values).unwrap();
        let calibration = calibration(stream(50, 24, 3));
        for text in
            ["fc:rotate=hadamard,values=f32", "fc:rotate=whiten,values=f32", "klt:values=f32", "fc-mask:values=f32"]
        {
            let error = error(codec(text, &calibration).as_ref(), &a, Budget::elements(1.0).unwrap());
            assert!(error < 1e-5, "{text}, size {size:e}: {error}");
        }
    }
}
