//! What the simulation says of a live run, from times that were measured without a link.

use super::engine::{Arrivals, Class, Law, Round, System};
use super::load::Cost;
use crate::record::LiveRow;

/// Most sessions that a server takes into one pass.
const MOST_BATCH: usize = 128;

/// Time between an answer and the next request of a client that does not think, s.
const NO_THOUGHT_S: f64 = 1e-6;

/// What was predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LivePrediction {
    /// From the prompt to its token, ms.
    pub ttft_ms: f64,
    /// A later token, ms.
    pub step_ms: f64,
    /// From the prompt to the last token, s.
    pub response_s: f64,
}

/// Predicts `row`, whose link and clients are given, from `alone`: the same prompt and codecs, one client, no link.
/// `more_step_s` is what a further session adds to a step's pass of the server half.
pub fn predict(alone: &LiveRow, row: &LiveRow, more_step_s: f64) -> LivePrediction {
    let ms = 1e-3;
    let up = row.up_mbps.map_or(f64::INFINITY, |rate| rate * 1e6);
    let down = row.down_mbps.map_or(f64::INFINITY, |rate| rate * 1e6);
    let delay_s = row.delay_ms.unwrap_or(0.0) * ms;
    let round = |cost: Cost, rest_ms: f64| {
        let mut round = cost.round(up, 2.0 * delay_s);
        // Sockets and protocol, which the loopback has too; and the answer's own bytes.
        round.back_s += rest_ms * ms + 8.0 * alone.token_bytes / down;
        round
    };
    let prompt = Cost {
        client_s: alone.ttft_client_ms * ms,
        encode_s: alone.ttft_encode_ms * ms,
        bytes: alone.prompt_bytes,
        decode_s: alone.ttft_decode_ms * ms,
        server_s: alone.ttft_server_ms * ms,
        // Prompts are computed one after the other.
        more_s: alone.ttft_server_ms * ms,
    };
    let step = Cost {
        client_s: alone.step_client_ms * ms,
        encode_s: alone.step_encode_ms * ms,
        bytes: alone.step_bytes,
        decode_s: alone.step_decode_ms * ms,
        server_s: alone.step_server_ms * ms,
        more_s: more_step_s.min(alone.step_server_ms * ms),
    };
    let class = Class { prompt: round(prompt, alone.ttft_link_ms), step: round(step, alone.step_link_ms) };
    let chunks = alone.prompt_tokens.div_ceil(alone.chunk.max(1)).max(1) as usize;
    let ttft_s = in_chunks_s(&class.prompt, chunks);
    let steps = row.generated.saturating_sub(1) as usize;
    let response_s = match row.clients {
        1 => ttft_s + steps as f64 * class.step.alone_s(),
        clients => together_s(class, steps, clients as usize),
    };
    LivePrediction { ttft_ms: ttft_s / ms, step_ms: class.step.alone_s() / ms, response_s }
}

/// A prompt in equal chunks, which are on the link or at the server while the next one is computed.
fn in_chunks_s(whole: &Round, chunks: usize) -> f64 {
    let stages = [whole.client_s, whole.link_s, whole.server_s].map(|stage| stage / chunks as f64);
    let mut done = [0.0; 3];
    for _ in 0..chunks {
        let mut before: f64 = 0.0;
        for (done, stage) in done.iter_mut().zip(stages) {
            *done = before.max(*done) + stage;
            before = *done;
        }
    }
    done[2] + whole.there_s + whole.back_s
}

/// The mean response time of clients that all ask at once.
fn together_s(class: Class, steps: usize, clients: usize) -> f64 {
    let alone_s = class.prompt.alone_s() + steps as f64 * class.step.alone_s();
    let system = System {
        classes: vec![class],
        steps,
        arrivals: Arrivals::Closed { clients, think_s: NO_THOUGHT_S },
        workers: 1,
        most_batch: MOST_BATCH,
        law: Law::Fixed,
        // Long enough for the last one, if none could share anything.
        seconds: 2.0 * alone_s * clients as f64,
        warm_up_s: 0.0,
    };
    let responses = system.run(1).responses;
    let first = &responses[..clients.min(responses.len())];
    first.iter().sum::<f64>() / first.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> LiveRow {
        LiveRow {
            clients: 1,
            prompt_tokens: 100,
            chunk: 512,
            generated: 11,
            ttft_client_ms: 10.0,
            ttft_encode_ms: 2.0,
            ttft_server_ms: 50.0,
            ttft_decode_ms: 1.0,
            ttft_link_ms: 0.5,
            step_client_ms: 1.0,
            step_server_ms: 20.0,
            step_link_ms: 0.1,
            prompt_bytes: 100_000.0,
            step_bytes: 1_000.0,
            token_bytes: 50.0,
            ..LiveRow::default()
        }
    }

    #[test]
    fn one_client_is_arithmetic() {
        let row = LiveRow { up_mbps: Some(8.0), down_mbps: Some(80.0), delay_ms: Some(7.0), ..alone() };
        let found = predict(&alone(), &row, 0.001);
        // 0.8 Mbit take 100 ms; the token's 400 bit 5 us.
        assert!((found.ttft_ms - (10.0 + 2.0 + 100.0 + 51.0 + 14.0 + 0.5 + 0.005)).abs() < 1e-9, "{found:?}");
        assert!((found.step_ms - (1.0 + 1.0 + 20.0 + 14.0 + 0.1 + 0.005)).abs() < 1e-9);
        assert!((found.response_s - (found.ttft_ms + 10.0 * found.step_ms) * 1e-3).abs() < 1e-12);
        // Without a link it gives back what was measured.
        let found = predict(&alone(), &alone(), 0.001);
        assert!((found.ttft_ms - 63.5).abs() < 1e-9 && (found.step_ms - 21.1).abs() < 1e-9);
    }

    #[test]
    fn chunks_overlap_and_clients_wait_for_each_other() {
        // Three stages of 4, 8 and 2 in four chunks: the slowest is never idle once it has begun.
        let round = Round { client_s: 4.0, link_s: 8.0, server_s: 2.0, ..Round::default() };
        assert!((in_chunks_s(&round, 4) - (1.0 + 8.0 + 0.5)).abs() < 1e-12);
        assert!((in_chunks_s(&round, 1) - 14.0).abs() < 1e-12);
        // Eight prompts of 51 ms one after the other, then steps together: 20 ms and 1 ms more for each further one.
        let row = LiveRow { clients: 8, ..alone() };
        let found = predict(&alone(), &row, 0.001).response_s;
        assert!(found > 0.408 + 10.0 * 0.027 && found < 0.408 + 10.0 * 0.07, "{found}");
    }
}
