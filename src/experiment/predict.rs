//! What scoring will take, from operations counted and a short calibration on this machine.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{QuestionGroup, Sharing, groups};
use super::cell::Cell;
use super::memory;
use crate::clock;
use crate::model::split::LogitRows;
use crate::model::{Config, Decoder, DecoderPart, Packing};
use crate::record::manifest::PredictedSeconds;
use crate::score::Request;
use splitbench_codec::{Activation, Codec, EXTERNAL, round_trip};

/// Floating-point operations of the decoder, a multiply-add as two.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flops {
    /// Of layers.
    pub layers: f64,
    /// Of the head.
    pub head: f64,
}

/// Questions and the cells they are asked in.
pub struct ScoringWork<'a> {
    /// Requests, question by question.
    pub questions: &'a [&'a [Request]],
    /// The cells, each with its codec.
    pub cells: &'a [(&'a Cell, &'a dyn Codec)],
    /// Whether the unsplit model is asked too.
    pub baseline: bool,
}

/// Rows of a group that go through a part of the model.
struct GroupRows {
    own: f64,
    /// Pairs of a row and one that it sees.
    seen: f64,
    /// Those whose logits are needed.
    scored: f64,
}

impl GroupRows {
    fn new(groups: &[QuestionGroup], sharing: Sharing) -> Self {
        let mut rows = Self { own: 0.0, seen: 0.0, scored: 0.0 };
        for group in groups {
            let mut packing = Packing::default();
            group.pack(&mut packing, sharing);
            rows.own += packing.rows() as f64;
            let seen = |s: usize| (group.tokens(s) - group.shared(s, sharing)) * group.tokens(s);
            rows.seen += (0..group.sequences()).map(seen).sum::<usize>() as f64;
            let mut logits = LogitRows::default();
            for row in group.positions(&packing, 0).flatten() {
                logits.add(row);
            }
            rows.scored += logits.rows().len() as f64;
        }
        rows
    }

    /// Layers of which all rows are needed.
    fn layers(&self, c: &Config, layers: usize) -> f64 {
        layers as f64 * (2.0 * self.own * memory::layer_weights(c) + self.attention(c))
    }

    /// Layers after `split` to the end, the last one's rows to the end only where they are scored, and the head.
    fn server(&self, c: &Config, split: usize) -> Flops {
        let head = 2.0 * self.scored * (c.hidden_size * c.vocab_size) as f64;
        let Some(whole) = (c.num_hidden_layers - split).checked_sub(1) else { return Flops { layers: 0.0, head } };
        let gathered = memory::attention_weights(c);
        let last =
            2.0 * (self.own * gathered + self.scored * (memory::layer_weights(c) - gathered)) + self.attention(c);
        Flops { layers: self.layers(c, whole) + last, head }
    }

    fn attention(&self, c: &Config) -> f64 {
        4.0 * self.seen * (c.num_attention_heads * c.head_dim) as f64
    }
}

impl ScoringWork<'_> {
    /// Of client halves, and of all that comes after the cut. The unsplit model goes on from the last cut.
    pub fn flops(&self, c: &Config) -> (Flops, Flops) {
        let groups = groups(self.questions);
        let last = self.cells.iter().map(|(cell, _)| cell.split.after_layer).max().unwrap_or(0);
        let computed = GroupRows::new(&groups, Sharing::Computed);
        let client = Flops { layers: computed.layers(c, last), head: 0.0 };
        let mut server = if self.baseline { computed.server(c, last) } else { Flops::default() };
        let mut received: Vec<(Sharing, GroupRows)> = Vec::new();
        for (cell, _) in self.cells {
            let sharing = Sharing::expected(cell);
            if received.iter().all(|(known, _)| *known != sharing) {
                received.push((sharing, GroupRows::new(&groups, sharing)));
            }
            for (_, rows) in received.iter().filter(|(known, _)| *known == sharing) {
                let one = rows.server(c, cell.split.after_layer);
                server.layers += one.layers;
                server.head += one.head;
            }
        }
        (client, server)
    }
}

/// Tokens of the activations that codecs are timed on; between them a power of the length is assumed.
const LENGTHS: [usize; 3] = [16, 64, 256];

/// Ids of the head that is timed: its cost is that of its rows, whatever their number.
const IDS: usize = 16_384;

/// Knows how fast this machine is. What it does not know it measures when it is first asked.
pub struct Predictor {
    config: Config,
    dtype: DType,
    batch_tokens: usize,
    /// FLOP/s of layers and of the head.
    speeds: OnceCell<Flops>,
    /// Seconds of a packet at [`LENGTHS`] by codec, at the first budget met.
    codecs: RefCell<HashMap<String, [f64; LENGTHS.len()]>>,
}

impl Predictor {
    /// For a model of this shape and type of weights.
    pub fn new(config: &Config, dtype: DType, batch_tokens: usize) -> Self {
        Self { config: config.clone(), dtype, batch_tokens, speeds: OnceCell::new(), codecs: RefCell::default() }
    }

    fn speeds(&self) -> Result<Flops> {
        if let Some(known) = self.speeds.get() {
            return Ok(*known);
        }
        let speeds = self.measure()?;
        Ok(*self.speeds.get_or_init(|| speeds))
    }

    /// Times one layer and a part of the head, on batches as large as a run's up to 2048 rows, whose products are as fast as those of
    /// larger ones.
    fn measure(&self) -> Result<Flops> {
        let Self { config, dtype, batch_tokens, .. } = self;
        let small = Config { num_hidden_layers: 1, vocab_size: config.vocab_size.min(IDS), ..config.clone() };
        let decoder = Decoder::new(&small, &Device::Cpu, DecoderPart::Whole, |_, shape| {
            let matrix = shape.len() > 1;
            Ok(Tensor::full(0.01f32, shape, &Device::Cpu)?.to_dtype(if matrix { *dtype } else { DType::F32 })?)
        })?;
        // Requests of the ten sets have 53 tokens in the mean.
        let tokens = 48.min(config.max_position_embeddings);
        let sequences = (batch_tokens / tokens).clamp(1, 2048 / tokens);
        let packing = Arc::new(Packing::of(vec![tokens; sequences]));
        let hidden = Tensor::full(0.5f32, (packing.rows(), config.hidden_size), &Device::Cpu)?;
        let rows = GroupRows { own: packing.rows() as f64, seen: (sequences * tokens * tokens) as f64, scored: 0.0 };
        let layer = median(|| Ok(black_box(decoder.run_layers(hidden.clone(), &packing, 0..1)?)))?;
        let some = hidden.narrow(0, 0, packing.rows().min(256))?;
        let head = median(|| Ok(black_box(decoder.logits(&some)?)))?;
        let of_head = 2.0 * (some.dim(0)? * small.hidden_size * small.vocab_size) as f64;
        Ok(Flops { layers: rows.layers(config, 1) / layer, head: of_head / head })
    }

    /// FLOP/s of a layer.
    pub fn layer_flops(&self) -> Result<f64> {
        Ok(self.speeds()?.layers)
    }

    /// Of some work.
    pub fn predict(&self, work: &ScoringWork) -> Result<PredictedSeconds> {
        let (client, server) = work.flops(&self.config);
        let speeds = self.speeds()?;
        let seconds = |flops: Flops| flops.layers / speeds.layers + flops.head / speeds.head;
        let groups = groups(work.questions);
        let mut packets: Vec<(Sharing, Vec<usize>)> = Vec::new();
        let mut codec_s = 0.0;
        for (cell, codec) in work.cells {
            let sharing = Sharing::Received(cell.scope);
            if packets.iter().all(|(known, _)| *known != sharing) {
                let sent = |group: &QuestionGroup| -> Vec<usize> {
                    (0..group.sequences())
                        .filter(|&s| s == 0 || group.shared(s, sharing) == 0)
                        .map(|s| group.compressed(s, cell.scope))
                        .collect()
                };
                packets.push((sharing, groups.iter().flat_map(sent).collect()));
            }
            // A program may refuse what it is not made for, and what it takes then says nothing.
            if cell.codec.info().name == EXTERNAL {
                continue;
            }
            let times = self.times(cell, *codec)?;
            let lengths = packets.iter().filter(|(known, _)| *known == sharing).flat_map(|(_, lengths)| lengths);
            codec_s += lengths.map(|&tokens| between(times, tokens)).sum::<f64>();
        }
        let codec_s = codec_s / rayon::current_num_threads() as f64;
        Ok(PredictedSeconds { client_s: seconds(client), codec_s, server_s: seconds(server) })
    }

    fn times(&self, cell: &Cell, codec: &dyn Codec) -> Result<[f64; LENGTHS.len()]> {
        let name = cell.codec.to_string();
        if let Some(known) = self.codecs.borrow().get(&name) {
            return Ok(*known);
        }
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut times = [0.0; LENGTHS.len()];
        for (time, tokens) in times.iter_mut().zip(LENGTHS) {
            let width = self.config.hidden_size;
            let values = (0..tokens * width).map(|_| random.random_range(-1.0f32..1.0)).collect();
            let ids = (0..tokens as u32).map(|id| id % self.config.vocab_size as u32).collect();
            let a = Activation::new(tokens, width, values)?.with_token_ids(ids, self.config.vocab_size)?;
            let trip = || round_trip(codec, &a, cell.budget);
            black_box(trip()?);
            let clock = Instant::now();
            black_box(trip()?);
            *time = clock.elapsed().as_secs_f64().max(1e-9);
        }
        self.codecs.borrow_mut().insert(name, times);
        Ok(times)
    }
}

/// Seconds at so many tokens: a straight line of logarithms through the two nearest.
fn between(times: [f64; LENGTHS.len()], tokens: usize) -> f64 {
    let at = if tokens < LENGTHS[1] { 0 } else { 1 };
    let (from, to) = (LENGTHS[at] as f64, LENGTHS[at + 1] as f64);
    let power = (times[at + 1] / times[at]).ln() / (to / from).ln();
    times[at] * (tokens.max(1) as f64 / from).powf(power)
}

/// Seconds of the median of three, or of more where these are short and fewer where they are long; the first, which meets cold memory,
/// does not count.
fn median<T>(mut act: impl FnMut() -> Result<T>) -> Result<f64> {
    act()?;
    let (mut times, begin) = (Vec::new(), Instant::now());
    let few = |seconds: f64| if seconds < 2.0 { 3 } else { 1 };
    while times.len() < few(begin.elapsed().as_secs_f64()) || (times.len() < 21 && begin.elapsed().as_secs_f64() < 0.1)
    {
        let one = Instant::now();
        act()?;
        times.push(one.elapsed().as_secs_f64());
    }
    Ok(clock::median(&times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Scope;
    use crate::model::SplitPoint;
    use crate::model::source::{POCKET, load_config};
    use splitbench_codec::{Budget, CodecSpec, build};

    fn request(tokens: &[u32], prompt_tokens: usize, targets: usize) -> Request {
        Request { tokens: tokens.to_vec(), prompt_tokens, targets: vec![0; targets] }
    }

    #[test]
    fn operations_are_those_of_the_formula() {
        let c = load_config(POCKET).unwrap();
        let question = [request(&[1, 2, 3, 4], 2, 3), request(&[1, 2, 5], 2, 2)];
        let questions = [&question[..]];
        let (noop, topk) = (CodecSpec::parse("noop").unwrap(), CodecSpec::parse("topk").unwrap());
        let codec = build(&noop, None).unwrap();
        let cell = |after_layer, scope, codec: &CodecSpec| Cell {
            split: SplitPoint { after_layer },
            scope,
            codec: codec.clone(),
            budget: None,
        };
        let (weights, wide) = (memory::layer_weights(&c), (c.num_attention_heads * c.head_dim) as f64);
        let gathered = memory::attention_weights(&c);
        let head = 2.0 * (c.hidden_size * c.vocab_size) as f64;
        // Tokens 1, 2, 3, 4 and then 5 alone; four rows are scored, since both choices follow token 2.
        let (own, seen, scored) = (5.0, (4 * 4 + 3) as f64, 4.0);
        let layer = 2.0 * own * weights + 4.0 * seen * wide;
        let last = 2.0 * (own * gathered + scored * (weights - gathered)) + 4.0 * seen * wide;
        let n = c.num_hidden_layers as f64;

        let unsplit = ScoringWork { questions: &questions, cells: &[], baseline: true };
        let (client, server) = unsplit.flops(&c);
        assert_eq!(client, Flops::default());
        assert_eq!(server, Flops { layers: (n - 1.0) * layer + last, head: scored * head });

        // One packet of the prompt, or a codec that makes the same of the same rows.
        for shared in [cell(1, Scope::Prompt, &topk), cell(1, Scope::PromptAndChoice, &noop)] {
            let work = ScoringWork { questions: &questions, cells: &[(&shared, codec.as_ref())], baseline: false };
            let (client, server) = work.flops(&c);
            assert_eq!(client, Flops { layers: layer, head: 0.0 });
            assert_eq!(server, Flops { layers: (n - 2.0) * layer + last, head: scored * head });
        }

        // After the last layer only the head is left; of a joint codec every choice has its own rows.
        let end = cell(c.num_hidden_layers, Scope::PromptAndChoice, &topk);
        let work = ScoringWork { questions: &questions, cells: &[(&end, codec.as_ref()); 2], baseline: false };
        assert_eq!(
            work.flops(&c),
            (Flops { layers: n * layer, head: 0.0 }, Flops { layers: 0.0, head: 2.0 * 5.0 * head })
        );
    }

    #[test]
    fn between_lengths_a_power_is_assumed() {
        let times = LENGTHS.map(|tokens| 3.0 * (tokens as f64).powf(1.5));
        for tokens in [1, 16, 17, 64, 100, 256, 491] {
            let expected = 3.0 * (tokens as f64).powf(1.5);
            assert!((between(times, tokens) / expected - 1.0).abs() < 1e-12, "{tokens}");
        }
    }

    #[test]
    fn more_work_takes_longer() {
        let c = load_config(POCKET).unwrap();
        let predictor = Predictor::new(&c, DType::F32, 256);
        let question = [request(&[1; 30], 20, 5), request(&[2; 30], 20, 5)];
        let (one, two) = ([&question[..]; 1], [&question[..]; 2]);
        let spec = CodecSpec::parse("fc").unwrap();
        let codec = build(&spec, None).unwrap();
        let split = SplitPoint { after_layer: 1 };
        let budget = Some(Budget::elements(8.0).unwrap());
        let cell = Cell { split, scope: Scope::PromptAndChoice, codec: spec, budget };
        let cells = [(&cell, codec.as_ref())];
        let of = |questions| predictor.predict(&ScoringWork { questions, cells: &cells, baseline: true }).unwrap();
        let (once, twice) = (of(&one), of(&two));
        for (once, twice) in
            [(once.client_s, twice.client_s), (once.codec_s, twice.codec_s), (once.server_s, twice.server_s)]
        {
            assert!(once > 0.0 && (twice / once - 2.0).abs() < 1e-9, "{once} {twice}");
        }
    }
}
