//! How much of an activation lies in few directions, and in few values.

use nalgebra::DMatrix;

use splitbench_codec::Activation;

/// exp of the entropy of the shares sigma_i^2 / sum sigma^2, over min(S, D): 1 where all directions have the same energy, and
/// near 0 where one has it all. None of zeros.
pub fn effective_rank(a: &Activation) -> Option<f64> {
    let (rows, columns) = (a.tokens(), a.hidden());
    let matrix = DMatrix::from_row_iterator(rows, columns, a.values().iter().map(|&v| f64::from(v)));
    // The smaller Gram matrix has the squared singular values.
    let gram = if rows <= columns { &matrix * matrix.transpose() } else { matrix.transpose() * &matrix };
    let energies = gram.symmetric_eigenvalues();
    let total: f64 = energies.iter().map(|energy| energy.max(0.0)).sum();
    if total <= 0.0 {
        return None;
    }
    let entropy = |energy: &f64| if *energy > 0.0 { -energy / total * (energy / total).ln() } else { 0.0 };
    Some(energies.iter().map(entropy).sum::<f64>().exp() / rows.min(columns) as f64)
}

/// Share of ||A||^2 in the ceil(S D / 100) values of largest magnitude. None of zeros.
pub fn outlier_share(a: &Activation) -> Option<f64> {
    let mut squares: Vec<f64> = a.values().iter().map(|&v| f64::from(v).powi(2)).collect();
    let total: f64 = squares.iter().sum();
    let count = squares.len().div_ceil(100);
    squares.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
    (total > 0.0).then(|| squares[..count].iter().sum::<f64>() / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(rows: usize, values: &[f32]) -> Activation {
        Activation::new(rows, values.len() / rows, values.to_vec()).unwrap()
    }

    #[test]
    fn rank_by_hand() {
        // Orthogonal rows of energies 3 and 1: entropy of (3/4, 1/4).
        let a = activation(2, &[3f32.sqrt(), 0.0, 0.0, 0.0, 1.0, 0.0]);
        let expected = (-(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln())).exp() / 2.0;
        assert!((effective_rank(&a).unwrap() - expected).abs() < 1e-6);
        let tall = activation(3, &[3f32.sqrt(), 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert!((effective_rank(&tall).unwrap() - expected).abs() < 1e-6, "the transposed matrix has the same");
        let one = activation(2, &[1.0, 2.0, 2.0, 4.0]);
        assert!((effective_rank(&one).unwrap() - 0.5).abs() < 1e-6);
        let all = activation(2, &[1.0, 1.0, 1.0, -1.0]);
        assert!((effective_rank(&all).unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(effective_rank(&activation(1, &[0.0, 0.0])), None);
    }

    #[test]
    fn outliers_by_hand() {
        // 150 values: the two largest count. 100 + 81 of 100 + 81 + 148.
        let mut values = vec![1.0; 150];
        (values[7], values[70]) = (-10.0, 9.0);
        assert!((outlier_share(&activation(3, &values)).unwrap() - 181.0 / 329.0).abs() < 1e-9);
        assert_eq!(outlier_share(&activation(1, &[2.0])), Some(1.0));
        assert_eq!(outlier_share(&activation(1, &[0.0; 4])), None);
    }
}
