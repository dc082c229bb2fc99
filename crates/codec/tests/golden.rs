//! Packets made once and kept (`tests/golden/`): today's decoders read them as then, and today's encoders still make them.
//! Another implementation can be checked against the same files, as `decode.py` there is: `matrix.npy` went in at ratio 2
//! in elements (12 where the case ends in `-sparse`), `<case>.bin` crossed the cut, `<case>.npy` came out.
//!
//! A new codec, or a new version of the format, makes its own by `GOLDEN=write cargo test --release --test golden`; what is
//! there already never changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use splitbench_codec::npy;
use splitbench_codec::{
    Activation, Budget, Calibration, CalibrationBuilder, Codec, CodecSpec, Delivery, Packet, TokenIds, ValueType,
    build, decode, registered,
};

/// Codecs that only choose, scale by powers of two and round: the same bytes on every CPU. The others transform or
/// factorise with libraries that choose their instructions, and with them the order of sums, by the CPU at hand: a number
/// at the edge between two of its type may fall to either side.
const EXACT: [&str; 16] = [
    "noop",
    "topk",
    "int8",
    "int4",
    "fp8",
    "threshold-split",
    "slicer",
    "sparse-rans",
    "zfp",
    "q80",
    "q4_0",
    "sparse_v1",
    "qsparse8_v1",
    "atom",
    "agile-quant",
    "split-fine-tuning",
];

/// Cases beside the default form of every codec: other value types, bands and codings of positions.
const MORE: [(&str, &str); 34] = [
    ("noop-f16", "noop:values=f16"),
    ("noop-bf16", "noop:values=bf16"),
    ("fp8-e5m2-tensor", "fp8:format=e5m2,group=tensor"),
    ("fc-int8", "fc:values=int8"),
    ("fc-hadamard", "fc:rotate=hadamard"),
    ("fc-whiten", "fc:rotate=whiten"),
    ("fc-mask-sparse", "fc-mask"),
    ("fc-mask-separable", "fc-mask:mask=separable"),
    ("fc-mask-staircase", "fc-mask:mask=staircase,values=f32"),
    ("fc-reading-dct", "fc-reading:transform=dct,pad=256,mean=tokens,values=f32"),
    ("fc-reading-mean", "fc-reading:mean=calibrated"),
    ("klt-int8", "klt:values=int8"),
    ("topk-int8", "topk:values=int8"),
    ("fc-corner", "fc:band=corner"),
    ("fc-centered-f32", "fc:band=centered,values=f32"),
    ("svd-bf16", "svd:values=bf16"),
    ("topk-sparse", "topk"),
    ("threshold-split-sparse", "threshold-split:values=f32"),
    ("slicer-sparse", "slicer"),
    ("sparse-rans-sparse", "sparse-rans"),
    ("sparse-rans-group", "sparse-rans:group=32,scales=f32"),
    ("awq-token", "awq:error=activation,group=token,scales=f32"),
    ("agile-quant-int8", "agile-quant:bits=8,scales=f32"),
    ("agile-quant-sparse", "agile-quant"),
    ("fc-dct", "fc:transform=dct"),
    ("fc-mask-dct", "fc-mask:transform=dct"),
    ("fc-mask-dct-separable", "fc-mask:mask=separable,transform=dct,values=f32"),
    ("fc-mask-dct-staircase", "fc-mask:mask=staircase,transform=dct"),
    ("fcanet-int8", "fcanet:groups=4,values=int8"),
    ("dynamic-pruning-sparse", "dynamic-pruning:block=16,slope=0"),
    ("cobla-bf16", "cobla:groups=2,values=bf16"),
    ("split-fine-tuning-sparse", "split-fine-tuning:bits=8"),
    ("best-klt", "best:basis=klt"),
    ("best-local-sparse", "best:rows=local"),
];

fn cases() -> Vec<(&'static str, CodecSpec)> {
    // A packet of `external` is whatever the user's program writes; `tests/external` has our part of it, byte by byte.
    // `token-ids` takes no matrix: its packet has a test of its own.
    let own = registered().iter().filter(|info| !["external", "token-ids"].contains(&info.name));
    let defaults = own.map(|info| (info.name, info.name));
    defaults.chain(MORE).map(|(name, spec)| (name, CodecSpec::parse(spec).unwrap())).collect()
}

fn budget(case: &str) -> Budget {
    Budget::elements(if case.ends_with("-sparse") { 12.0 } else { 2.0 }).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// With `GOLDEN=write` in the environment, makes what is not there yet.
fn write_missing() {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if std::env::var_os("GOLDEN").is_none_or(|word| word != "write") {
            return;
        }
        for (case, spec) in cases().into_iter().filter(|(case, _)| !path(&format!("{case}.bin")).exists()) {
            let codec = codec(&spec);
            let packet = codec.encode(&matrix(), Some(budget(case))).unwrap();
            fs::write(path(&format!("{case}.npy")), npy::to_bytes(&codec.decode(&packet).unwrap())).unwrap();
            fs::write(path(&format!("{case}.bin")), packet.into_bytes()).unwrap();
        }
    });
}

fn golden(case: &str) -> Vec<u8> {
    write_missing();
    let path = path(&format!("{case}.bin"));
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}: make it as the top of this file says", path.display()))
}

fn matrix() -> Activation {
    npy::read(&path("matrix.npy")).unwrap()
}

/// Numbers that f16 holds exactly, one channel much larger than the others.
fn made(rows: usize, step: usize) -> Activation {
    let value = |i: usize| {
        let (s, d) = (i / 16, i % 16);
        let large = if d == 5 { 20.0 } else { 0.0 };
        ((step * s + 3 * d + s * s * d) % 23) as f32 / 8.0 - 1.375 + large
    };
    Activation::new(rows, 16, (0..16 * rows).map(value).collect()).unwrap()
}

fn calibration() -> Calibration {
    let mut builder = CalibrationBuilder::new(16);
    builder.push_activation(&npy::read(&path("calibration.npy")).unwrap()).unwrap();
    builder.push_gradient(made(40, 11).values()).unwrap();
    let weights = made(24, 3);
    let product = |i: usize| (0..24).map(|o| f64::from(weights.row(o)[i / 16] * weights.row(o)[i % 16])).sum();
    builder.set_next_weights((0..256).map(product).collect()).unwrap();
    builder.finish().unwrap()
}

fn codec(spec: &CodecSpec) -> Box<dyn Codec> {
    build(spec, Some(&calibration())).unwrap()
}

#[test]
fn the_matrix_is_what_it_was_made_of() {
    assert_eq!(matrix(), made(6, 7));
    assert_eq!(npy::read(&path("calibration.npy")).unwrap(), made(40, 5));
}

#[test]
fn decoders_read_them_as_they_did() {
    for (case, spec) in cases() {
        let (mut bytes, codec) = (golden(case), codec(&spec));
        // The digest is of eigenvectors, powers or a learned rotation to the last bit, which another CPU may round otherwise.
        let digest = match spec.name() {
            "klt" => 19..27,
            "awq" | "spinquant" => 20..28,
            "best" => 23..31,
            _ => 0..0,
        };
        let packet = codec.encode(&matrix(), Some(budget(case))).unwrap();
        bytes[digest.clone()].copy_from_slice(&packet.as_bytes()[digest]);
        let back = codec.decode(&Packet::from_bytes(bytes).unwrap()).unwrap();
        let expected = npy::read(&path(&format!("{case}.npy"))).unwrap();
        if EXACT.contains(&spec.name()) {
            assert_eq!(back, expected, "{case}");
        } else {
            // f32 sums of a few dozen terms in another order.
            let error = expected.rel_error(&back);
            assert!(error < 1e-6, "{case}: {error}");
        }
    }
}

#[test]
fn encoders_still_make_them() {
    for (case, spec) in cases() {
        let (golden, codec) = (golden(case), codec(&spec));
        let packet = codec.encode(&matrix(), Some(budget(case))).unwrap();
        if EXACT.contains(&spec.name()) {
            assert_eq!(packet.as_bytes(), golden, "{case}");
            continue;
        }
        assert_eq!(packet.len(), golden.len(), "{case}");
        // The common header and the first field of the codec's own: counts are decided by whole numbers.
        assert_eq!(packet.as_bytes()[..19], golden[..19], "{case}");
        // Every number of both factors one step of its type away at most.
        let bound = match spec.values() {
            ValueType::F32 => 1e-5,
            ValueType::F16 => 2e-3,
            ValueType::Bf16 | ValueType::Int8 => 1.6e-2,
        };
        let error = npy::read(&path(&format!("{case}.npy"))).unwrap().rel_error(&codec.decode(&packet).unwrap());
        assert!(error < bound, "{case}: {error}");
    }
}

/// The error of a golden packet with some bytes replaced.
fn refusal(case: &str, at: usize, field: &[u8]) -> String {
    let mut bytes = golden(case);
    assert_ne!(&bytes[at..at + field.len()], field, "{case}: nothing was changed at {at}");
    bytes[at..at + field.len()].copy_from_slice(field);
    let result = Packet::from_bytes(bytes).and_then(|packet| decode(&packet));
    format!("{:#}", result.err().unwrap_or_else(|| panic!("{case}: {field:?} at {at} was accepted")))
}

#[test]
fn common_fields_out_of_range_are_refused_by_name() {
    let side = |n: u32| n.to_le_bytes().to_vec();
    for (case, _) in cases() {
        for (at, field, name) in [
            (0, b"SPLC".to_vec(), "magic"),
            (4, vec![0], "version"),
            (4, vec![2], "version"),
            (4, vec![255], "version"),
            (5, vec![255], "codec"),
            (6, vec![4], "value type"),
            (6, vec![255], "value type"),
            (7, side(0), "tokens"),
            (7, side((1 << 20) + 1), "tokens"),
            (7, side(u32::MAX), "tokens"),
            (11, side(0), "hidden"),
            (11, side((1 << 20) + 1), "hidden"),
            (11, side(u32::MAX), "hidden"),
            (7, [side(1 << 20), side(1 << 8)].concat(), "tokens, hidden"),
        ] {
            let error = refusal(case, at, &field);
            assert!(error.starts_with("packet field") && error.contains(name), "{case}, {name}: {error}");
        }
    }
}

#[test]
fn own_fields_out_of_range_are_refused_by_name() {
    let count = |n: u32| n.to_le_bytes().to_vec();
    let short = |n: i16| n.to_le_bytes().to_vec();
    let infinite = || 0x7c00u16.to_le_bytes().to_vec();
    let mut table = vec![
        ("noop", 6, vec![0], "length"),
        ("noop-bf16", 15, vec![2], "coder: 2"),
        ("noop-bf16", 15, vec![1], "coded bytes"),
        ("noop-f16", 16, infinite(), "token 0, channel 0"),
        ("int8", 19, vec![16], "coder"),
        ("fp8", 19, vec![2], "coder: 2"),
        ("fp8-e5m2-tensor", 19, vec![18], "coder: 2"),
        ("q80", 6, vec![1], "value type"),
        ("q80", 15, infinite(), "scales: inf of token 0, channel 0"),
        ("q80", 34, vec![1], "codes: those behind the last channel of token 0"),
        ("q4_0", 6, vec![2], "value type"),
        ("q4_0", 33, infinite(), "scales: inf of token 1, channel 0"),
        ("q4_0", 17, vec![0], "codes: those behind the last channel of token 0"),
        ("sparse_v1", 6, vec![1], "value type"),
        ("sparse_v1", 15, vec![0, 0], "mask"),
        ("sparse_v1", 17, infinite(), "token 0"),
        ("qsparse8_v1", 6, vec![1], "value type"),
        ("qsparse8_v1", 15, count(0), "group"),
        ("qsparse8_v1", 15, count(17), "group"),
        ("qsparse8_v1", 15, count(8), "its group is not"),
        ("qsparse8_v1", 19, vec![0, 0], "mask"),
        ("qsparse8_v1", 21, vec![0], "mask"),
        ("qsparse8_v1", 21, vec![2], "mask"),
        // Behind 6 x 8 codes.
        ("qsparse8_v1", 70, infinite(), "token 0"),
        ("noop", 15, f32::NAN.to_le_bytes().to_vec(), "token 0, channel 0"),
        ("fc", 15, vec![3], "band"),
        ("fc", 16, count(0), "K_S"),
        ("fc", 16, count(7), "K_S"),
        ("fc", 16, count(u32::MAX), "K_S"),
        ("fc", 20, count(0), "K_D"),
        ("fc", 20, count(17), "K_D"),
        ("fc-centered-f32", 20, count(10), "K_D"),
        ("fc", 24, short(301), "coefficients"),
        ("fc", 24, short(-301), "coefficients"),
        ("fc", 26, infinite(), "coefficients"),
        ("topk", 15, count(0), "k: 0"),
        ("topk", 15, count(97), "k: 97"),
        ("topk", 15, count(47), "length"),
        ("topk-sparse", 19, vec![28], "coding"),
        ("topk-sparse", 19, vec![254], "coding"),
        ("topk", 19, vec![0], "positions"),
        ("topk-sparse", 19, vec![255], "positions"),
        ("topk", 20, count(u32::MAX), "length"),
        ("topk", 24, vec![0, 0], "positions"),
        ("topk", 36, short(i16::MIN), "values"),
        ("topk", 38, infinite(), "values"),
        ("svd", 6, vec![3], "value type: svd"),
        ("fc-int8", 24, vec![2], "coder"),
        ("fc-int8", 25, short(301), "steps"),
        ("fc-int8", 27, infinite(), "steps"),
        ("fc-int8", 33, vec![0x80], "-128"),
        ("fc-int8", 6, vec![0], "length"),
        ("topk-int8", 36, vec![2], "coder"),
        ("fc", 15, vec![0x31], "rotate"),
        ("fc", 15, vec![0x21], "length"),
        ("fc-whiten", 15, vec![0x11], "length"),
        ("fc-mask", 15, vec![3], "mask"),
        ("fc-mask", 16, count(0), "K: 0"),
        ("fc-mask", 16, count(51), "K: 51"),
        ("fc-mask", 16, count(47), "length"),
        ("fc-mask", 21, count(u32::MAX), "length"),
        ("fc-mask-separable", 20, count(16), "rows and columns"),
        ("fc-mask-separable", 20, count(1), "positions"),
        ("fc-mask-sparse", 20, vec![28], "coding"),
        ("klt", 15, count(0), "rank"),
        ("klt", 15, count(17), "rank"),
        ("klt", 15, count(7), "length"),
        ("threshold-split", 15, count(97), "k: 97"),
        ("threshold-split", 20, count(u32::MAX), "length"),
        ("threshold-split", 24, count(u32::MAX), "length"),
        ("slicer", 15, count(0), "k: 0"),
        ("slicer", 15, count(97), "k: 97"),
        ("slicer", 19, vec![0, 0], "blocks"),
        ("slicer", 19, vec![255, 255], "blocks"),
        ("slicer-sparse", 22, count(0), "positions"),
        ("slicer", 26, count(u32::MAX), "length"),
        ("zfp", 15, short(1081), "tolerance: 1081"),
        ("zfp", 15, short(-1281), "tolerance: -1281"),
        ("zfp", 17, count(u32::MAX), "length"),
        ("sparse-rans", 15, count(0), "group"),
        ("sparse-rans", 15, count(17), "group"),
        ("sparse-rans", 19, vec![0], "levels"),
        ("sparse-rans", 20, vec![0], "places"),
        ("sparse-rans", 21, count(97), "nonzero"),
        ("sparse-rans", 21, count(1), "counts"),
        ("sparse-rans", 26, short(301), "scales"),
        ("sparse-rans-sparse", 40, vec![255], "zero points"),
        ("awq", 15, count(0), "group"),
        ("awq", 15, count(17), "group"),
        ("awq", 19, vec![2], "coder"),
        ("spinquant", 15, count(1), "scales"),
        ("atom", 15, count(0), "group"),
        ("atom", 19, count(9), "outliers"),
        ("atom", 19, count(7), "length"),
        ("agile-quant", 15, count(0), "rows"),
        ("agile-quant", 15, count(7), "rows"),
        ("agile-quant", 15, count(6), "kept tokens"),
        ("agile-quant", 19, count(17), "group"),
        ("agile-quant", 23, vec![5], "bits"),
        ("agile-quant", 23, vec![8], "length"),
        ("agile-quant", 24, vec![0x60], "spare"),
        ("fc-dct", 15, vec![3], "band"),
        ("fc-dct", 15, vec![1], "length"),
        ("fc-dct", 20, count(17), "K_D"),
        ("fc-mask-dct", 15, vec![19], "mask"),
        ("fc-mask-dct", 16, count(97), "K: 97"),
        ("fcanet", 15, count(0), "group"),
        ("fcanet", 15, count(17), "group"),
        ("fcanet", 15, count(2), "length"),
        ("fcanet", 19, vec![0; 12], "mask"),
        ("fcanet", 31, short(301), "coefficients"),
        ("dynamic-pruning", 15, count(0), "block"),
        ("dynamic-pruning", 15, count(17), "block"),
        ("dynamic-pruning", 19, count(0), "k: 0"),
        ("dynamic-pruning-sparse", 23, vec![28], "coding"),
        ("dynamic-pruning", 24, count(u32::MAX), "length"),
        ("cobla", 15, count(0), "group"),
        ("cobla", 15, count(17), "group"),
        ("cobla", 19, count(5), "ranks"),
        ("cobla", 19, [count(0), count(0), count(0), count(0)].concat(), "nothing is kept"),
        ("cobla", 35, short(301), "left factors"),
        ("split-fine-tuning", 6, vec![0], "value type"),
        ("split-fine-tuning", 15, vec![3], "bits"),
        ("split-fine-tuning", 16, count(0), "k: 0"),
        ("split-fine-tuning", 16, count(97), "k: 97"),
        ("split-fine-tuning-sparse", 20, vec![28], "coding"),
        ("split-fine-tuning", 21, count(u32::MAX), "length"),
        // Behind 12 bytes of positions.
        ("split-fine-tuning", 37, f32::NAN.to_le_bytes().to_vec(), "magnitudes"),
        ("split-fine-tuning", 37, (-1f32).to_le_bytes().to_vec(), "magnitudes"),
        ("split-fine-tuning", 41, f32::INFINITY.to_le_bytes().to_vec(), "magnitudes"),
        ("best", 15, count(3), "coded bytes"),
        ("best", 15, count(7), "coded bytes"),
        ("best", 15, count(u32::MAX), "coded bytes"),
        ("best", 19, count(u32::MAX), "length"),
        ("best", 31, vec![2], "rows: 2"),
        ("best", 31, vec![1], "length"),
    ];
    for case in ["qr", "svd", "fwsvd", "asvd", "svd-llm"] {
        table.extend([
            (case, 15, count(0), "rank"),
            (case, 15, count(7), "rank"),
            (case, 15, count(u32::MAX), "rank"),
            (case, 19, short(301), "left factor"),
            (case, 21, infinite(), "left factor"),
            // Behind the 6 x 2 numbers of the left factor.
            (case, 45, short(-301), "right factor"),
            (case, 47, infinite(), "right factor"),
        ]);
    }
    for (case, at, field, name) in table {
        let error = refusal(case, at, &field);
        assert!(error.starts_with("packet") && error.contains(name), "{case}, {name}: {error}");
    }
}

/// The table of a coder is longer than the exponents of so small a matrix: this one has 72 rows.
#[test]
fn exponents_are_coded_as_they_were() {
    let (case, spec) = ("noop-bf16-rans", CodecSpec::parse("noop:values=bf16,coder=rans").unwrap());
    let codec = codec(&spec);
    let packet = codec.encode(&made(72, 7), None).unwrap();
    assert_eq!(packet.as_bytes()[15], 1, "exponents were not coded");
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") && !path(&format!("{case}.bin")).exists() {
        fs::write(path(&format!("{case}.npy")), npy::to_bytes(&codec.decode(&packet).unwrap())).unwrap();
        fs::write(path(&format!("{case}.bin")), packet.as_bytes()).unwrap();
    }
    let golden = golden(case);
    assert_eq!(packet.as_bytes(), golden);
    let back = decode(&Packet::from_bytes(golden).unwrap()).unwrap();
    assert_eq!(back, npy::read(&path(&format!("{case}.npy"))).unwrap());
}

/// `token-ids.npy` has the ids as a column.
#[test]
fn token_ids_are_packed_as_they_were() {
    let codec = build(&CodecSpec::parse("token-ids").unwrap(), None).unwrap();
    let ids = TokenIds { ids: vec![0, 1, 1999, 1024, 7, 333], vocabulary: 2000 };
    let sent = matrix().with_token_ids(ids.ids.clone(), 2000).unwrap();
    let packet = codec.encode(&sent, Some(Budget::elements(1.0).unwrap())).unwrap();
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") && !path("token-ids.bin").exists() {
        let column = Activation::new(6, 1, ids.ids.iter().map(|&id| id as f32).collect()).unwrap();
        fs::write(path("token-ids.npy"), npy::to_bytes(&column)).unwrap();
        fs::write(path("token-ids.bin"), packet.as_bytes()).unwrap();
    }
    let golden = golden("token-ids");
    assert_eq!(packet.as_bytes(), golden);
    assert_eq!(codec.receive(&Packet::from_bytes(golden).unwrap()).unwrap(), Delivery::TokenIds(ids));
}
