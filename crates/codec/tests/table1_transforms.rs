//! Cosine transforms and the transforms of the paper's Table I: against SciPy (`tests/reference/table1_transforms.py`).

use serde_json::Value;
use splitbench_codec::{Activation, Budget, CodecSpec, build};

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn codec(text: &str) -> Box<dyn splitbench_codec::Codec> {
    build(&CodecSpec::parse(text).unwrap(), None).unwrap()
}

#[test]
fn values_are_those_of_scipy() {
    let reference: Value =
        serde_json::from_str(include_str!("../../../tests/reference/table1-transforms.json")).unwrap();
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let (tokens, hidden) = (case["tokens"].as_u64().unwrap() as usize, case["hidden"].as_u64().unwrap() as usize);
        let a = Activation::new(tokens, hidden, numbers(&case["values"])).unwrap();
        for expected in case["decoded"].as_array().unwrap() {
            let (name, ratio) = (expected["codec"].as_str().unwrap(), expected["ratio"].as_f64().unwrap());
            // Numbers are sent in f32, so that nothing but the method decides.
            let codec = codec(&if name.starts_with("split") { name.into() } else { format!("{name},values=f32") });
            let back = codec.decode(&codec.encode(&a, Some(Budget::elements(ratio).unwrap())).unwrap()).unwrap();
            let expected = Activation::new(tokens, hidden, numbers(&expected["values"])).unwrap();
            // The reference has six digits. Another choice of coefficients would be far beyond this.
            let error = expected.rel_error(&back);
            assert!(error < 1e-5, "{name} at ratio {ratio}, {tokens} x {hidden}: {error:e}");
            compared += 1;
        }
    }
    assert_eq!(compared, 58);
}

/// 64 tokens that drift, as smooth along the tokens as an average over several makes them.
fn drifting(hidden: usize) -> Activation {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut row: Vec<f32> = (0..hidden).map(|_| draw()).collect();
    let mut values = Vec::new();
    for _ in 0..64 {
        row.iter_mut().for_each(|v| *v = 0.8 * *v + 0.6 * draw());
        values.extend_from_slice(&row);
    }
    Activation::new(64, hidden, values).unwrap()
}

/// Within 2 % below, wherever a step of the codec is no larger than that.
#[test]
fn wire_budgets_are_met_from_below() {
    let a = drifting(576);
    for text in [
        "fc-mask:transform=dct",
        "fcanet",
        "fcanet:groups=32,values=int8",
        "dynamic-pruning",
        "dynamic-pruning:values=int8,coder=rans",
        "split-fine-tuning",
        "split-fine-tuning:bits=8",
        "cobla:groups=8",
        "fc:transform=dct,aspect=hidden",
        "fc:transform=dct",
    ] {
        for ratio in [4.0, 8.0, 16.0] {
            let packet = codec(text).encode(&a, Some(Budget::wire(ratio).unwrap())).unwrap();
            let filled = packet.len() as f64 / (2.0 * 64.0 * 576.0 / ratio);
            println!("{text:<42} {ratio:>4} {filled:.4}");
            // A row of fc takes 576 numbers, a component of cobla 136: of 4.6 kB at ratio 16 that is 25 % and 6 %.
            let step = if text.contains("hidden") {
                0.75
            } else if text.starts_with("cobla") {
                0.94
            } else {
                0.98
            };
            assert!((step..=1.0).contains(&filled), "{text} at {ratio}: {filled} of the bytes");
        }
    }
}
