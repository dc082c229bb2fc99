//! Questions scored through a server.

use std::sync::Arc;

use anyhow::{Result, ensure};
use splitbench_codec::Activation;

use super::generate::{ClientHalf, SplitGenerator, SplitSession};
use crate::data::Dataset;
use crate::model::split::to_values;
use crate::model::{Packing, SplitPoint};
use crate::progress;
use crate::record::{CodecSample, QuestionRecord, Sample};
use crate::score::Request;

/// One request through a server.
struct RequestScore {
    /// Log-likelihood of its targets, nats.
    loglik: f64,
    raw_elements: usize,
    elements: usize,
    wire_bytes: usize,
    /// ||A - A'||_F / ||A||_F.
    rel_error: f64,
}

impl SplitGenerator<'_> {
    /// Runs the client half on a request and sends the server the packet of all its rows; the session's cache stays as it is.
    fn score(&mut self, request: &Request) -> Result<RequestScore> {
        let Request { tokens, targets, .. } = request;
        // As in one process, so that each log-likelihood has the same bits: a codec may round what is next to a half either way.
        let (packing, split) =
            (Arc::new(Packing::of([tokens.len()])), SplitPoint { after_layer: self.cache.layers().end });
        let values = to_values(&self.decoder.client(tokens, &packing, &[split])?.remove(0))?;
        let rows = Activation::new(tokens.len(), self.decoder.config().hidden_size, values)?;
        let packet = self.prompt_codec.encode(&rows)?;
        let loglik = self.session.score(&packet, targets)?;
        Ok(RequestScore {
            loglik,
            raw_elements: rows.values().len(),
            elements: packet.elements(),
            wire_bytes: packet.as_bytes().len(),
            rel_error: rows.rel_error(&self.prompt_codec.decode(&packet)?),
        })
    }
}

/// The samples of a data set whose requests a server scores, in one session.
pub fn score(
    client: &ClientHalf,
    wish: &SplitSession,
    dataset: &Dataset,
    requests: &[Vec<Request>],
) -> Result<Vec<Sample>> {
    let longest = requests.iter().flatten().map(|request| request.tokens.len()).max().unwrap_or(1);
    ensure!(
        longest <= wish.most_tokens,
        "a request has {longest} tokens, more than the session's {}",
        wish.most_tokens
    );
    let mut session = client.open(wish)?;
    let mut samples = Vec::with_capacity(requests.len());
    for (nth, (question, requests)) in dataset.questions.iter().zip(requests).enumerate() {
        let _activity =
            progress::begin(format!("{}: question {} of {}", dataset.info.name, nth + 1, dataset.questions.len()));
        let scores = requests.iter().map(|request| session.score(request)).collect::<Result<Vec<_>>>()?;
        let sum = |of: fn(&RequestScore) -> usize| scores.iter().map(|score| of(score) as u64).sum();
        let codec = CodecSample {
            raw_elements: sum(|score| score.raw_elements),
            elements: sum(|score| score.elements),
            wire_bytes: sum(|score| score.wire_bytes),
            rel_error: scores.iter().map(|score| score.rel_error).sum::<f64>() / scores.len() as f64,
            ..CodecSample::default()
        };
        let logliks = scores.iter().map(|score| score.loglik).collect();
        samples.push(Sample::new(&dataset.info.name, &QuestionRecord::new(question, requests), logliks, Some(codec))?);
    }
    session.close()?;
    Ok(samples)
}
