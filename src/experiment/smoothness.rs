//! How much an activation changes from token to token and from channel to channel.

use splitbench_codec::Activation;

/// Mean |A[s+1, d] - A[s, d]| over mean |A|: 0 where all tokens are alike, sqrt(2) for independent normal numbers of mean
/// zero. None of one token, or of zeros.
pub fn variation_tokens(a: &Activation) -> Option<f64> {
    let width = a.hidden();
    variation(a, a.values().iter().zip(&a.values()[width..]))
}

/// Mean |A[s, d+1] - A[s, d]| over mean |A|. None of one channel, or of zeros.
pub fn variation_hidden(a: &Activation) -> Option<f64> {
    variation(a, a.values().chunks(a.hidden()).flat_map(|row| row.iter().zip(&row[1..])))
}

fn variation<'a>(a: &Activation, neighbours: impl Iterator<Item = (&'a f32, &'a f32)>) -> Option<f64> {
    let steps = mean(neighbours.map(|(&x, &y)| (f64::from(x) - f64::from(y)).abs()))?;
    let size = mean(a.values().iter().map(|&v| f64::from(v).abs()))?;
    (size > 0.0).then(|| steps / size)
}

/// Mean cosine of the rows of adjacent tokens. None of one token; a pair with a row of zeros is left out.
pub fn adjacent_cosine(a: &Activation) -> Option<f64> {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let cosine = |s: usize| {
        let (x, y) = (a.row(s), a.row(s + 1));
        let norms = (dot(x, x) * dot(y, y)).sqrt();
        (norms > 0.0).then(|| dot(x, y) / norms)
    };
    mean((0..a.tokens() - 1).filter_map(cosine))
}

/// The mean; none of nothing.
pub fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let a = Activation::new(2, 3, vec![1.0, 2.0, 2.0, -1.0, 2.0, 0.0]).unwrap();
        // |2| + 0 + |2| over 3, by 8 / 6.
        assert_eq!(variation_tokens(&a), Some((4.0 / 3.0) / (8.0 / 6.0)));
        // 1, 0 and 3, 2 over 4.
        assert_eq!(variation_hidden(&a), Some(1.5 / (8.0 / 6.0)));
        assert_eq!(adjacent_cosine(&a), Some(3.0 / 45f64.sqrt()));
    }

    #[test]
    fn what_has_no_neighbours_or_no_size_has_no_number() {
        let one = Activation::new(1, 1, vec![2.0]).unwrap();
        assert_eq!((variation_tokens(&one), variation_hidden(&one), adjacent_cosine(&one)), (None, None, None));
        let zeros = Activation::new(2, 2, vec![0.0; 4]).unwrap();
        assert_eq!((variation_tokens(&zeros), variation_hidden(&zeros), adjacent_cosine(&zeros)), (None, None, None));
    }
}
