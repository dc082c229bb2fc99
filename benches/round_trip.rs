//! Codecs over the lengths of all 56,317 requests of the ten real sets (`lengths.csv`), one thread: seconds that one pass
//! would take to encode and decode, from the median of a few calls at every length. `cargo bench --bench round_trip`;
//! `-- --json` for `peers_codecs.py`, which runs Python's peers over the same lengths; names and numbers choose codecs and D.
//!
//! `lengths.csv` holds what `splitbench plan table2 --json` counts with Qwen2.5's tokenizer, summed over the sets.

#[cfg(target_arch = "x86_64")]
#[path = "round_trip/limits.rs"]
mod limits;

use std::hint::black_box;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench::codec::{self, Activation, Budget, CodecSpec};

const LENGTHS: &str = include_str!("lengths.csv");
const RATIO: f64 = 7.6;
const HIDDEN: [usize; 3] = [1536, 2048, 3072];
const CODECS: [&str; 4] = ["fc", "topk", "svd", "qr"];
const CALLS: usize = 5;

/// Processor time of this thread: other processes lengthen it less than they do the clock's.
#[cfg(unix)]
fn seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn seconds() -> f64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn activation(tokens: usize, hidden: usize) -> Activation {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let values = (0..tokens * hidden).map(|_| random.random_range(-1.0f32..1.0)).collect();
    Activation::new(tokens, hidden, values).unwrap()
}

/// Seconds to encode and to decode every request once.
fn pass(name: &str, hidden: usize, lengths: &[(usize, usize)]) -> (f64, f64) {
    let codec = codec::build(&CodecSpec::parse(name).unwrap(), None).unwrap();
    let budget = Budget::elements(RATIO).unwrap();
    let (mut encode, mut decode) = (0.0, 0.0);
    for &(tokens, count) in lengths {
        let a = activation(tokens, hidden);
        let packet = codec.encode(&a, budget).unwrap();
        black_box(codec.decode(&packet).unwrap());
        let time = |call: &mut dyn FnMut()| {
            let timed = |_| {
                let start = seconds();
                call();
                seconds() - start
            };
            count as f64 * median((0..CALLS).map(timed).collect())
        };
        encode += time(&mut || drop(black_box(codec.encode(black_box(&a), budget).unwrap())));
        decode += time(&mut || drop(black_box(codec.decode(black_box(&packet)).unwrap())));
    }
    (encode, decode)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    // All where none was named.
    let chosen = |all: &[String]| -> Vec<String> {
        let some: Vec<String> = all.iter().filter(|name| arguments.contains(name)).cloned().collect();
        if some.is_empty() { all.to_vec() } else { some }
    };
    let lengths: Vec<(usize, usize)> = LENGTHS
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(tokens, count)| (tokens.parse().unwrap(), count.parse().unwrap()))
        .collect();
    let requests: usize = lengths.iter().map(|(_, count)| count).sum();
    if !json {
        println!("{requests} requests, ratio {RATIO} in elements, one thread, seconds of processor time a pass");
        println!("{:<6} {:>6} {:>10} {:>10}", "codec", "D", "encode", "decode");
    }
    for name in chosen(&CODECS.map(String::from)) {
        for hidden in chosen(&HIDDEN.map(|hidden| hidden.to_string())) {
            let (encode, decode) = pass(&name, hidden.parse().unwrap(), &lengths);
            if json {
                println!(r#"{{"codec": "{name}", "hidden": {hidden}, "encode": {encode}, "decode": {decode}}}"#);
            } else {
                println!("{name:<6} {hidden:>6} {encode:>10.2} {decode:>10.2}");
                #[cfg(target_arch = "x86_64")]
                if name == "fc" {
                    limits::print(hidden.parse().unwrap(), &lengths, encode + decode);
                }
            }
        }
    }
}
