//! The quantisers: against NumPy and torch (`tests/reference/codecs.py`), their error bounds, and what they are worth.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use splitbench_codec::{Activation, Budget, CodecSpec, Packet, build, decode};

fn encode(spec: &str, a: &Activation) -> Packet {
    let codec = build(&CodecSpec::parse(spec).unwrap(), None).unwrap();
    codec.encode(a, Some(Budget::elements(1.0).unwrap())).unwrap_or_else(|e| panic!("{spec}: {e:#}"))
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn reference() -> Value {
    serde_json::from_str(include_str!("../../../tests/reference/codecs.json")).unwrap()
}

/// The integers of a packet without entropy coding, read by the wire format as written down.
fn codes(spec: &CodecSpec, packet: &Packet) -> Vec<f64> {
    let (tokens, hidden) = (packet.tokens(), packet.hidden());
    let group = u32::from_le_bytes(packet.as_bytes()[15..19].try_into().unwrap()) as usize;
    let width = if spec.option("scales") == Some("f32") { 4 } else { 2 };
    let scales = if group == 0 { 1 } else { tokens * hidden.div_ceil(group) };
    let payload = &packet.as_bytes()[20 + 2 + width * scales..];
    match spec.name() {
        "int8" => payload.iter().map(|&b| f64::from(b as i8)).collect(),
        "fp8" => payload.iter().map(|&b| f64::from(b)).collect(),
        _ => {
            let halves = payload.iter().flat_map(|b| [b & 15, b >> 4]).take(tokens * hidden);
            halves.map(|h| f64::from(h) - if h < 8 { 0.0 } else { 16.0 }).collect()
        }
    }
}

#[test]
fn codes_and_values_are_those_of_numpy() {
    let reference = reference();
    let mut compared = 0;
    for case in reference["cases"].as_array().unwrap() {
        let (tokens, hidden) = (case["tokens"].as_u64().unwrap() as usize, case["hidden"].as_u64().unwrap() as usize);
        let values: Vec<f32> = numbers(&case["values"]).into_iter().map(|v| v as f32).collect();
        let largest = values.iter().fold(0f64, |top, v| top.max(f64::from(v.abs())));
        let a = Activation::new(tokens, hidden, values).unwrap();
        for (text, expected) in case["codecs"].as_object().unwrap() {
            let packet = encode(text, &a);
            let what = format!("{text}, {tokens} x {hidden}");
            assert_eq!(codes(&CodecSpec::parse(text).unwrap(), &packet), numbers(&expected["codes"]), "{what}");
            let back = decode(&packet).unwrap();
            for (found, expected) in back.values().iter().map(|&v| f64::from(v)).zip(numbers(&expected["values"])) {
                // A rotation back sums numbers as large as the largest, in another order.
                let bound = 1e-6 * expected.abs() + 1e-12 * largest;
                assert!((found - expected).abs() <= bound, "{what}: {found:e} for {expected:e}");
                compared += 1;
            }
        }
    }
    assert!(compared > 3000, "{compared}");
}

#[test]
fn every_number_of_both_eight_bit_formats_is_torchs() {
    numbers_are_torchs("e4m3", 0, &[0x7f, 0xff]);
    numbers_are_torchs("e5m2", 16, &[0x7c, 0x7d, 0x7e, 0x7f, 0xfc, 0xfd, 0xfe, 0xff]);
}

fn numbers_are_torchs(format: &str, mark: u8, without: &[u8]) {
    let expected = numbers(&reference()[format]);
    // A packet by hand: one token, a scale of one in f16, codes one after another.
    let packet = |codes: &[u8]| {
        let mut bytes = b"SPLB\x01\x0a\x00\x01\x00\x00\x00".to_vec();
        bytes.extend_from_slice(&(codes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(codes.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&[mark, 0, 0, 0x00, 0x3c]);
        bytes.extend_from_slice(codes);
        Packet::from_bytes(bytes).unwrap()
    };
    let (nan, finite): (Vec<u8>, Vec<u8>) = (0..=255).partition(|&code| expected[usize::from(code)].is_nan());
    let found = decode(&packet(&finite)).unwrap();
    for (&code, &found) in finite.iter().zip(found.values()) {
        assert_eq!(f64::from(found), expected[usize::from(code)], "{code:#x}");
    }
    assert_eq!(nan, without);
    for code in nan {
        let error = decode(&packet(&[0, code])).unwrap_err().to_string();
        assert!(error.contains("fp8") && error.contains("channel 1"), "{error}");
    }
}

#[test]
fn codes_without_a_number_are_refused() {
    let a = Activation::new(1, 3, vec![1.0, 2.0, 3.0]).unwrap();
    for (text, byte) in [("int8", 0x80), ("int4", 0x08), ("hadamard-int4", 0x08)] {
        let mut bytes = encode(text, &a).into_bytes();
        // 15 common bytes, 5 of its own, an exponent and one scale.
        bytes[24] = byte;
        assert!(decode(&Packet::from_bytes(bytes).unwrap()).is_err(), "{text}");
    }
    // Three halves in two bytes: the fourth is zero.
    let mut bytes = encode("int4", &a).into_bytes();
    bytes[25] |= 0x10;
    assert!(decode(&Packet::from_bytes(bytes).unwrap()).unwrap_err().to_string().contains("spare"));
}

/// Rows of ordinary, huge, subnormal, tiny and no values.
fn mixed(tokens: usize, hidden: usize, seed: u64) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tops = [1.0, f32::MAX, 1e-40, 0.0, 3e-3, f32::from_bits(1), 1e4];
    let mut values = Vec::new();
    for token in 0..tokens {
        let top = tops[(token + seed as usize) % tops.len()];
        values.extend((0..hidden).map(|_| top * rng.random_range(-1.0f32..=1.0)));
        // The top itself, too.
        values[token * hidden + token % hidden] = -top;
    }
    Activation::new(tokens, hidden, values).unwrap()
}

#[test]
fn every_value_is_within_half_a_step_at_every_shape_and_size() {
    let shapes = [(1, 1), (2, 1), (3, 1), (1, 2), (2, 7), (3, 33), (1, 130), (7, 129), (9, 64)];
    for (at, (tokens, hidden)) in shapes.into_iter().enumerate() {
        for seed in 0..7 {
            let a = mixed(tokens, hidden, 10 * at as u64 + seed);
            let largest = a.values().iter().fold(0f64, |top, v| top.max(f64::from(v.abs())));
            for name in ["int8", "int4", "fp8"] {
                for (group, options) in [(hidden, ""), (32, ":group=32"), (128, ":group=128,coder=rans,scales=f32")] {
                    let back = decode(&encode(&format!("{name}{options}"), &a)).unwrap();
                    for (row, received) in a.values().chunks(hidden).zip(back.values().chunks(hidden)) {
                        for (sent, received) in row.chunks(group).zip(received.chunks(group)) {
                            let top = sent.iter().fold(0f64, |top, v| top.max(f64::from(v.abs())));
                            let top = if top == 0.0 { 0.0 } else { top.max(largest / 2f64.powi(28)) };
                            for (&v, &r) in sent.iter().zip(received) {
                                let (v, r) = (f64::from(v), f64::from(r));
                                // A scale in f16 is off by 2^-11 at most.
                                let half_step = (1.0 + 2f64.powi(-11)) / 2.0
                                    * match name {
                                        "int8" => top / 127.0,
                                        "int4" => top / 7.0,
                                        _ => (v.abs() / 8.0).max(top / 448.0 / 512.0),
                                    };
                                let bound = half_step + f64::from(f32::from_bits(1)) + 1e-7 * v.abs();
                                assert!((v - r).abs() <= bound, "{name}{options}, {tokens} x {hidden}: {v:e} as {r:e}");
                            }
                        }
                    }
                }
            }
            // A rotation keeps the length of rows: half a step in every channel, of the largest rotated one.
            let back = decode(&encode("hadamard-int4", &a)).unwrap();
            for (row, received) in a.values().chunks(hidden).zip(back.values().chunks(hidden)) {
                let length = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                let length = length.max((hidden as f64).sqrt() * largest / 2f64.powi(28));
                let off: f64 = row.iter().zip(received).map(|(&v, &r)| (f64::from(v) - f64::from(r)).powi(2)).sum();
                assert!(off.sqrt() <= 0.501 * (hidden as f64).sqrt() * length / 7.0 + 1e-43, "{tokens} x {hidden}");
            }
        }
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random_range(-0.5f32..0.5)).sum()
}

/// Relative error and wire ratio; 48 x 1536 of near-normal values, and the same with three channels a hundred times larger.
/// `cargo test --test quantisers -- --nocapture` prints them.
#[test]
fn finer_groups_rotation_and_coding_are_worth_something() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (tokens, hidden) = (48, 1536);
    let plain: Vec<f32> = (0..tokens * hidden).map(|_| normal(&mut rng)).collect();
    let mut outliers = plain.clone();
    for row in outliers.chunks_exact_mut(hidden) {
        [17, 700, 1400].into_iter().for_each(|channel| row[channel] *= 100.0);
    }
    let matrices = [plain, outliers].map(|values| Activation::new(tokens, hidden, values).unwrap());
    let measure = |spec: &str| {
        let [plain, outliers] = matrices.each_ref().map(|a| {
            let packet = encode(spec, a);
            (a.rel_error(&decode(&packet).unwrap()), packet.ratio_wire())
        });
        println!("{spec:<36} plain {:.5} at {:.3}, outliers {:.5} at {:.3}", plain.0, plain.1, outliers.0, outliers.1);
        (plain, outliers)
    };
    let mut found = std::collections::HashMap::new();
    for name in ["int8", "int4", "fp8", "hadamard-int4"] {
        for coder in ["none", "rans"] {
            let mut last = f64::INFINITY;
            for group in ["token", "128", "64", "32"] {
                let spec = format!("{name}:group={group},coder={coder}");
                let (plain, outliers) = measure(&spec);
                if name != "fp8" {
                    assert!(plain.0 < last, "{spec}: no better than a coarser group");
                    last = plain.0;
                }
                found.insert(spec, (plain, outliers));
            }
        }
    }
    let of = |spec: &str| found[spec];
    for group in ["token", "32"] {
        let at = |name: &str, coder: &str| of(&format!("{name}:group={group},coder={coder}"));
        assert!(at("int8", "none").0.0 < at("fp8", "none").0.0 && at("fp8", "none").0.0 < at("int4", "none").0.0);
        for name in ["int8", "int4", "fp8", "hadamard-int4"] {
            let (plain, coded) = (at(name, "none"), at(name, "rans"));
            assert_eq!((plain.0.0, plain.1.0), (coded.0.0, coded.1.0), "{name}: coding is lossless");
            assert!(coded.0.1 > plain.0.1 && coded.1.1 > plain.1.1, "{name}: coding is shorter");
        }
    }
    assert!(of("hadamard-int4:group=token,coder=none").1.0 < of("int4:group=token,coder=none").1.0);
    // 2 bytes a value raw; S rows of D bytes, a scale each, 22 bytes in all beside.
    let bytes = tokens * hidden + 2 * tokens + 22;
    assert_eq!(of("int8:group=token,coder=none").0.1, (2 * tokens * hidden) as f64 / bytes as f64);
}
