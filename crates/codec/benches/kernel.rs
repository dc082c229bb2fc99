//! The FC kernel alone over the lengths of the ten real sets' requests, one thread, ratio 8: seconds that a pass would take,
//! by class of length, and the least time per token, for both bands, beside what memory allows. `cargo bench -p
//! splitbench-codec --bench kernel`; `-- 1536 3072` chooses hidden sizes. Peers: `benches/peers_codecs.py`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use splitbench_codec::Shape;
use splitbench_codec::kernel::{Band, Block, Workspace, forward, inverse};

const RATIO: f64 = 8.0;
/// The last length of each class.
const CLASSES: [usize; 4] = [64, 128, 256, 512];
/// Time for one length.
const PATIENCE: Duration = Duration::from_millis(20);

/// Requests by number of tokens.
fn lengths() -> BTreeMap<usize, usize> {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/traces/ten-sets.json");
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let mut lengths = BTreeMap::new();
    for set in trace["datasets"].as_array().unwrap() {
        for (tokens, count) in set["lengths"].as_object().unwrap() {
            *lengths.entry(tokens.parse().unwrap()).or_default() += count.as_u64().unwrap() as usize;
        }
    }
    lengths
}

/// Least seconds of each call.
fn least<const N: usize>(mut calls: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    let start = Instant::now();
    while start.elapsed() < PATIENCE || least[0].is_infinite() {
        for (call, least) in calls.iter_mut().zip(&mut least) {
            let clock = Instant::now();
            call();
            *least = least.min(clock.elapsed().as_secs_f64());
        }
    }
    least
}

/// Least seconds of the transform and of its inverse.
fn both_ways(values: &[f32], shape: Shape, band: Band) -> [f64; 2] {
    let ks = ((shape.tokens as f64 / RATIO.sqrt()).round() as usize).max(1);
    let kd = ((shape.elements() as f64 / RATIO / ks as f64) as usize).clamp(1, band.max_kd(shape.hidden));
    let block = Block { ks, kd };
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    let (mut there, mut back) = (Workspace::default(), Workspace::default());
    forward(values, shape, band, block, 1.0, &mut kept, &mut there);
    let given = kept.clone();
    least([
        &mut || _ = black_box(forward(black_box(values), shape, band, block, 1.0, &mut kept, &mut there)),
        &mut || _ = black_box(inverse(black_box(&given), shape, band, block, 1.0, &mut out, &mut back)),
    ])
}

fn main() {
    let chosen: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let lengths = lengths();
    for hidden in if chosen.is_empty() { vec![1536, 2048, 3072] } else { chosen } {
        println!(
            "D = {hidden}, ratio {RATIO}, one thread: seconds a pass, forward + inverse; µs per token and direction"
        );
        println!("{:<10} {:>20} {:>20} {:>20}", "tokens", "mirrored", "centered", "copy of A, twice");
        let mut whole = [[0.0; 3]; CLASSES.len()];
        let mut tokens_of = [0; CLASSES.len()];
        for (&tokens, &count) in &lengths {
            let shape = Shape { tokens, hidden };
            let values: Vec<f32> = (0..shape.elements()).map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 1.0).collect();
            let mut copy = vec![0.0; values.len()];
            // Either direction reads or writes A once, and nothing can be done in less.
            let [copied] = least([&mut || copy.copy_from_slice(black_box(&values))]);
            let bands = [Band::Mirrored, Band::Centered].map(|band| both_ways(&values, shape, band).iter().sum());
            let class = CLASSES.iter().position(|last| tokens <= *last).expect("a class for every length");
            tokens_of[class] += count * tokens;
            for (sum, seconds) in whole[class].iter_mut().zip([bands[0], bands[1], 2.0 * copied]) {
                *sum += count as f64 * seconds;
            }
        }
        let print = |name: &str, seconds: [f64; 3], tokens: usize| {
            let each = seconds.map(|seconds| format!("{seconds:.2} s {:>6.2} µs", seconds / 2.0 / tokens as f64 * 1e6));
            println!("{name:<10} {:>20} {:>20} {:>20}", each[0], each[1], each[2]);
        };
        let mut first = 1;
        for ((last, seconds), tokens) in CLASSES.iter().zip(whole).zip(tokens_of) {
            print(&format!("{first}..{last}"), seconds, tokens);
            first = last + 1;
        }
        let all = std::array::from_fn(|side| whole.iter().map(|seconds| seconds[side]).sum());
        print("all", all, tokens_of.iter().sum());
    }
}
