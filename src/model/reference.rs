//! The unsplit model's rows, with which those of cells are compared.

use anyhow::Result;
use candle_core::Tensor;

use super::decoder::Decoder;

/// Rows of the unsplit model.
pub struct Reference {
    /// The residual stream after the last layer, rows x D.
    last: Tensor,
    /// The logits that were asked for last, and of which rows: the next cells of the same questions ask for them again.
    kept: Option<(Vec<usize>, Tensor)>,
}

impl Reference {
    /// Of the residual stream after the last layer (rows x D).
    pub fn new(last: Tensor) -> Self {
        Self { last, kept: None }
    }

    /// Logits (rows x vocabulary) of some rows, which must ascend.
    pub(super) fn logits(&mut self, decoder: &Decoder, rows: &[usize]) -> Result<Tensor> {
        // A GPU's memory is promised to what is computed between two calls, and its products take little time.
        if !decoder.device().is_cpu() {
            return decoder.logits_of(&self.last, rows);
        }
        let logits = match self.kept.take() {
            Some((of, logits)) if of == rows => logits,
            Some((of, logits)) => self.complete(decoder, rows, &of, logits)?,
            None => decoder.logits_of(&self.last, rows)?,
        };
        self.kept = Some((rows.to_vec(), logits.clone()));
        Ok(logits)
    }

    /// The same, from the logits of the rows `of`.
    fn complete(&self, decoder: &Decoder, rows: &[usize], of: &[usize], logits: Tensor) -> Result<Tensor> {
        let (there, lacking): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| of.binary_search(row).is_ok());
        if there.is_empty() {
            return decoder.logits_of(&self.last, rows);
        }
        let found = select(&logits, there.iter().filter_map(|row| of.binary_search(row).ok()))?;
        // No more is held than two batches' logits.
        drop(logits);
        if lacking.is_empty() {
            return Ok(found);
        }
        let both = Tensor::cat(&[found, decoder.logits_of(&self.last, &lacking)?], 0)?;
        let place = |row: &usize| match there.binary_search(row) {
            Ok(place) => place,
            Err(_) => there.len() + lacking.partition_point(|other| other < row),
        };
        select(&both, rows.iter().map(place))
    }
}

fn select(logits: &Tensor, places: impl Iterator<Item = usize>) -> Result<Tensor> {
    let places: Vec<u32> = places.map(|place| place as u32).collect();
    Ok(logits.index_select(&Tensor::from_slice(&places, places.len(), logits.device())?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Placement, source};

    #[test]
    fn kept_logits_are_those_of_the_rows_asked_for() {
        let model = source::load("pocket", &Placement::cpu()).unwrap();
        let decoder = model.decoder().unwrap();
        let last = decoder.embed(&(0..9).collect::<Vec<u32>>()).unwrap();
        let mut reference = Reference::new(last.clone());
        for rows in [&[1, 2, 5][..], &[1, 2, 5], &[2, 5], &[0, 2, 4, 5, 8], &[0, 8], &[1, 3], &[3]] {
            let values = |logits: Tensor| logits.to_vec2::<f32>().unwrap();
            let expected = values(decoder.logits_of(&last, rows).unwrap());
            assert_eq!(values(reference.logits(decoder, rows).unwrap()), expected, "{rows:?}");
        }
    }
}
