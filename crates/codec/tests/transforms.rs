//! `fc`, `topk`, `qr` and the SVD family against NumPy, SciPy and LAPACK (`tests/reference/transforms.py`).

use serde_json::Value;
use splitbench_codec::{Activation, Budget, Calibration, CalibrationBuilder, CodecSpec, build};

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn cases() -> Vec<(Activation, Calibration, Value)> {
    let reference: Value = serde_json::from_str(include_str!("../../../tests/reference/transforms.json")).unwrap();
    let read = |case: &Value| {
        let side = |key: &str| case[key].as_u64().unwrap() as usize;
        let (tokens, hidden) = (side("tokens"), side("hidden"));
        let rows = numbers(&case["calibration"]);
        let mut builder = CalibrationBuilder::new(hidden);
        builder.push_activation(&Activation::new(rows.len() / hidden, hidden, rows).unwrap()).unwrap();
        builder.push_gradient(&numbers(&case["gradients"])).unwrap();
        let gram = case["gram"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        builder.set_next_weights(gram).unwrap();
        (Activation::new(tokens, hidden, numbers(&case["values"])).unwrap(), builder.finish().unwrap(), case.clone())
    };
    reference["cases"].as_array().unwrap().iter().map(read).collect()
}

/// What comes back from a packet of the codec that a case names, and that name for a message.
fn decoded(a: &Activation, calibration: &Calibration, made: &Value) -> (Activation, String) {
    let (text, ratio) = (made["codec"].as_str().unwrap(), made["ratio"].as_f64().unwrap());
    let codec = build(&CodecSpec::parse(text).unwrap(), Some(calibration)).unwrap();
    let back = codec.decode(&codec.encode(a, Some(Budget::elements(ratio).unwrap())).unwrap()).unwrap();
    (back, format!("{text}, {} x {}, ratio {ratio}", a.tokens(), a.hidden()))
}

#[test]
fn reconstructions_are_those_of_numpy() {
    let mut compared = 0;
    for (a, calibration, case) in cases() {
        for made in case["decoded"].as_array().unwrap() {
            let (back, what) = decoded(&a, &calibration, made);
            let expected = Activation::new(a.tokens(), a.hidden(), numbers(&made["values"])).unwrap();
            let off = expected.rel_error(&back);
            assert!(off < 1e-5, "{what}: off by {off}");
            compared += 1;
        }
    }
    assert_eq!(compared, 80);
}

#[test]
fn errors_of_low_ranks_are_lapacks() {
    let mut compared = 0;
    for (a, calibration, case) in cases() {
        for made in case["errors"].as_array().unwrap() {
            let (back, what) = decoded(&a, &calibration, made);
            let (found, expected) = (a.rel_error(&back), made["error"].as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-3 * expected + 1e-6, "{what}: {found} against {expected}");
            compared += 1;
        }
    }
    assert_eq!(compared, 48);
}
