//! The model against transforms in f64.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex64;

use super::*;
use splitbench_codec::kernel::{Band, Block, Workspace, forward, inverse};
use splitbench_codec::proportional;

/// The full S x D spectrum, or back without the factor.
fn spectrum(values: &mut [Complex64], tokens: usize, hidden: usize, inverse: bool) {
    let mut planner = FftPlanner::new();
    let mut plan = |n| if inverse { planner.plan_fft_inverse(n) } else { planner.plan_fft_forward(n) };
    plan(hidden).process(values);
    let columns = plan(tokens);
    for d in 0..hidden {
        let mut column: Vec<_> = values.iter().skip(d).step_by(hidden).copied().collect();
        columns.process(&mut column);
        values.iter_mut().skip(d).step_by(hidden).zip(column).for_each(|(to, v)| *to = v);
    }
}

/// What the band `mirrored` leaves of an activation, in f64; and the block.
fn exact(values: &[f32], shape: &CoreShape) -> (Vec<f64>, Vec<f64>) {
    let (tokens, hidden) = (shape.tokens(), shape.hidden());
    let mut all: Vec<_> = values.iter().map(|v| Complex64::from(f64::from(*v))).collect();
    spectrum(&mut all, tokens, hidden, false);
    let mut block = Vec::new();
    for (i, value) in all.iter_mut().enumerate() {
        let (u, v) = (i / hidden, i % hidden);
        let (mu, mv) = shape.mirror(u, v);
        if shape.holds(u, v) {
            block.extend([value.re, value.im]);
        } else if !shape.holds(mu, mv) {
            *value = Complex64::default();
        }
    }
    spectrum(&mut all, tokens, hidden, true);
    (block, all.iter().map(|v| v.re / (tokens * hidden) as f64).collect())
}

/// Signal to noise in decibels.
fn decibels(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let noise: f64 = found.into_iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    10.0 * (expected.iter().map(|v| v * v).sum::<f64>() / noise).log10()
}

#[derive(Debug, Clone, Copy)]
enum SignalKind {
    Uniform,
    /// Three channels a thousand times as large, as trained models have.
    HugeChannels,
    /// One value of a thousand in the first row, the others below one.
    HugeValue,
    /// Each row has one value and nothing else.
    OneARow,
    /// The same in all rows, and no mean.
    Constant,
    /// All at the largest mantissa: the largest sums there are.
    Full,
}

const KINDS: [SignalKind; 6] = [
    SignalKind::Uniform,
    SignalKind::HugeChannels,
    SignalKind::HugeValue,
    SignalKind::OneARow,
    SignalKind::Constant,
    SignalKind::Full,
];

fn activation(kind: SignalKind, tokens: usize, hidden: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
    let mut values: Vec<f32> = (0..tokens * hidden).map(|_| random.random_range(-1.0..1.0)).collect();
    for (i, v) in values.iter_mut().enumerate() {
        let (row, channel) = (i / hidden, i % hidden);
        match kind {
            SignalKind::Uniform => {}
            SignalKind::HugeChannels => *v *= if [7, hidden / 3, hidden - 2].contains(&channel) { 1000.0 } else { 1.0 },
            SignalKind::HugeValue => *v = if i == hidden / 2 + 1 { 1000.0 } else { *v },
            SignalKind::OneARow => *v = if channel == row * 89 % hidden { *v } else { 0.0 },
            SignalKind::Constant => *v = ((channel * channel) % 17) as f32 - 8.0,
            SignalKind::Full => *v = 32766.0,
        }
    }
    values
}

/// Signal to noise of the encoder's block and of the round trip.
fn measure(kind: SignalKind, shape: &CoreShape, random: &mut ChaCha8Rng) -> (f64, f64) {
    let values = activation(kind, shape.tokens(), shape.hidden(), random);
    let (block, restored) = exact(&values, shape);
    let encoded = encode(shape, &quantise(&values, shape.hidden()).unwrap().rows).unwrap();
    let sent = shape.unpack(&encoded.coefficients).unwrap();
    let packed = shape.pack(&sent).unwrap();
    let decoded = decode(shape, &packed).unwrap();
    assert_eq!((encoded.saturations, decoded.saturations), (0, 0));
    (decibels(sent.into_iter().map(f64::from), &block), decibels(decoded.values.to_f64(), &restored))
}

#[test]
fn sixty_decibels_at_all_lengths() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut worst = [f64::INFINITY; 2];
    let mut shapes: Vec<(usize, usize)> =
        [1, 2, 3, 4, 5, 7, 12, 31, 64, 85, 128, 177, 200, 251, 256, 384, 509, 512].map(|s| (s, 192)).to_vec();
    shapes.extend([(1, 2048), (1, 3072), (2, 1536), (9, 3072), (32, 2048), (33, 1536)]);
    for (tokens, hidden) in shapes {
        for kind in KINDS {
            let block = proportional(Band::Mirrored, splitbench_codec::Shape { tokens, hidden }, 7.6);
            let shape = CoreShape::new(tokens, hidden, block).unwrap();
            let (there, back) = measure(kind, &shape, &mut random);
            worst = [worst[0].min(there), worst[1].min(back)];
            assert!(there >= 60.0 && back >= 60.0, "{kind:?} {shape:?}: {there:.1} dB, round trip {back:.1} dB");
        }
    }
    println!("at least {:.1} dB, round trip {:.1} dB", worst[0], worst[1]);
}

/// Blocks beyond the middle of either axis, down to one coefficient.
#[test]
fn sixty_decibels_for_any_block() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for tokens in [1, 2, 5, 8, 13] {
        for ks in 1..=tokens {
            for kd in [1, 3, 4, 95, 96, 97, 98, 120, 191, 192] {
                let shape = CoreShape::new(tokens, 192, Block { ks, kd }).unwrap();
                let (there, back) = measure(SignalKind::Uniform, &shape, &mut random);
                assert!(there >= 60.0 && back >= 60.0, "{shape:?}: {there:.1} dB, round trip {back:.1} dB");
            }
        }
    }
}

#[test]
fn saturated_mantissas_are_counted() {
    let shape = CoreShape::new(2, 192, Block { ks: 1, kd: 3 }).unwrap();
    let mut values = vec![0.25f32; 2 * 192];
    (values[3], values[200], values[201]) = (1e6, -1e6, 32766.0);
    let quantised = quantise_at(&values, 192, 0).unwrap();
    let encoded = encode(&shape, &quantised.rows).unwrap();
    assert_eq!((quantised.clipped, encoded.saturations), (2, 2));
    let mut coefficients = encoded.coefficients;
    coefficients.mantissas[1] = i16::MIN;
    let decoded = decode(&shape, &coefficients).unwrap();
    assert_eq!(decoded.saturations, 1);
    coefficients.mantissas[1] = -i16::MAX;
    assert_eq!(decode(&shape, &coefficients).unwrap().values, decoded.values);
}

#[test]
fn what_is_not_of_the_shape_is_refused() {
    let shape = CoreShape::new(2, 192, Block { ks: 1, kd: 3 }).unwrap();
    let rows = quantise(&[0.5; 2 * 192], 192).unwrap().rows;
    let coefficients = encode(&shape, &rows).unwrap().coefficients;
    let short = BlockFloat { mantissas: rows.mantissas[192..].to_vec(), ..rows.clone() };
    let error = encode(&shape, &short).unwrap_err().to_string();
    assert!(error.contains("192 mantissas, 2 exponents in groups of 192, but the shape takes 384"), "{error}");
    let far = BlockFloat { exponents: vec![0, 101], ..rows };
    assert!(encode(&shape, &far).unwrap_err().to_string().contains("-100..=100"));
    let far = BlockFloat { exponents: vec![-111; coefficients.exponents.len()], ..coefficients };
    assert!(decode(&shape, &far).unwrap_err().to_string().contains("-110..=127"));
}

/// The cores share these with no other number of the model: the codec's own kernel has the same conventions.
#[test]
fn the_kernel_has_the_same_block() {
    let (tokens, hidden) = (11, 192);
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let values = activation(SignalKind::Uniform, tokens, hidden, &mut random);
    for block in [Block { ks: 4, kd: 70 }, Block { ks: 9, kd: 140 }] {
        let shape = CoreShape::new(tokens, hidden, block).unwrap();
        let rows = quantise(&values, hidden).unwrap().rows;
        let found = shape.unpack(&encode(&shape, &rows).unwrap().coefficients).unwrap();
        let band = Band::Mirrored;
        let (sides, mut work, mut kept) =
            (splitbench_codec::Shape { tokens, hidden }, Workspace::default(), Vec::new());
        forward(&values, sides, band, block, 1.0, &mut kept, &mut work);
        assert!(
            decibels(found.into_iter().map(f64::from), &kept.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()) > 60.0
        );
        let mut restored = Vec::new();
        inverse(&kept, sides, band, block, 1.0, &mut restored, &mut work);
        let decoded = decode(&shape, &shape.pack(&kept).unwrap()).unwrap().values.to_f64();
        assert!(decibels(decoded, &restored.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()) > 60.0);
    }
}
