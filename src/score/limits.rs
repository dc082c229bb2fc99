//! Whether a model takes what it is to be asked, before it is asked anything.

use anyhow::{Result, ensure};

use super::request::Request;
use crate::data::{Dataset, Question};

/// What a model takes.
#[derive(Debug, Clone, Copy)]
pub struct ModelLimits {
    /// Longest sequence, in tokens.
    pub tokens: usize,
    /// Number of token ids.
    pub vocabulary: usize,
}

impl ModelLimits {
    /// Checks all requests of a data set, one list a question. Questions that are too long are left out of both where `skip` says so,
    /// and counted in the data set; else the first is an error, as is an id that the model does not know.
    pub fn check(&self, dataset: &mut Dataset, requests: &mut Vec<Vec<Request>>, skip: bool) -> Result<()> {
        let name = &dataset.info.name;
        for (question, requests) in dataset.questions.iter().zip(requests.iter()) {
            for (choice, request) in requests.iter().enumerate() {
                let ids = request.tokens.iter().chain(&request.targets);
                if let Some(id) = ids.copied().find(|&id| id as usize >= self.vocabulary) {
                    anyhow::bail!(
                        "data set {name}, question {} (row {}), choice {choice}: token id {id} is outside the model's vocabulary of \
                         {}; the tokenizer is not this model's",
                        question.id,
                        question.index,
                        self.vocabulary
                    );
                }
            }
        }
        let long: Vec<bool> = requests.iter().map(|requests| self.longest(requests) > self.tokens).collect();
        let Some(first) = long.iter().position(|long| *long) else { return Ok(()) };
        let count = long.iter().filter(|long| **long).count();
        let Question { id, index, .. } = &dataset.questions[first];
        ensure!(
            skip,
            "data set {name}: {count} of {} questions are longer than the {} tokens that the model takes, first question {id} \
             (row {index}) of {}; leave such questions out with --skip-long, or take a model with more positions",
            long.len(),
            self.tokens,
            self.longest(&requests[first])
        );
        ensure!(
            count < long.len(),
            "data set {name}: every question is longer than the {} tokens that the model takes",
            self.tokens
        );
        let mut keep = long.iter().map(|long| !long);
        dataset.questions.retain(|_| keep.next().unwrap_or(true));
        let mut keep = long.iter().map(|long| !long);
        requests.retain(|_| keep.next().unwrap_or(true));
        dataset.skipped += count;
        Ok(())
    }

    fn longest(&self, requests: &[Request]) -> usize {
        requests.iter().map(|request| request.tokens.len()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{RowSource, find};

    fn asked(lengths: &[usize]) -> (Dataset, Vec<Vec<Request>>) {
        let request = |tokens: usize| Request { tokens: vec![1; tokens], prompt_tokens: 1, targets: vec![2] };
        let dataset = find("piqa-mini").unwrap().load(&RowSource::Embedded, Some(lengths.len())).unwrap();
        (dataset, lengths.iter().map(|&tokens| vec![request(3), request(tokens)]).collect())
    }

    #[test]
    fn long_questions_are_named_or_left_out() {
        let limits = ModelLimits { tokens: 8, vocabulary: 10 };
        let (mut dataset, mut requests) = asked(&[4, 9, 8, 12]);
        let error = limits.check(&mut dataset, &mut requests, false).unwrap_err().to_string();
        let id = &dataset.questions[1].id;
        for part in ["data set piqa-mini: 2 of 4", &format!("question {id} (row 1) of 9"), "8 tokens", "--skip-long"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        limits.check(&mut dataset, &mut requests, true).unwrap();
        let kept: Vec<usize> = dataset.questions.iter().map(|q| q.index).collect();
        assert_eq!((kept, requests.len(), dataset.skipped), (vec![0, 2], 2, 2));
        let (mut dataset, mut requests) = asked(&[9, 10]);
        let error = limits.check(&mut dataset, &mut requests, true).unwrap_err().to_string();
        assert!(error.contains("every question"), "{error}");
    }

    #[test]
    fn ids_the_model_does_not_know_are_an_error_also_where_they_are_only_predicted() {
        let limits = ModelLimits { tokens: 8, vocabulary: 3 };
        let (mut dataset, mut requests) = asked(&[4]);
        limits.check(&mut dataset, &mut requests, false).unwrap();
        requests[0][1].targets = vec![3];
        let error = limits.check(&mut dataset, &mut requests, false).unwrap_err().to_string();
        assert!(error.contains("choice 1: token id 3") && error.contains("vocabulary of 3"), "{error}");
    }
}
