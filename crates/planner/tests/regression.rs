//! Fits of layer times.

use std::collections::BTreeMap;

use splitbench_planner::*;

fn samples(features: &[Vec<f64>], seconds: impl Fn(&[f64]) -> f64) -> Vec<TimeSample> {
    features.iter().map(|x| TimeSample { features: x.clone(), seconds: seconds(x) }).collect()
}

fn random_features(random: &mut SplitMix, count: usize, features: usize) -> Vec<Vec<f64>> {
    (0..count).map(|_| (0..features).map(|_| random.range(1.0, 2_000.0)).collect()).collect()
}

#[test]
fn a_thousand_laws_are_found_again() {
    for seed in 0..1_000 {
        let mut random = SplitMix::new(seed);
        let count = 1 + random.below(3);
        let features = random_features(&mut random, count + 5, count);
        let slopes: Vec<f64> = (0..count).map(|_| random.range(1e-6, 1e-3)).collect();
        let (intercept, is_log) = (random.range(1e-4, 1e-2), seed % 2 == 0);
        let scaled = |x: f64| if is_log { x.ln() } else { x };
        let law = |x: &[f64]| intercept + x.iter().zip(&slopes).map(|(&x, slope)| scaled(x) * slope).sum::<f64>();
        let model = fit_layer_time(&samples(&features, law)).unwrap();
        assert_eq!(model.scale, if is_log { FeatureScale::Log } else { FeatureScale::Linear }, "seed {seed}");
        assert!(model.worst_relative < 1e-8 && model.r_squared > 1.0 - 1e-9, "seed {seed}: {model:?}");
        let other = random_features(&mut random, 1, count);
        let error = model.predict_s(&other[0]).unwrap() / law(&other[0]) - 1.0;
        assert!(error.abs() < 1e-7, "seed {seed}: {error}");
    }
}

#[test]
fn residuals_are_those_of_least_squares() {
    let mut random = SplitMix::new(3);
    let features = random_features(&mut random, 40, 2);
    let noisy: Vec<TimeSample> = (features.iter())
        .map(|x| TimeSample { features: x.clone(), seconds: 1.0 + 0.01 * x[0] + 0.02 * x[1] + random.range(0.0, 0.5) })
        .collect();
    let model = fit_layer_time(&noisy).unwrap();
    // They are orthogonal to the intercept and to each feature.
    let sum = |factor: &dyn Fn(&TimeSample) -> f64| -> f64 {
        noisy.iter().zip(&model.residuals_s).map(|(sample, residual)| factor(sample) * residual).sum()
    };
    assert!(sum(&|_| 1.0).abs() < 1e-8 && sum(&|s| s.features[0]).abs() < 1e-5 && sum(&|s| s.features[1]).abs() < 1e-5);
    assert!(model.residuals_s.iter().any(|residual| residual.abs() > 0.1));
    assert!((0.9..1.0).contains(&model.r_squared), "{}", model.r_squared);
}

#[test]
fn a_prediction_is_never_below_zero() {
    let falling = samples(&[vec![1.0], vec![2.0], vec![3.0]], |x| 0.4 - 0.1 * x[0]);
    assert_eq!(fit_layer_time(&falling).unwrap().predict_s(&[100.0]).unwrap(), 0.0);
}

#[test]
fn each_kind_has_its_fit() {
    let kinds = BTreeMap::from([
        ("head".to_string(), samples(&[vec![1.0], vec![2.0], vec![5.0]], |x| 2.0 + x[0])),
        ("layer".to_string(), samples(&[vec![1.0], vec![2.0], vec![5.0]], |x| 3.0 * x[0])),
    ]);
    let fits = fit_by_kind(&kinds).unwrap();
    assert!((fits["head"].intercept_s - 2.0).abs() < 1e-12 && (fits["layer"].slopes[0] - 3.0).abs() < 1e-12);
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let error = |samples: &[TimeSample]| fit_layer_time(samples).unwrap_err().to_string();
    assert!(error(&[]).contains("no sample"));
    assert!(error(&samples(&[vec![1.0]], |_| 1.0)).contains("measure at 2 sizes at least"));
    assert!(error(&samples(&[vec![4.0], vec![4.0], vec![4.0]], |_| 1.0)).contains("the same in all samples"));
    assert!(error(&samples(&[vec![1.0], vec![2.0]], |_| f64::NAN)).contains("a measured time in s is NaN"));
    let mixed = [vec![1.0], vec![1.0, 2.0], vec![3.0]];
    assert!(error(&samples(&mixed, |_| 1.0)).contains("have 1 and 2 features"));
}
