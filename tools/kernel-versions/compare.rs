//! Two versions of the FC kernel in turn; `compare` makes a crate of it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

const RATIO: f64 = 8.0;
/// The last length of each class.
const CLASSES: [usize; 4] = [64, 128, 256, 512];
/// Time for one length.
const PATIENCE: Duration = Duration::from_millis(40);

/// The transforms of one version at one shape.
macro_rules! version {
    ($name:ident) => {
        mod $name {
            use std::hint::black_box;

            use $name::Shape;
            use $name::kernel::{Band, Block, Workspace, forward, inverse};

            pub struct Transform {
                work: [Workspace; 2],
                kept: Vec<f32>,
                out: Vec<f32>,
                shape: Shape,
                band: Band,
                block: Block,
            }

            impl Transform {
                pub fn new(tokens: usize, hidden: usize, centered: bool) -> Self {
                    let band = if centered { Band::Centered } else { Band::Mirrored };
                    let ks = ((tokens as f64 / super::RATIO.sqrt()).round() as usize).max(1);
                    let kd = ((tokens * hidden) as f64 / super::RATIO / ks as f64) as usize;
                    let block = Block { ks, kd: kd.clamp(1, band.max_kd(hidden)) };
                    let (work, shape) = (Default::default(), Shape { tokens, hidden });
                    Self { work, kept: Vec::new(), out: Vec::new(), shape, band, block }
                }

                pub fn forward(&mut self, values: &[f32]) {
                    let Self { work: [there, _], kept, shape, band, block, .. } = self;
                    black_box(forward(values, *shape, *band, *block, 1.0, kept, there));
                }

                pub fn inverse(&mut self) {
                    let Self { work: [_, back], kept, out, shape, band, block } = self;
                    black_box(inverse(kept, *shape, *band, *block, 1.0, out, back));
                }
            }
        }
    };
}

version!(old);
version!(new);

/// Least seconds there and back, of the old and of the new version.
fn least(values: &[f32], tokens: usize, hidden: usize, centered: bool) -> [f64; 2] {
    let mut one = old::Transform::new(tokens, hidden, centered);
    let mut other = new::Transform::new(tokens, hidden, centered);
    let mut least = [f64::INFINITY; 4];
    let start = Instant::now();
    while start.elapsed() < PATIENCE || least[3].is_infinite() {
        let mut clock = Instant::now();
        let mut lap = |nth: usize| {
            least[nth] = least[nth].min(clock.elapsed().as_secs_f64());
            clock = Instant::now();
        };
        one.forward(black_box(values));
        lap(0);
        one.inverse();
        lap(1);
        other.forward(black_box(values));
        lap(2);
        other.inverse();
        lap(3);
    }
    [least[0] + least[1], least[2] + least[3]]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let trace = arguments.next().expect("a trace");
    let trace: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(trace).unwrap()).unwrap();
    let mut lengths: BTreeMap<usize, f64> = BTreeMap::new();
    for set in trace["datasets"].as_array().unwrap() {
        for (tokens, count) in set["lengths"].as_object().unwrap() {
            *lengths.entry(tokens.parse().unwrap()).or_default() += count.as_f64().unwrap();
        }
    }
    let chosen: Vec<usize> = arguments.map(|hidden| hidden.parse().expect("a hidden size")).collect();
    for hidden in if chosen.is_empty() { vec![1536, 2048, 3072] } else { chosen } {
        for (centered, band) in [(false, "mirrored"), (true, "centered")] {
            let mut sums = [[0.0; 2]; CLASSES.len() + 1];
            for (&tokens, &count) in &lengths {
                let values: Vec<f32> = (0..tokens * hidden).map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 1.0).collect();
                let seconds = least(&values, tokens, hidden, centered);
                let class = CLASSES.iter().position(|last| tokens <= *last).expect("a class for every length");
                for sum in [class, CLASSES.len()] {
                    sums[sum].iter_mut().zip(seconds).for_each(|(sum, seconds)| *sum += count * seconds);
                }
            }
            let print = |[old, new]: [f64; 2]| format!("{old:.2} {new:.2} {:.3}", new / old);
            println!("D {hidden} {band}: to 64, 128, 256, 512, all: {}", sums.map(print).join("; "));
        }
    }
}
