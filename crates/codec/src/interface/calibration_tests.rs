use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn rows(count: usize, hidden: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    (0..count * hidden).map(|_| rng.random_range(-2.0..2.0)).collect()
}

fn collect(values: &[f32], hidden: usize, cuts: &[usize]) -> Calibration {
    let mut builder = CalibrationBuilder::new(hidden);
    let mut start = 0;
    for &end in cuts {
        let part = &values[start * hidden..end * hidden];
        builder.push_activation(&Activation::new(end - start, hidden, part.to_vec()).unwrap()).unwrap();
        builder.push_gradient(part).unwrap();
        start = end;
    }
    builder.finish().unwrap()
}

#[test]
fn moments_and_fisher_by_definition() {
    let (count, hidden) = (600, 7);
    let values = rows(count, hidden);
    let c = collect(&values, hidden, &[10, 300, 600]);
    assert_eq!(c.rows(), 600);
    for i in 0..hidden {
        let mean = |f: &dyn Fn(&[f32]) -> f64| values.chunks(hidden).map(f).sum::<f64>() / count as f64;
        assert!((c.mean().unwrap()[i] - mean(&|row| f64::from(row[i]))).abs() < 1e-12);
        let mean_abs = mean(&|row| f64::from(row[i].abs()));
        assert!((c.mean_abs().unwrap()[i] - mean_abs).abs() < 1e-12);
        let fisher = mean(&|row| f64::from(row[i]).powi(2));
        assert!((c.fisher().unwrap()[i] - fisher).abs() < 1e-12);
        for j in 0..hidden {
            let covariance = mean(&|row| f64::from(row[i]) * f64::from(row[j]));
            assert!((c.covariance().unwrap()[i * hidden + j] - covariance).abs() < 1e-12, "{i}, {j}");
        }
    }
}

#[test]
fn the_digest_depends_on_the_rows_and_not_on_the_pushes() {
    let values = rows(600, 7);
    let one = collect(&values, 7, &[600]);
    let many = collect(&values, 7, &[1, 17, 255, 256, 257, 600]);
    assert_eq!(one.sha256(), many.sha256());
    assert_eq!(one.sha256().len(), 64);
    assert_ne!(one.sha256(), collect(&values, 7, &[599]).sha256());
}

#[test]
fn what_was_not_collected_is_absent() {
    let mut builder = CalibrationBuilder::new(2);
    builder.set_next_weights(vec![2.0, 1.0, 1.0, 2.0]).unwrap();
    let c = builder.finish().unwrap();
    assert!(c.mean_abs().is_none() && c.covariance().is_none() && c.fisher().is_none());
    assert_eq!(c.next_weights(), Some(&[2.0, 1.0, 1.0, 2.0][..]));
}

#[test]
fn bad_pieces_are_refused() {
    let mut builder = CalibrationBuilder::new(2);
    assert!(builder.push_gradient(&[1.0; 3]).is_err());
    assert!(builder.push_gradient(&[1.0, f32::NAN]).is_err());
    assert!(builder.push_activation(&Activation::new(1, 3, vec![0.0; 3]).unwrap()).is_err());
    assert!(builder.push_activation(&Activation::new(1, 2, vec![0.0, f32::INFINITY]).unwrap()).is_err());
    assert!(builder.set_next_weights(vec![1.0; 3]).is_err());
    assert!(builder.set_next_weights(vec![1.0, 2.0, 3.0, 1.0]).is_err());
}
