//! GGUF headers as an enemy would write them: every one is an error or a model, in bounded memory.

#[path = "../crates/codec/tests/counting/mod.rs"]
mod counting;

use counting::{NOW, PEAK};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench::model::gguf::{GgufModel, Header};

/// Most bytes that a thread may hold at any moment, plans that the codecs keep included.
const MEMORY: usize = 64 << 20;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// GGUF files as `tests/reference/gguf_files.py` makes them: header first, so that damage there is what counts.
fn gguf_files() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/gguf");
    let names = ["tokenizer-qwen2.gguf", "tokenizer-llama-bpe.gguf", "tokenizer-spm.gguf", "types.gguf", "llama.gguf"];
    names.map(|name| std::fs::read(folder.join(name)).unwrap()).to_vec()
}

/// One wound of a header: numbers that claim too much, other bytes, another end.
fn damage_header(bytes: &mut Vec<u8>, header: usize, rng: &mut ChaCha8Rng) {
    let reach = if rng.random_bool(0.3) { 64 } else { header };
    let at = rng.random_range(0..reach.min(bytes.len()));
    let huge: [u64; 9] = [0, 1, 1 << 16, 1 << 20, 1 << 31, 1 << 40, 1 << 62, u64::MAX - 7, u64::MAX];
    match rng.random_range(0..8) {
        0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes[at] = rng.random(),
        3 => bytes.truncate(at),
        4 => put(bytes, at, &huge.choose(rng).unwrap().to_le_bytes()),
        5 => put(bytes, at, &(*huge.choose(rng).unwrap() as u32).to_le_bytes()),
        // The counts of tensors and keys, and the length of the first key.
        6 => put(bytes, *[8, 16, 24].choose(rng).unwrap(), &huge.choose(rng).unwrap().to_le_bytes()),
        _ => {
            let length = rng.random_range(1..64).min(bytes.len() - at);
            let piece = bytes[at..at + length].to_vec();
            let to = rng.random_range(0..reach);
            bytes.splice(to.min(bytes.len())..to.min(bytes.len()), piece);
        }
    }
}

#[test]
fn twenty_thousand_damaged_gguf_headers_are_read_or_refused_in_bounded_memory() {
    const HEADERS: usize = 20_000;
    let files = gguf_files();
    let mut rng = ChaCha8Rng::seed_from_u64(18);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("damaged.gguf");
    let (mut refused, mut read) = (0, 0);
    for i in 0..HEADERS {
        let mut bytes = files[i % files.len()].clone();
        let header = bytes.len().min(6000);
        for _ in 0..rng.random_range(1..=2) {
            if !bytes.is_empty() {
                damage_header(&mut bytes, header, &mut rng);
            }
        }
        PEAK.set(NOW.get());
        let header = Header::read(&bytes[..], bytes.len() as u64);
        match header {
            Err(_) => refused += 1,
            Ok(_) => read += 1,
        }
        // Whatever is wrong with it, the answer is an error that names the file.
        if header.is_ok() || i % 50 == 0 {
            std::fs::write(&path, &bytes).unwrap();
            let model = GgufModel::open(std::slice::from_ref(&path));
            let tokenizer = model.as_ref().ok().and_then(|model| model.tokenizer_json().ok());
            let errors = match model {
                Err(error) => [Some(error), None],
                Ok(model) => [model.config().map(drop).err(), model.tokenizer_json().map(drop).err()],
            };
            for error in errors.into_iter().flatten() {
                assert!(format!("{error:#}").starts_with(path.to_str().unwrap()), "header {i}: {error:#}");
            }
            if let Some(text) = tokenizer.filter(|_| i % 7 == 0) {
                drop(text.parse::<tokenizers::Tokenizer>().map(|t| t.encode("a 1\n<|begin|>", true).map(drop)));
            }
        }
        assert!(PEAK.get() < MEMORY, "header {i}: {} bytes", PEAK.get());
    }
    println!("{refused} refused, {read} read");
    assert!(refused > HEADERS / 4 && read > HEADERS / 20, "{refused} refused, {read} read: the damage is one-sided");
}
