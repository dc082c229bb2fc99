//! Codecs over the lengths of all 56,317 requests of the ten real sets (the trace `ten-sets`), one thread: seconds that one
//! pass would take to encode and decode, from the median of a few calls at every length. `cargo bench --bench round_trip`;
//! `-- --json` for `peers_codecs.py`, which runs Python's peers over the same lengths; names and numbers choose codecs and D.

use std::collections::BTreeMap;
use std::hint::black_box;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench::clock::{median, thread_seconds, timed};
use splitbench::replay::{limits, trace};
use splitbench_codec::{self as codec, Activation, Budget, CodecSpec};

const RATIO: f64 = 7.6;
const HIDDEN: [usize; 3] = [1536, 2048, 3072];
const CODECS: [&str; 4] = ["fc", "topk", "svd", "qr"];
const CALLS: usize = 5;

fn activation(tokens: usize, hidden: usize) -> Activation {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let values = (0..tokens * hidden).map(|_| random.random_range(-1.0f32..1.0)).collect();
    Activation::new(tokens, hidden, values).unwrap()
}

/// Seconds to encode and to decode every request once.
fn pass(name: &str, hidden: usize, lengths: &BTreeMap<usize, usize>) -> (f64, f64) {
    let codec = codec::build(&CodecSpec::parse(name).unwrap(), None).unwrap();
    let budget = Budget::elements(RATIO).unwrap();
    let (mut encode, mut decode) = (0.0, 0.0);
    for (&tokens, &count) in lengths {
        let a = activation(tokens, hidden);
        let packet = codec.encode(&a, Some(budget)).unwrap();
        black_box(codec.decode(&packet).unwrap());
        let time = |call: &mut dyn FnMut()| {
            count as f64 * median(&(0..CALLS).map(|_| timed(thread_seconds, &mut *call).1).collect::<Vec<_>>())
        };
        encode += time(&mut || drop(black_box(codec.encode(black_box(&a), Some(budget)).unwrap())));
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
    let lengths = trace::load("ten-sets").unwrap().trace.lengths();
    let requests: usize = lengths.values().sum();
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
                if name == "fc" {
                    print_limits(hidden.parse().unwrap(), &lengths, encode + decode);
                }
            }
        }
    }
}

/// How far FC is from what the core could do: the arithmetic of fast transforms at the measured peak, its matrices at the
/// measured bandwidth, as shares of the seconds that a pass took.
fn print_limits(hidden: usize, lengths: &BTreeMap<usize, usize>, taken: f64) {
    let Some(peak) = limits::peak() else { return println!("       limits: no AVX2") };
    let (mut operations, mut bytes) = (0.0, 0.0);
    for (&tokens, &count) in lengths {
        let ks = (tokens as f64 / RATIO.sqrt()).round().max(1.0);
        // Fast transforms of real columns and of the kept rows, as FFTW counts: 5 n log2 n for n complex numbers. What is
        // executed is another number: sums make kept frequencies only, and take more for each.
        let (s, d) = (tokens as f64, hidden as f64);
        let one_way = 2.5 * s * s.log2() * d + 5.0 * ks * d * d.log2();
        operations += count as f64 * 2.0 * one_way;
        bytes += count as f64 * 2.0 * 4.0 * (tokens * hidden) as f64;
    }
    let bandwidth = limits::bandwidth();
    let (arithmetic, memory) = (operations / peak, bytes / bandwidth);
    println!(
        "       limits: {:.0} GFLOP at {:.0} GFLOP/s {arithmetic:.2} s, A read and A' written at {:.1} GB/s {memory:.2} s; \
         together {:.0} % of the time taken",
        operations * 1e-9,
        peak * 1e-9,
        bandwidth * 1e-9,
        100.0 * (arithmetic + memory) / taken
    );
}
