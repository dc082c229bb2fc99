//! How much of an activation's energy FC's block holds, against the block's size; and its 2-D spectrum.

use anyhow::Result;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use splitbench_codec::{Accounting, Activation, Budget, Codec, CodecSpec, build};

/// The block as it is read by default, the true low-pass, and the coefficients of most energy wherever they are.
pub const READINGS: [&str; 3] = ["fc", "fc:band=centered", "fc-mask"];

/// Ratios of the curve.
pub const RATIOS: [f64; 9] = [64.0, 32.0, 16.0, 10.0, 8.0, 6.0, 4.0, 3.0, 2.0];

/// One reading at one ratio over some inputs: mean share kept, mean share of energy, and that of noise.
pub fn curve(inputs: &[Activation]) -> Result<Vec<(&'static str, f64, [f64; 3])>> {
    let noises: Vec<Activation> =
        inputs.iter().enumerate().map(|(nth, a)| noise(a, nth as u64)).collect::<Result<_>>()?;
    let mut out = Vec::new();
    for reading in READINGS {
        // f32, so that at small ratios rounding is not counted as energy that is missing.
        let name =
            if reading.contains(':') { format!("{reading},values=f32") } else { format!("{reading}:values=f32") };
        let codec = build(&CodecSpec::parse(&name)?, None)?;
        for ratio in RATIOS {
            let (mut kept, mut share, mut of_noise) = (0.0, 0.0, 0.0);
            for (a, noise) in inputs.iter().zip(&noises) {
                let (elements, energy) = restored(codec.as_ref(), a, ratio)?;
                kept += elements / a.values().len() as f64;
                share += energy;
                of_noise += restored(codec.as_ref(), noise, ratio)?.1;
            }
            let n = inputs.len() as f64;
            out.push((reading, ratio, [kept / n, share / n, of_noise / n]));
        }
    }
    Ok(out)
}

/// Coefficients kept, and the share of ||A||^2 they restore.
fn restored(codec: &dyn Codec, a: &Activation, ratio: f64) -> Result<(f64, f64)> {
    let packet = codec.encode(a, Some(Budget { ratio, accounting: Accounting::Elements }))?;
    let elements = packet.elements() as f64;
    Ok((elements, 1.0 - a.rel_error(&codec.decode(&packet)?).powi(2)))
}

fn noise(like: &Activation, seed: u64) -> Result<Activation> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Box and Muller.
    let mut normal = || {
        let (u, v): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    };
    Activation::new(like.tokens(), like.hidden(), (0..like.values().len()).map(|_| normal()).collect())
}

/// log10 of each coefficient's share of the energy: S rows of frequencies -S/2 up, D/2 + 1 columns from 0 up. A coefficient
/// without any energy has that of the smallest normal f32.
pub fn spectrum(a: &Activation) -> Result<Activation> {
    let (rows, columns) = (a.tokens(), a.hidden());
    let mut planner = FftPlanner::<f64>::new();
    let mut all: Vec<Complex<f64>> = a.values().iter().map(|&v| Complex::new(f64::from(v), 0.0)).collect();
    let along = planner.plan_fft_forward(columns);
    all.chunks_exact_mut(columns).for_each(|row| along.process(row));
    let down = planner.plan_fft_forward(rows);
    let mut column = vec![Complex::default(); rows];
    for v in 0..columns {
        (0..rows).for_each(|u| column[u] = all[u * columns + v]);
        down.process(&mut column);
        (0..rows).for_each(|u| all[u * columns + v] = column[u]);
    }
    let total: f64 = all.iter().map(Complex::norm_sqr).sum();
    let (half, wide) = (rows / 2, columns / 2 + 1);
    let share = |u: usize, v: usize| {
        let energy = all[(u + rows - half) % rows * columns + v].norm_sqr();
        (energy / total).max(f64::from(f32::MIN_POSITIVE)).log10() as f32
    };
    Activation::new(
        rows,
        wide,
        (0..rows).flat_map(|u| (0..wide).map(move |v| (u, v))).map(|(u, v)| share(u, v)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_one_coefficient() {
        // cos(2 pi (s / 6 + 2 d / 8)): rows +1 and -1, columns 2 and -2, a half each.
        let at = |i: usize| (std::f64::consts::TAU * ((i / 8) as f64 / 6.0 + 2.0 * (i % 8) as f64 / 8.0)).cos() as f32;
        let a = Activation::new(6, 8, (0..48).map(at).collect()).unwrap();
        let found = spectrum(&a).unwrap();
        assert_eq!((found.tokens(), found.hidden()), (6, 5));
        for u in 0..6 {
            for v in 0..5 {
                let log = found.row(u)[v];
                // Row frequency u - 3; the other half lies at column 8 - 2.
                if (u, v) == (4, 2) {
                    assert!((log - 0.5f32.log10()).abs() < 1e-5)
                } else {
                    assert!(log < -10.0, "{u} {v} {log}")
                }
            }
        }
    }

    #[test]
    fn zeros_have_a_spectrum_too() {
        let found = spectrum(&Activation::new(2, 3, vec![0.0; 6]).unwrap()).unwrap();
        assert!(found.values().iter().all(|v| v.is_finite()));
    }

    #[test]
    fn energy_grows_with_the_block_and_noise_has_no_favourites() {
        let smooth = |i: usize| ((i / 64) as f32 / 16.0).sin() + ((i % 64) as f32 / 40.0).cos();
        let a = Activation::new(32, 64, (0..2048).map(smooth).collect()).unwrap();
        let found = curve(&[a]).unwrap();
        assert_eq!(found.len(), READINGS.len() * RATIOS.len());
        for reading in READINGS {
            let here: Vec<[f64; 3]> = found.iter().filter(|one| one.0 == reading).map(|one| one.2).collect();
            assert!(here.is_sorted_by(|a, b| a[0] < b[0] && a[1] <= b[1] + 1e-9), "{reading}: {here:?}");
            assert!(here[0][1] > 0.9, "a smooth field has its energy low: {here:?}");
            if reading != "fc-mask" {
                // Each kept coefficient brings its mirror: up to twice its share of independent numbers.
                assert!(here.iter().all(|one| one[2] > 0.6 * one[0] && one[2] < 2.4 * one[0]), "{reading}: {here:?}");
            }
        }
    }
}
