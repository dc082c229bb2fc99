//! How alike the activations of different inputs are, layer by layer.

use splitbench_codec::Activation;

/// How two activations are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Cosine of the means over tokens: what the inputs have in common as a whole.
    Pooled,
    /// Mean over the positions both have of the cosine of their rows there.
    Aligned,
}

impl Measure {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Pooled, Self::Aligned];

    /// As the file names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pooled => "pooled",
            Self::Aligned => "aligned",
        }
    }
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    if norms > 0.0 { dot(x, y) / norms } else { 0.0 }
}

fn wide(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&value| f64::from(value)).collect()
}

fn pooled(a: &Activation) -> Vec<f64> {
    let mut sum = vec![0.0; a.hidden()];
    for token in 0..a.tokens() {
        sum.iter_mut().zip(a.row(token)).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sum
}

/// Mean over all pairs, and its standard error by the jackknife over inputs. None for fewer than two inputs.
pub fn similarity(inputs: &[Activation], measure: Measure) -> Option<(f64, Option<f64>)> {
    let n = inputs.len();
    if n < 2 {
        return None;
    }
    let means: Vec<Vec<f64>> = inputs.iter().map(pooled).collect();
    let pair = |i: usize, j: usize| match measure {
        Measure::Pooled => cosine(&means[i], &means[j]),
        Measure::Aligned => {
            let rows = inputs[i].tokens().min(inputs[j].tokens());
            let at = |s: usize| cosine(&wide(inputs[i].row(s)), &wide(inputs[j].row(s)));
            (0..rows).map(at).sum::<f64>() / rows as f64
        }
    };
    // The sum of each input's pairs: what is lost with it.
    let mut of = vec![0.0; n];
    for i in 0..n {
        for j in 0..i {
            let value = pair(i, j);
            of[i] += value;
            of[j] += value;
        }
    }
    let total = of.iter().sum::<f64>() / 2.0;
    let pairs = |n: usize| (n * (n - 1) / 2) as f64;
    let mean = total / pairs(n);
    let without: Vec<f64> = of.iter().map(|own| (total - own) / pairs(n - 1)).collect();
    let middle = without.iter().sum::<f64>() / n as f64;
    let spread = without.iter().map(|one| (one - middle).powi(2)).sum::<f64>();
    Some((mean, (n > 2).then(|| ((n - 1) as f64 / n as f64 * spread).sqrt())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(rows: &[[f32; 2]]) -> Activation {
        Activation::new(rows.len(), 2, rows.concat()).unwrap()
    }

    #[test]
    fn by_hand() {
        let a = activation(&[[1.0, 0.0], [0.0, 1.0]]);
        let b = activation(&[[1.0, 0.0], [0.0, -1.0], [5.0, 5.0]]);
        // Means (1, 1) and (6, 4).
        let expected = 10.0 / (2f64 * 52.0).sqrt();
        let (pooled, stderr) = similarity(&[a.clone(), b.clone()], Measure::Pooled).unwrap();
        assert!((pooled - expected).abs() < 1e-12 && stderr.is_none());
        assert_eq!(similarity(&[a.clone(), b], Measure::Aligned).unwrap().0, 0.0);
        assert_eq!(similarity(&[a], Measure::Aligned), None);
    }

    #[test]
    fn equal_inputs_are_one_and_the_error_is_that_of_a_mean() {
        let a = activation(&[[1.0, 2.0], [3.0, -1.0]]);
        for measure in Measure::ALL {
            let (mean, stderr) = similarity(&[a.clone(), a.clone(), a.clone()], measure).unwrap();
            assert!((mean - 1.0).abs() < 1e-12 && stderr.unwrap() < 1e-9, "{measure:?}");
        }
        // One of three is the opposite: pairs 1, -1, -1; without one input 1, -1 or -1.
        let b = activation(&[[-1.0, -2.0], [-3.0, 1.0]]);
        let (mean, stderr) = similarity(&[a.clone(), a, b], Measure::Aligned).unwrap();
        assert!((mean + 1.0 / 3.0).abs() < 1e-12);
        // sqrt(2 / 3 * ((2/3)^2 + (2/3)^2 + (4/3)^2)).
        assert!((stderr.unwrap() - (2.0f64 / 3.0 * 24.0 / 9.0).sqrt()).abs() < 1e-12, "{stderr:?}");
    }
}
