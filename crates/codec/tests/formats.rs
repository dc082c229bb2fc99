//! The formats of other programs, byte for byte: GGML's blocks by the gguf package, f16 and bf16 by torch, dnet's columns by
//! NumPy (`tests/reference/formats.py`).

use serde_json::Value;
use splitbench_codec::{Accounting, Activation, Budget, CodecSpec, build, decode};

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

#[test]
fn packets_are_those_of_the_programs_they_come_from() {
    let reference: Value = serde_json::from_str(include_str!("../../../tests/reference/formats.json")).unwrap();
    let mut compared = std::collections::BTreeMap::<String, usize>::new();
    for case in reference["cases"].as_array().unwrap() {
        let side = |key: &str| case[key].as_u64().unwrap() as usize;
        let a = Activation::new(side("tokens"), side("hidden"), numbers(&case["values"])).unwrap();
        for sent in case["sent"].as_array().unwrap() {
            let text = sent["codec"].as_str().unwrap();
            let accounting: Accounting = sent["accounting"].as_str().unwrap().parse().unwrap();
            let budget = Budget::new(sent["ratio"].as_f64().unwrap(), accounting).unwrap();
            let what = format!("{text}, {} x {}, {budget:?}", a.tokens(), a.hidden());
            let packet = build(&CodecSpec::parse(text).unwrap(), None).unwrap().encode(&a, Some(budget)).unwrap();
            // Behind the common header of 15 bytes.
            assert_eq!(hex::encode(&packet.as_bytes()[15..]), sent["body"].as_str().unwrap(), "{what}");
            let back = decode(&packet).unwrap();
            if let Some(values) = sent.get("values") {
                assert_eq!(back.values(), numbers(values), "{what}");
            }
            *compared.entry(text.to_string()).or_default() += 1;
        }
    }
    let least = [("q80", 5), ("q4_0", 5), ("noop:values=f16", 5), ("noop:values=bf16", 6), ("sparse_v1", 36)];
    for (codec, count) in least.into_iter().chain([("qsparse8_v1", 36), ("qsparse8_v1:group=32", 6)]) {
        assert_eq!(compared.get(codec), Some(&count), "{codec}");
    }
}

/// Where GGML sends an infinite scale, the largest f16 is sent; a row need not end with a block.
#[test]
fn what_ggml_has_no_bytes_for_stays_finite() {
    let mut values = vec![1.0f32; 2 * 40];
    values[0] = f32::MAX;
    values[45] = -3e7;
    let a = Activation::new(2, 40, values).unwrap();
    for (text, bytes, most) in [("q80", 34, 127.0 * 65504.0), ("q4_0", 18, 8.0 * 65504.0)] {
        let packet = build(&CodecSpec::parse(text).unwrap(), None).unwrap().encode(&a, None).unwrap();
        assert_eq!(packet.len(), 15 + 2 * 2 * bytes, "{text}");
        let back = decode(&packet).unwrap();
        assert_eq!((back.row(0)[0], back.row(1)[5]), (most, -most), "{text}");
        assert!((back.row(0)[39] - 1.0).abs() < 1e-3, "{text}");
        // 1 / d is no f32; of a block of zeros d is zero as well.
        let tiny = Activation::new(1, 3, vec![1e-39, -1e-39, f32::from_bits(1)]).unwrap();
        let packet = build(&CodecSpec::parse(text).unwrap(), None).unwrap().encode(&tiny, None).unwrap();
        assert_eq!(decode(&packet).unwrap().values(), [0.0; 3], "{text}");
        let zero = if text == "q80" { 0 } else { 0x88 };
        assert!(packet.as_bytes()[17..].iter().all(|code| *code == zero), "{text}");
    }
}

#[test]
fn numbers_beyond_f16_are_its_largest() {
    let a = Activation::new(1, 2, vec![1e6, -3e38]).unwrap();
    for text in ["noop:values=f16", "sparse_v1"] {
        let codec = build(&CodecSpec::parse(text).unwrap(), None).unwrap();
        let back = decode(&codec.encode(&a, Some(Budget::elements(1.0).unwrap())).unwrap()).unwrap();
        assert_eq!(back.values(), [65504.0, -65504.0], "{text}");
    }
}
