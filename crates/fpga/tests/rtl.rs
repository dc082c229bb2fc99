//! The cores of `rtl/`, simulated by Verilator, against their model: every mantissa, every exponent, every count.
//!
//! Without Verilator, make and a C++ compiler these tests print why they are skipped.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench_codec::kernel::{Band, Block};
use splitbench_codec::{Shape, proportional};
use splitbench_fpga::{BlockFloat, CoreShape, CoreTiming, Simulator, decode, encode, quantise, quantise_at};

fn simulator() -> Option<Simulator> {
    Simulator::find().map_err(|reason| println!("skipped: {reason:#}")).ok()
}

fn shape(tokens: usize, hidden: usize, ks: usize, kd: usize) -> CoreShape {
    CoreShape::new(tokens, hidden, Block { ks, kd }).unwrap()
}

/// An activation of which a few channels are large, and a few values beyond the exponent given.
fn activation(shape: &CoreShape, random: &mut ChaCha8Rng) -> BlockFloat {
    let (tokens, hidden) = (shape.tokens(), shape.hidden());
    let values: Vec<f32> = (0..tokens * hidden)
        .map(|i| random.random_range(-1.0f32..1.0) * if i % hidden % 61 == 7 { 300.0 } else { 1.0 })
        .collect();
    let clipping = random.random_range(0..3) == 0;
    let quantised = if clipping { quantise_at(&values, hidden, -7) } else { quantise(&values, hidden) };
    quantised.unwrap().rows
}

/// Simulates jobs one behind another in both directions and compares; the timings of both.
fn compare(simulator: &Simulator, shapes: &[CoreShape], seed: u64) -> (Vec<CoreTiming>, Vec<CoreTiming>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let rows: Vec<_> = shapes.iter().map(|shape| activation(shape, &mut random)).collect();
    let encoded: Vec<_> = shapes.iter().zip(&rows).map(|(shape, rows)| encode(shape, rows).unwrap()).collect();
    let there = simulator.encode(&shapes.iter().copied().zip(&rows).collect::<Vec<_>>()).unwrap();
    for ((shape, model), run) in shapes.iter().zip(&encoded).zip(&there) {
        assert!(run.encoded == *model, "the simulated encoder is not its model at {shape:?}");
    }
    let mut coefficients: Vec<_> = encoded.into_iter().map(|encoded| encoded.coefficients).collect();
    // What no encoder sends, the decoder counts.
    coefficients[0].mantissas[0] = i16::MIN;
    let back = simulator.decode(&shapes.iter().copied().zip(&coefficients).collect::<Vec<_>>()).unwrap();
    for ((shape, coefficients), run) in shapes.iter().zip(&coefficients).zip(&back) {
        assert!(
            run.decoded == decode(shape, coefficients).unwrap(),
            "the simulated decoder is not its model at {shape:?}"
        );
    }
    (there.iter().map(|run| run.timing).collect(), back.iter().map(|run| run.timing).collect())
}

#[test]
fn every_length_of_the_hidden_axis_is_bit_exact() {
    let Some(simulator) = simulator() else { return };
    let shapes = [
        shape(1, 192, 1, 25),
        shape(7, 192, 3, 70),
        shape(9, 1536, 3, 560),
        shape(5, 2048, 2, 700),
        shape(6, 3072, 2, 1100),
    ];
    compare(&simulator, &shapes, 1);
}

/// Stages that one length passes by and the next does not start anew, whatever went by.
#[test]
fn any_length_may_follow_any_other() {
    let Some(simulator) = simulator() else { return };
    let hidden = [192, 2048, 192, 3072, 192, 1536, 2048, 1536, 3072, 2048, 192];
    compare(&simulator, &hidden.map(|hidden| shape(2 + hidden % 5, hidden, 1, 30)), 9);
}

/// Blocks beyond the middle of either axis; lengths that are prime, powers of two, and more than one pass of the lanes.
#[test]
fn blocks_and_tokens_of_all_kinds_are_bit_exact() {
    let Some(simulator) = simulator() else { return };
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut shapes =
        vec![shape(2, 192, 2, 192), shape(131, 192, 131, 192), shape(128, 192, 65, 97), shape(512, 192, 186, 69)];
    shapes.extend([shape(257, 192, 1, 1), shape(4, 192, 3, 96), shape(3, 192, 2, 98)]);
    for _ in 0..12 {
        let tokens = random.random_range(1..40);
        shapes.push(shape(tokens, 192, random.random_range(1..=tokens), random.random_range(1..=192)));
    }
    compare(&simulator, &shapes, 3);
}

/// Pauses at the ports change when beats come, not what they are.
#[test]
fn stalls_change_nothing() {
    for seed in [1, 2] {
        let Some(simulator) = simulator() else { return };
        let shapes = [
            shape(3, 192, 2, 70),
            shape(3, 192, 2, 70),
            shape(2, 1536, 2, 1000),
            shape(70, 192, 25, 69),
            shape(1, 192, 1, 192),
        ];
        compare(&simulator.with_stalls(seed), &shapes, seed.into());
    }
}

/// Eight samples of the activation a cycle, once the pipeline is full.
#[test]
fn eight_samples_a_cycle() {
    let Some(simulator) = simulator() else { return };
    for (tokens, hidden, ks, kd) in [(32, 2048, 12, 718), (1, 192, 1, 25), (128, 192, 46, 70)] {
        let shapes = [shape(tokens, hidden, ks, kd); 4];
        let (there, back) = compare(&simulator, &shapes, 4);
        for (name, timings) in [("encoder", there), ("decoder", back)] {
            let between = timings[3].last_out - timings[2].last_out;
            assert!(between <= (tokens * hidden / 8) as u64, "{name}, S {tokens}, D {hidden}: {between} cycles a job");
        }
    }
}

/// The last of the longest: both sides of the buffer, one job at a time.
#[test]
fn the_largest_activation_is_bit_exact() {
    let Some(simulator) = simulator() else { return };
    compare(&simulator, &[shape(509, 3072, 40, 400)], 5);
}

/// When beats come follows from shapes alone, not from numbers: one simulation of a shape tells its time.
#[test]
fn cycles_do_not_depend_on_numbers() {
    let Some(simulator) = simulator() else { return };
    let shapes = [shape(9, 192, 4, 70), shape(3, 192, 3, 150)];
    assert_eq!(compare(&simulator, &shapes, 6), compare(&simulator, &shapes, 7));
}

/// `cargo test --release -p splitbench-fpga --test rtl -- --ignored --nocapture`
#[test]
#[ignore = "prints the tables of rtl/README.md, in some minutes"]
fn throughput() {
    let Some(simulator) = simulator() else { return };
    let row = |tokens: usize, hidden: usize, block: Block| {
        let shapes = [CoreShape::new(tokens, hidden, block).unwrap(); 4];
        let (there, back) = compare(&simulator, &shapes, 8);
        let cells = [there, back].map(|timings| {
            let (alone, between) = (timings[0].cycles(), timings[3].last_out - timings[2].last_out);
            format!("{alone} | {between} | {:.2}", (tokens * hidden) as f64 / between as f64)
        });
        println!("| {tokens} | {hidden} | {} x {} | {} |", block.ks, block.kd, cells.join(" | "));
    };
    for tokens in [1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256, 384, 512] {
        row(tokens, 2048, proportional(Band::Mirrored, Shape { tokens, hidden: 2048 }, 7.6));
    }
    for hidden in [192, 1536, 3072] {
        for tokens in [32, 128, 512] {
            row(tokens, hidden, proportional(Band::Mirrored, Shape { tokens, hidden }, 7.6));
        }
    }
    // All that there is, which no codec would send.
    for tokens in [32, 64, 128] {
        row(tokens, 1536, Block { ks: tokens, kd: 1536 });
    }
}
