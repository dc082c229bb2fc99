//! Codecs against peers in the same run, one thread: medians, and their ratio. `cargo bench`.

use std::hint::black_box;
use std::time::Instant;

use nalgebra::DMatrix;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustfft::{FftPlanner, num_complex::Complex32};
use splitbench_codec::{self as codec, Activation, Budget, CodecSpec};

/// The ratio of the paper's headline.
const RATIO: f64 = 7.6;
/// Timed calls a side; odd, so that the median is one of them.
const CALLS: usize = 31;

fn median_us(mut call: impl FnMut()) -> f64 {
    call();
    let mut times: Vec<f64> = (0..CALLS)
        .map(|_| {
            let clock = Instant::now();
            call();
            clock.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[CALLS / 2]
}

type Time = fn(&Activation) -> f64;

fn activation(tokens: usize, hidden: usize) -> Activation {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let values = (0..tokens * hidden).map(|_| random.random_range(-1.0f32..1.0)).collect();
    Activation::new(tokens, hidden, values).unwrap()
}

/// Encode and decode by one of our codecs.
fn ours(name: &str, a: &Activation) -> f64 {
    let codec = codec::build(&CodecSpec::parse(name).unwrap(), None).unwrap();
    let budget = Budget::elements(RATIO).unwrap();
    median_us(|| {
        let packet = codec.encode(black_box(a), Some(budget)).unwrap();
        black_box(codec.decode(&packet).unwrap());
    })
}

/// What one writes first: full complex 2-D FFT, zero the rest, full inverse.
fn complex_fft(a: &Activation) -> f64 {
    let (s, d) = (a.tokens(), a.hidden());
    let mut planner = FftPlanner::<f32>::new();
    let (row, column) = (planner.plan_fft_forward(d), planner.plan_fft_forward(s));
    let (row_back, column_back) = (planner.plan_fft_inverse(d), planner.plan_fft_inverse(s));
    let keep = ((s as f64 / RATIO.sqrt()) as usize, (d as f64 / RATIO.sqrt()) as usize);
    let transpose = |from: &[Complex32], rows: usize, columns: usize| -> Vec<Complex32> {
        (0..rows * columns).map(|i| from[i % rows * columns + i / rows]).collect()
    };
    median_us(|| {
        let mut grid: Vec<Complex32> = black_box(a).values().iter().map(|&v| Complex32::new(v, 0.0)).collect();
        row.process(&mut grid);
        let mut turned = transpose(&grid, s, d);
        column.process(&mut turned);
        for (v, column) in turned.chunks_exact_mut(s).enumerate() {
            for (u, value) in column.iter_mut().enumerate() {
                if u >= keep.0 || v >= keep.1 {
                    *value = Complex32::new(0.0, 0.0);
                }
            }
        }
        column_back.process(&mut turned);
        let mut grid = transpose(&turned, d, s);
        row_back.process(&mut grid);
        black_box(grid.iter().map(|c| c.re / (s * d) as f32).collect::<Vec<f32>>());
    })
}

/// A full sort of magnitudes.
fn sorted_topk(a: &Activation) -> f64 {
    let k = (a.values().len() as f64 / RATIO) as usize;
    median_us(|| {
        let mut order: Vec<u32> = (0..a.values().len() as u32).collect();
        order.sort_by(|&i, &j| a.values()[j as usize].abs().total_cmp(&a.values()[i as usize].abs()));
        let mut out = vec![0f32; a.values().len()];
        order[..k].iter().for_each(|&i| out[i as usize] = a.values()[i as usize]);
        black_box(out);
    })
}

/// nalgebra's SVD, truncated and multiplied out.
fn nalgebra_svd(a: &Activation) -> f64 {
    let matrix = DMatrix::from_row_slice(a.tokens(), a.hidden(), a.values());
    let rank = ((a.values().len() as f64 / (RATIO * (a.tokens() + a.hidden()) as f64)) as usize).max(1);
    median_us(|| {
        let svd = black_box(&matrix).clone().svd(true, true);
        let (u, v) = (svd.u.unwrap(), svd.v_t.unwrap());
        let left = u.columns(0, rank) * DMatrix::from_diagonal(&svd.singular_values.rows(0, rank).into_owned());
        black_box(left * v.rows(0, rank));
    })
}

/// nalgebra's column-pivoted QR, all of it.
fn nalgebra_qr(a: &Activation) -> f64 {
    let matrix = DMatrix::from_row_slice(a.tokens(), a.hidden(), a.values());
    median_us(|| {
        black_box(black_box(&matrix).clone().col_piv_qr());
    })
}

/// Formats of other programs, and a quantiser beside them; transforms and low rank of the paper's Table I beside `fc`, `svd` and
/// `topk`; and codecs that search for what fits.
const FORMATS: [&str; 27] = [
    "noop:values=f16",
    "noop:values=bf16",
    "noop:values=bf16,coder=rans",
    "int8",
    "fp8",
    "fp8:group=tensor",
    "fp8:group=128",
    "fp8:format=e5m2",
    "q80",
    "q4_0",
    "sparse_v1",
    "qsparse8_v1",
    "topk",
    "fc",
    "fc:transform=dct",
    "fc-mask",
    "fc-mask:transform=dct",
    "fcanet",
    "dynamic-pruning",
    "dynamic-pruning:values=int8,coder=rans",
    "svd",
    "cobla",
    "split-fine-tuning",
    "split-fine-tuning:bits=8",
    "threshold-split",
    "slicer",
    "sparse-rans",
];

/// Least time of encoding and of decoding, per token: other programs on the machine only add to it.
fn per_token(tokens: usize, hidden: usize) {
    let a = activation(tokens, hidden);
    println!(
        "\nleast of {CALLS} calls, one thread, {tokens} x {hidden}, µs per token, ratio {RATIO} in elements, and on the wire"
    );
    println!("{:<40} {:>8} {:>8} {:>6} {:>12} {:>6}", "codec", "encode", "decode", "wire", "encode, wire", "wire");
    for name in FORMATS {
        let codec = codec::build(&CodecSpec::parse(name).unwrap(), None).unwrap();
        let least = |call: &dyn Fn()| {
            let time = |_| {
                let clock = Instant::now();
                call();
                clock.elapsed().as_secs_f64() * 1e6 / tokens as f64
            };
            (0..CALLS).map(time).fold(f64::INFINITY, f64::min)
        };
        let [elements, wire] = [Budget::elements(RATIO).unwrap(), Budget::wire(RATIO).unwrap()].map(|budget| {
            let packet = codec.encode(&a, Some(budget)).unwrap();
            (least(&|| drop(black_box(codec.encode(black_box(&a), Some(budget)).unwrap()))), packet)
        });
        let decode = least(&|| drop(black_box(codec.decode(black_box(&elements.1)).unwrap())));
        let ratios = [elements.1.ratio_wire(), wire.1.ratio_wire()];
        println!("{name:<40} {:>8.2} {decode:>8.2} {:>6.2} {:>12.2} {:>6.2}", elements.0, ratios[0], wire.0, ratios[1]);
    }
}

fn main() {
    // A prompt, a generated token, and a prompt of the embedded model.
    [(64, 2048), (1, 2048), (67, 192)].into_iter().for_each(|(tokens, hidden)| per_token(tokens, hidden));
    println!("\nencode + decode, median of {CALLS} calls, one thread, ratio {RATIO} in elements");
    println!("{:<12} {:<6} {:>12}   {:<28} {:>12} {:>8}", "S x D", "codec", "ours, µs", "peer", "peer, µs", "times");
    for (tokens, hidden) in [(32, 2048), (54, 1536), (54, 2048), (128, 3072)] {
        let a = activation(tokens, hidden);
        let peers: [(&str, &str, Time); 4] = [
            ("fc", "rustfft, full complex 2-D", complex_fft),
            ("topk", "full sort", sorted_topk),
            ("svd", "nalgebra SVD", nalgebra_svd),
            ("qr", "nalgebra pivoted QR", nalgebra_qr),
        ];
        for (name, peer, time) in peers {
            let (ours, theirs) = (ours(name, &a), time(&a));
            let shape = format!("{tokens} x {hidden}");
            println!("{shape:<12} {name:<6} {ours:>12.0}   {peer:<28} {theirs:>12.0} {:>8.1}", theirs / ours);
        }
    }
}
