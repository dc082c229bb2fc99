//! A roofline (Williams, Waterman and Patterson 2009) of the FC kernel on the processor at hand, one thread, ratio 8, D = 2048: speed
//! against operations per byte, below what its fused products and its copies reach. `cargo bench -p splitbench-codec --bench
//! roofline -- $PWD/FILE.svg` prints the numbers and draws them. Operations are those of fast transforms, 5 n log2 n each: sums over
//! lengths with large prime factors do more than is counted, so their points lie lower.

use std::hint::black_box;
use std::time::{Duration, Instant};

use plotters::prelude::*;
use splitbench_codec::Shape;
use splitbench_codec::kernel::{Band, Block, Workspace, forward, inverse};
use splitbench_codec::vector::{Vector, dispatch};

const RATIO: f64 = 8.0;
const HIDDEN: usize = 2048;
/// Lengths with small factors alone, and primes.
const SMOOTH: [usize; 8] = [8, 16, 32, 64, 96, 128, 256, 384];
const PRIME: [usize; 7] = [11, 17, 31, 61, 97, 127, 257];
/// Numbers of a copy that no cache holds.
const COPY: usize = 1 << 26;
const PATIENCE: Duration = Duration::from_millis(300);
/// The axes' ends and ticks: operations per byte, GFLOP/s.
const X: std::ops::Range<f64> = 3.0..12.0;
const X_TICKS: [f64; 6] = [3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
const Y: std::ops::Range<f64> = 15.0..160.0;
const Y_TICKS: [f64; 6] = [15.0, 20.0, 30.0, 50.0, 70.0, 100.0];
/// Points with their names beside them: not all, so that none lies on another.
const NAMED: [(Band, &[usize]); 2] =
    [(Band::Mirrored, &[8, 64, 384, 61, 97, 127, 257]), (Band::Centered, &[8, 127, 257, 384])];

/// Least seconds of a call.
fn least(mut call: impl FnMut()) -> f64 {
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < PATIENCE || least.is_infinite() {
        let clock = Instant::now();
        call();
        least = least.min(clock.elapsed().as_secs_f64());
    }
    least
}

/// GFLOP/s of fused products that wait for nothing.
fn peak() -> f64 {
    const CHAINS: usize = 12;
    const STEPS: usize = 10_000;

    #[inline(always)]
    fn chains<V: Vector>(factor: f32) -> f32 {
        let (factor, mut sums) = (V::splat(factor), [V::splat(1.0); CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        let mut lanes = [0.0; splitbench_codec::vector::LANES];
        let total = sums.into_iter().fold(V::zero(), V::add);
        total.store(&mut lanes);
        lanes.iter().sum()
    }

    let seconds = least(|| _ = black_box(dispatch!(chains(black_box(0.5)))));
    2e-9 * (CHAINS * STEPS * splitbench_codec::vector::LANES) as f64 / seconds
}

/// GB/s of a copy, read and written.
fn copy(numbers: usize) -> f64 {
    let (from, mut to) = (vec![1f32; numbers], vec![0f32; numbers]);
    let seconds = least(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    8e-9 * numbers as f64 / seconds
}

/// Operations per byte and GFLOP/s, there and back.
fn point(tokens: usize, band: Band) -> (f64, f64) {
    let shape = Shape { tokens, hidden: HIDDEN };
    let ks = ((tokens as f64 / RATIO.sqrt()).round() as usize).max(1);
    let kd = ((shape.elements() as f64 / RATIO / ks as f64) as usize).clamp(1, band.max_kd(HIDDEN));
    let block = Block { ks, kd };
    let rows = match band {
        Band::Centered => ks / 2 + 1,
        Band::Corner | Band::Mirrored => ks.min(tokens / 2 + 1),
    };
    let values: Vec<f32> = (0..shape.elements()).map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 1.0).collect();
    let (mut kept, mut out, mut work) = (Vec::new(), Vec::new(), Workspace::default());
    let there = least(|| _ = black_box(forward(black_box(&values), shape, band, block, 1.0, &mut kept, &mut work)));
    let back = least(|| _ = black_box(inverse(black_box(&kept), shape, band, block, 1.0, &mut out, &mut work)));
    let transform = |n: f64| 5.0 * n * n.log2();
    // Columns of real numbers are half the work; A and the block are read or written once.
    let operations = HIDDEN as f64 * transform(tokens as f64) / 2.0 + rows as f64 * transform(HIDDEN as f64);
    let bytes = 4.0 * (shape.elements() + 2 * ks * kd) as f64;
    (operations / bytes, 2e-9 * operations / (there + back))
}

fn draw(file: &str, peak: f64, bandwidth: f64, points: &[(Band, bool, usize, (f64, f64))]) {
    let area = SVGBackend::new(file, (760, 460)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("FC kernel, D = {HIDDEN}, ratio {RATIO}, one thread"), ("sans-serif", 17))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(
            X.log_scale().with_key_points(X_TICKS.to_vec()),
            Y.log_scale().with_key_points(Y_TICKS.to_vec()),
        )
        .unwrap();
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("operations per byte of A and block (5 n log2 n per transform)")
        .y_desc("GFLOP/s, forward and inverse")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .draw()
        .unwrap();
    let name = |text: String, at: (f64, f64)| Text::new(text, at, ("sans-serif", 12).into_font().color(&BLACK));
    let steps = || (0..=60).map(|i| X.start * (X.end / X.start).powf(f64::from(i) / 60.0));
    let roof = steps().map(|x| (x, peak.min(bandwidth * x)));
    chart.draw_series(LineSeries::new(roof, BLACK.stroke_width(1))).unwrap();
    let label = format!("copies from memory, {bandwidth:.0} GB/s");
    chart.draw_series([name(label, (X.start * 1.03, bandwidth * X.start * 0.93))]).unwrap();
    chart.draw_series([name(format!("fused products, {peak:.0} GFLOP/s"), (8.0, peak * 1.1))]).unwrap();
    for (band, smooth, color, label) in [
        (Band::Mirrored, true, RGBColor(31, 90, 160), "mirrored, small factors"),
        (Band::Mirrored, false, RGBColor(31, 90, 160), "mirrored, primes"),
        (Band::Centered, true, RGBColor(196, 90, 20), "centered, small factors"),
        (Band::Centered, false, RGBColor(196, 90, 20), "centered, primes"),
    ] {
        let style = if smooth { color.filled() } else { color.stroke_width(2) };
        let mark = move |at: (f64, f64)| Circle::new(at, 4, style);
        let own = || points.iter().filter(move |(b, s, ..)| (*b, *s) == (band, smooth));
        chart
            .draw_series(own().map(|(.., at)| mark(*at)))
            .unwrap()
            .label(label)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, style));
        let named = own().filter(|(band, _, tokens, _)| NAMED.iter().any(|(b, all)| b == band && all.contains(tokens)));
        chart
            .draw_series(named.map(|(.., tokens, at)| name(format!("{tokens}"), (at.0 * 1.012, at.1 * 0.98))))
            .unwrap();
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()
        .unwrap();
    area.present().unwrap();
}

fn main() {
    let file = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let peak = peak();
    let bandwidth = copy(COPY);
    println!("fused products {peak:.0} GFLOP/s; copies from memory {bandwidth:.0} GB/s, read and written");
    println!("{:>6} {:>10} {:>12} {:>10}", "tokens", "band", "FLOP/byte", "GFLOP/s");
    let mut points = Vec::new();
    for band in [Band::Mirrored, Band::Centered] {
        for (tokens, smooth) in SMOOTH.map(|s| (s, true)).into_iter().chain(PRIME.map(|s| (s, false))) {
            let (intensity, speed) = point(tokens, band);
            println!("{tokens:>6} {:>10} {intensity:>12.2} {speed:>10.1}", format!("{band:?}").to_lowercase());
            points.push((band, smooth, tokens, (intensity, speed)));
        }
    }
    if let Some(file) = file {
        draw(&file, peak, bandwidth, &points);
        println!("wrote {file}");
    }
}
