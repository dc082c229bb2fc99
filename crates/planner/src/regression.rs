//! Layer times from a few measured ones, by least squares: Neurosurgeon and Edgent fit one such model per kind of layer.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check;

/// A measured time of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeSample {
    /// What the time may depend on, such as tokens, or tokens times channels; each sample of a fit has the same number.
    pub features: Vec<f64>,
    /// Time, s.
    pub seconds: f64,
}

/// How features enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum FeatureScale {
    /// As they are.
    Linear,
    /// As their natural logarithm.
    Log,
}

/// A fitted time: intercept plus slopes times scaled features, at least 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTimeModel {
    /// How features enter.
    pub scale: FeatureScale,
    /// Time where all scaled features are 0, s.
    pub intercept_s: f64,
    /// Seconds per unit of each scaled feature.
    pub slopes: Vec<f64>,
    /// Measured minus fitted of each sample, s.
    pub residuals_s: Vec<f64>,
    /// Share of the samples' variance that the fit explains, 0 to 1; 1 where they have none.
    pub r_squared: f64,
    /// Largest |residual| relative to its measured time.
    pub worst_relative: f64,
}

impl LayerTimeModel {
    /// The fitted time for features, s.
    pub fn predict_s(&self, features: &[f64]) -> Result<f64> {
        ensure!(
            features.len() == self.slopes.len(),
            "{} features were given, the model was fitted with {}",
            features.len(),
            self.slopes.len()
        );
        let row = scaled(features, self.scale)?;
        Ok((self.intercept_s + row.iter().zip(&self.slopes).map(|(x, slope)| x * slope).sum::<f64>()).max(0.0))
    }

    fn squares(&self) -> f64 {
        self.residuals_s.iter().map(|residual| residual * residual).sum()
    }
}

fn scaled(features: &[f64], scale: FeatureScale) -> Result<Vec<f64>> {
    let scaled = |&x: &f64| match scale {
        FeatureScale::Linear => check::amount("a feature", x).map(|()| x),
        FeatureScale::Log => check::positive("a feature that enters as its logarithm", x).map(|()| x.ln()),
    };
    features.iter().map(scaled).collect()
}

/// Least squares by modified Gram-Schmidt on columns (Björck 1967): solves for each column's factor, the intercept's first.
fn least_squares(mut columns: Vec<Vec<f64>>, target: &[f64]) -> Result<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let count = columns.len();
    let mut rest = target.to_vec();
    let mut upper = vec![vec![0.0; count]; count];
    let mut right = vec![0.0; count];
    for k in 0..count {
        let before = columns[k].iter().map(|x| x * x).sum::<f64>();
        for j in 0..k {
            let along = dot(&columns[j], &columns[k]);
            upper[j][k] = along;
            let (left, column) = columns.split_at_mut(k);
            column[0].iter_mut().zip(&left[j]).for_each(|(x, q)| *x -= along * q);
        }
        let norm = dot(&columns[k], &columns[k]).sqrt();
        ensure!(
            norm > 1e-9 * before.sqrt(),
            "feature {k} is the same in all samples, or follows from the others: measure at more sizes, or leave it out"
        );
        upper[k][k] = norm;
        columns[k].iter_mut().for_each(|x| *x /= norm);
        right[k] = dot(&columns[k], &rest);
        rest.iter_mut().zip(&columns[k]).for_each(|(x, q)| *x -= right[k] * q);
    }
    let mut factors = vec![0.0; count];
    for k in (0..count).rev() {
        let later: f64 = (k + 1..count).map(|j| upper[k][j] * factors[j]).sum();
        factors[k] = (right[k] - later) / upper[k][k];
    }
    Ok(factors)
}

fn fit_scaled(samples: &[TimeSample], scale: FeatureScale) -> Result<LayerTimeModel> {
    let rows = samples.iter().map(|sample| scaled(&sample.features, scale)).collect::<Result<Vec<_>>>()?;
    let mut columns = vec![vec![1.0; rows.len()]];
    columns.extend((0..rows[0].len()).map(|k| rows.iter().map(|row| row[k]).collect()));
    let seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
    let mut factors = least_squares(columns, &seconds)?;
    let slopes = factors.split_off(1);
    let mut model = LayerTimeModel {
        scale,
        intercept_s: factors[0],
        slopes,
        residuals_s: Vec::new(),
        r_squared: 1.0,
        worst_relative: 0.0,
    };
    for sample in samples {
        let residual = sample.seconds - model.predict_s(&sample.features)?;
        model.residuals_s.push(residual);
        model.worst_relative = model.worst_relative.max(residual.abs() / sample.seconds);
    }
    let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
    let spread: f64 = seconds.iter().map(|s| (s - mean) * (s - mean)).sum();
    if spread > 0.0 {
        model.r_squared = (1.0 - model.squares() / spread).max(0.0);
    }
    Ok(model)
}

/// Fits one kind of layer with linear and with logarithmic features and keeps the fit with the smaller residuals. Logarithms
/// are only tried where all features are above zero.
pub fn fit_layer_time(samples: &[TimeSample]) -> Result<LayerTimeModel> {
    let first = samples.first().context("no sample was given: measure the layer at two sizes at least")?;
    let features = first.features.len();
    ensure!(
        samples.len() > features,
        "{} samples cannot fit {features} slopes and an intercept: measure at {} sizes at least",
        samples.len(),
        features + 1
    );
    for sample in samples {
        ensure!(
            sample.features.len() == features,
            "samples of one layer have {features} and {} features",
            sample.features.len()
        );
        check::positive("a measured time in s", sample.seconds)?;
    }
    let linear = fit_scaled(samples, FeatureScale::Linear)?;
    if samples.iter().flat_map(|sample| &sample.features).any(|&x| x <= 0.0) {
        return Ok(linear);
    }
    Ok(match fit_scaled(samples, FeatureScale::Log) {
        Ok(log) if log.squares() < linear.squares() => log,
        _ => linear,
    })
}

/// One fit for each kind of layer, by its name.
pub fn fit_by_kind(samples: &BTreeMap<String, Vec<TimeSample>>) -> Result<BTreeMap<String, LayerTimeModel>> {
    let fit = |(kind, samples): (&String, &Vec<TimeSample>)| {
        Ok((kind.clone(), fit_layer_time(samples).with_context(|| format!("fitting layers of kind {kind}"))?))
    };
    samples.iter().map(fit).collect()
}
