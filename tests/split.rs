//! The cut changes nothing: split + noop is the unsplit model bit for bit, and no score depends on its batch or threads.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use splitbench::data::{self, RowSource};
use splitbench::experiment::{Cell, Scope, ScoreRequest, score_in_memory};
use splitbench::model::split::{activation, from_values, to_values};
use splitbench::model::{Config, Continuation, Decoder, DecoderPart, Packing, Placement, SplitPoint, source};
use splitbench::record::{Indicators, Row};
use splitbench::score::{Request, encode_dataset, encode_requests};
use splitbench_codec::{self as codec, Activation, Budget, CodecSpec, Delivery, Packet};

fn pocket_requests(dataset: &str, questions: usize) -> (source::Model, Vec<Request>) {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let rows = data::find(dataset).unwrap().load(&RowSource::Embedded, Some(questions)).unwrap();
    let requests = rows.questions.iter().flat_map(|q| encode_requests(&model.tokenizer, q).unwrap()).collect();
    (model, requests)
}

/// A seeded decoder with biases, an untied head and a 7 to 1 head ratio, which the pocket model does not have.
fn qwen_like() -> Decoder {
    let config = Config::parse(
        r#"{"architectures":["Qwen2ForCausalLM"],"vocab_size":101,"hidden_size":56,"intermediate_size":72,
        "num_hidden_layers":4,"num_attention_heads":7,"num_key_value_heads":1,"rms_norm_eps":1e-6,"rope_theta":1e6,
        "max_position_embeddings":512,"tie_word_embeddings":false}"#,
        "test",
    )
    .unwrap();
    let mut state = 1u32;
    Decoder::new(&config, &Device::Cpu, DecoderPart::Whole, |_, shape| {
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 * 0.6 - 0.3
            })
            .collect();
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    })
    .unwrap()
}

/// Sequences one under another, and what to score of them.
fn packed<'a>(sequences: &[&[u32]], targets: &[&'a [u32]]) -> (Vec<u32>, Arc<Packing>, Vec<Continuation<'a>>) {
    let packing = Packing::of(sequences.iter().map(|ids| ids.len()));
    let scored = targets.iter().enumerate().map(|(sequence, targets)| Continuation { sequence, targets }).collect();
    (sequences.concat(), Arc::new(packing), scored)
}

fn unsplit(decoder: &Decoder, sequences: &[&[u32]], targets: &[&[u32]]) -> Vec<f64> {
    let (ids, packing, scored) = packed(sequences, targets);
    decoder.unsplit(&ids, &packing, &scored).unwrap()
}

fn noop_equals_unsplit(decoder: &Decoder, sequences: &[&[u32]], targets: &[&[u32]]) {
    let noop = codec::build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
    let (ids, packing, scored) = packed(sequences, targets);
    let whole = decoder.unsplit(&ids, &packing, &scored).unwrap();
    let splits: Vec<SplitPoint> =
        (1..=decoder.config().num_hidden_layers).map(|after_layer| SplitPoint { after_layer }).collect();
    for (hidden, &split) in decoder.client(&ids, &packing, &splits).unwrap().iter().zip(&splits) {
        let values = to_values(hidden).unwrap();
        let received: Vec<f32> = (0..sequences.len())
            .flat_map(|sequence| {
                let sent = activation(&values, &packing, sequence).unwrap();
                let packet = noop.encode(&sent, Some(Budget::elements(1.0).unwrap())).unwrap();
                noop.decode(&Packet::from_bytes(packet.into_bytes()).unwrap()).unwrap().into_values()
            })
            .collect();
        let received = from_values(received, packing.rows(), decoder).unwrap();
        assert_eq!(decoder.server(received, &packing, split, &scored).unwrap(), whole, "after {}", split.after_layer);
        let alone = decoder.client(&ids, &packing, &[split]).unwrap().remove(0);
        assert_eq!(to_values(&alone).unwrap(), values, "one split in a pass and several, {}", split.after_layer);
    }
}

#[test]
fn noop_at_every_layer_is_the_unsplit_model() {
    let (model, requests) = pocket_requests("arc_easy-mini", 3);
    for request in &requests {
        noop_equals_unsplit(model.decoder().unwrap(), &[&request.tokens], &[&request.targets]);
    }
    let decoder = qwen_like();
    for tokens in [1usize, 2, 3, 5, 17, 40] {
        let a: Vec<u32> = (0..tokens as u32).map(|i| i * 13 % 101).collect();
        let b: Vec<u32> = (0..tokens as u32).map(|i| i * 29 % 101).collect();
        noop_equals_unsplit(&decoder, &[&a, &b], &[&[7], &b]);
    }
}

#[test]
fn a_lossy_codec_is_not_the_unsplit_model() {
    let (model, requests) = pocket_requests("arc_easy-mini", 1);
    let (request, split) = (&requests[0], SplitPoint { after_layer: 1 });
    let (ids, packing, scored) = packed(&[&request.tokens], &[&request.targets]);
    let hidden = model.decoder().unwrap().client(&ids, &packing, &[split]).unwrap().remove(0);
    let fc = codec::build(&CodecSpec::parse("fc").unwrap(), None).unwrap();
    let sent = activation(&to_values(&hidden).unwrap(), &packing, 0).unwrap();
    let received = fc.decode(&fc.encode(&sent, Some(Budget::elements(8.0).unwrap())).unwrap()).unwrap();
    let received = from_values(received.into_values(), ids.len(), model.decoder().unwrap()).unwrap();
    let cut = model.decoder().unwrap().server(received, &packing, split, &scored).unwrap();
    assert_ne!(cut, model.decoder().unwrap().unsplit(&ids, &packing, &scored).unwrap(), "compression was not used");
}

/// Alone, in pairs and in a large batch; with one thread and with several.
#[test]
fn a_score_does_not_depend_on_batch_or_threads() {
    let decoder = qwen_like();
    for tokens in [1usize, 2, 4, 9, 33] {
        let ids: Vec<Vec<u32>> =
            (0..70u32).map(|b| (0..tokens as u32).map(|i| (b * 17 + i * 31 + b * i) % 101).collect()).collect();
        let batch: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
        let targets: Vec<&[u32]> = ids.iter().map(|i| &i[..1]).collect();
        let together = unsplit(&decoder, &batch, &targets);
        let size = |n: usize| -> Vec<f64> {
            batch.chunks(n).zip(targets.chunks(n)).flat_map(|(b, t)| unsplit(&decoder, b, t)).collect()
        };
        assert_eq!(size(1), together, "{tokens} tokens, one by one");
        assert_eq!(size(3), together, "{tokens} tokens, by threes");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| size(70)), together, "{tokens} tokens, {threads} threads");
        }
    }
}

/// Later tokens change no bit before them, and a sequence that shares its beginning has the bits of a whole one: also
/// where sums are long enough for a library to cut them into parts.
#[test]
fn shared_beginnings_change_nothing() {
    let decoder = qwen_like();
    let split = [SplitPoint { after_layer: 4 }];
    let trunk: Vec<u32> = (0..420).map(|i| i * 7 % 101).collect();
    let branch = |shared: usize, own: u32| -> Vec<u32> {
        trunk[..shared].iter().copied().chain((0..own).map(|i| (i * 11 + 5) % 101)).collect()
    };
    let branches = [(1, 3), (11, 9), (400, 2), (419, 40), (420, 1), (200, 0)];
    let mut packing = Packing::of([trunk.len()]);
    let mut ids = trunk.clone();
    for (shared, own) in branches {
        packing.push_branch(0, shared, own as usize);
        ids.extend(&branch(shared, own)[shared..]);
    }
    let packing = Arc::new(packing);
    let values = to_values(&decoder.client(&ids, &packing, &split).unwrap()[0]).unwrap();
    let target = [7];
    let scored: Vec<Continuation> =
        (0..=branches.len()).map(|sequence| Continuation { sequence, targets: &target }).collect();
    let logliks = decoder.unsplit(&ids, &packing, &scored).unwrap();
    for (sequence, (shared, own)) in [(420, 0)].into_iter().chain(branches).enumerate() {
        let ids = branch(shared, own);
        let (ids, alone, scored) = packed(&[&ids], &[&target]);
        let values_alone = to_values(&decoder.client(&ids, &alone, &split).unwrap()[0]).unwrap();
        assert_eq!(activation(&values, &packing, sequence).unwrap().values(), values_alone, "{shared} and {own}");
        assert_eq!(decoder.unsplit(&ids, &alone, &scored).unwrap()[0], logliks[sequence], "{shared} and {own}");
    }
}

#[test]
fn splits_outside_the_model_and_too_long_requests_are_refused() {
    let decoder = qwen_like();
    for after_layer in [0, 5] {
        let (ids, packing, _) = packed(&[&[1, 2]], &[]);
        let error = decoder.client(&ids, &packing, &[SplitPoint { after_layer }]).unwrap_err().to_string();
        assert_eq!(error, format!("split layer {after_layer} is outside 1..=4 of this model"));
    }
    let error = |ids: &[u32], targets: &[u32]| {
        let (ids, packing, scored) = packed(&[ids], &[targets]);
        decoder.unsplit(&ids, &packing, &scored).unwrap_err().to_string()
    };
    assert!(error(&[1; 513], &[1]).contains("513 tokens is longer than the model's 512"));
    assert!(error(&[101], &[1]).contains("vocabulary of 101"));
    assert!(error(&[1, 2], &[1, 2, 3]).contains("3 scored tokens"));
}

/// What a run does with shared prompts, many cells and batches of any size is what one request at a time gives.
#[test]
fn a_run_scores_each_request_as_if_it_were_alone() {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let split = SplitPoint { after_layer: 2 };
    // Choices of many tokens, of one token, and behind different prompts.
    for name in ["arc_easy-mini", "commonsense_qa-mini", "winogrande-mini"] {
        let dataset = data::find(name).unwrap().load(&RowSource::Embedded, Some(3)).unwrap();
        let cells: Vec<Cell> = [Scope::PromptAndChoice, Scope::Prompt]
            .into_iter()
            .flat_map(|scope| {
                ["fc", "topk", "int8"].map(|codec| {
                    let codec = CodecSpec::parse(codec).unwrap();
                    let budget = (codec.name() != "int8").then(|| Budget::elements(3.0).unwrap());
                    Cell { split, scope, budget, codec }
                })
            })
            .collect();
        let alone = |request: &Request, cell: &Cell| -> (f64, usize) {
            let (ids, packing, scored) = packed(&[&request.tokens], &[&request.targets]);
            let values = to_values(&model.decoder().unwrap().client(&ids, &packing, &[split]).unwrap()[0]).unwrap();
            let rows = if cell.scope == Scope::Prompt { request.prompt_tokens } else { ids.len() };
            let width = values.len() / ids.len();
            let sent = Activation::new(rows, width, values[..rows * width].to_vec()).unwrap();
            let codec = codec::build(&cell.codec, None).unwrap();
            let packet = codec.encode(&sent, Some(Budget::elements(3.0).unwrap())).unwrap();
            let mut received = codec.decode(&packet).unwrap().into_values();
            received.extend_from_slice(&values[rows * width..]);
            let received = from_values(received, ids.len(), model.decoder().unwrap()).unwrap();
            (model.decoder().unwrap().server(received, &packing, split, &scored).unwrap()[0], packet.len())
        };
        for batch_tokens in [1, 90, 100_000] {
            let request = ScoreRequest {
                experiment: "test",
                model: &model,
                dataset: &dataset,
                requests: &encode_dataset(&model.tokenizer, &dataset).unwrap(),
                train: &[],
                calibrations: None,
                cells: &cells,
                limit: None,
                shard: None,
                batch_tokens,
                // Following errors behind the cut changes no bit either.
                predictor: None,
                probe: (batch_tokens == 90).then(|| Budget::elements(3.0).unwrap()),
            };
            let (_, samples) = score_in_memory(&request).unwrap();
            for (nth, question) in dataset.questions.iter().enumerate() {
                let requests = encode_requests(&model.tokenizer, question).unwrap();
                let whole: Vec<f64> = requests
                    .iter()
                    .map(|r| unsplit(model.decoder().unwrap(), &[&r.tokens], &[&r.targets])[0])
                    .collect();
                assert_eq!(samples[0][nth].loglik, whole, "{name} {nth}");
                for (cell, samples) in cells.iter().zip(&samples[1..]) {
                    let (logliks, bytes): (Vec<f64>, Vec<usize>) = requests.iter().map(|r| alone(r, cell)).unzip();
                    assert_eq!(samples[nth].loglik, logliks, "{name} {nth}, {cell}, {batch_tokens}");
                    let sent = samples[nth].codec.as_ref().unwrap().wire_bytes;
                    assert_eq!(sent, bytes.iter().sum::<usize>() as u64, "{name} {nth}, {cell}");
                }
            }
        }
    }
}

/// Indicators of the request's cells, in their order.
fn indicators(cells: &[Cell], dataset: &str) -> (Vec<Row>, Vec<Indicators>) {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let dataset = data::find(dataset).unwrap().load(&RowSource::Embedded, Some(2)).unwrap();
    let request = ScoreRequest {
        experiment: "test",
        model: &model,
        dataset: &dataset,
        requests: &encode_dataset(&model.tokenizer, &dataset).unwrap(),
        train: &[],
        calibrations: None,
        cells,
        limit: None,
        shard: None,
        batch_tokens: 200,
        predictor: None,
        probe: Some(Budget::elements(8.0).unwrap()),
    };
    let (run, _) = score_in_memory(&request).unwrap();
    (run.rows[1..].to_vec(), run.indicators)
}

fn cells(codecs: &[&str], layers: std::ops::RangeInclusive<usize>, scope: Scope) -> Vec<Cell> {
    let cell = |after_layer, codec: &&str| {
        let codec = CodecSpec::parse(codec).unwrap();
        let budget = (codec.name() != "noop").then(|| Budget::elements(8.0).unwrap());
        Cell { split: SplitPoint { after_layer }, scope, budget, codec }
    };
    layers.flat_map(|layer| codecs.iter().map(move |codec| cell(layer, codec))).collect()
}

#[test]
fn errors_begin_at_the_cut_and_noop_has_none_behind_it() {
    for scope in [Scope::PromptAndChoice, Scope::Prompt] {
        let cells = cells(&["noop", "fc"], 1..=6, scope);
        let (rows, found) = indicators(&cells, "piqa-mini");
        assert_eq!(found.len(), cells.len());
        for ((cell, row), found) in cells.iter().zip(&rows).zip(&found) {
            let layers = 6 - cell.split.after_layer + 1;
            assert!(found.is_of(row) && found.errors.len() == layers, "{cell}: {:?}", found.errors);
            if cell.codec.name() == "noop" {
                assert_eq!((found.errors.clone(), found.loglik_change), (vec![0.0; layers], 0.0), "{cell}");
                assert!(found.low_band > 0.0 && found.low_band < 1.0, "{cell}: {}", found.low_band);
                continue;
            }
            assert!(found.errors.iter().all(|error| *error > 0.0) && found.loglik_change > 0.0, "{cell}");
            if scope == Scope::PromptAndChoice {
                assert_eq!(found.errors[0], row.rel_error.unwrap(), "{cell}: all rows went through the codec");
            } else {
                assert!(found.errors[0] < row.rel_error.unwrap(), "{cell}: the choice's rows have no error at the cut");
            }
        }
    }
}

#[test]
fn errors_behind_the_cut_are_those_of_each_request_alone() {
    let (model, requests) = pocket_requests("siqa-mini", 2);
    let cells = cells(&["topk"], 3..=3, Scope::PromptAndChoice);
    let (_, found) = indicators(&cells, "siqa-mini");
    let split = cells[0].split;
    let topk = codec::build(&cells[0].codec, None).unwrap();
    let mut sums = [0f64; 4];
    for request in &requests {
        let (ids, packing, _) = packed(&[&request.tokens], &[]);
        let mut whole = model.decoder().unwrap().client(&ids, &packing, &[split]).unwrap().remove(0);
        let sent = activation(&to_values(&whole).unwrap(), &packing, 0).unwrap();
        let received = topk.decode(&topk.encode(&sent, cells[0].budget).unwrap()).unwrap();
        let mut received = from_values(received.into_values(), ids.len(), model.decoder().unwrap()).unwrap();
        for (nth, sum) in sums.iter_mut().enumerate() {
            if nth > 0 {
                let layer = split.after_layer + nth;
                whole = model.decoder().unwrap().run_layers(whole, &packing, layer - 1..layer).unwrap();
                received = model.decoder().unwrap().run_layers(received, &packing, layer - 1..layer).unwrap();
            }
            let part = |stream: &Tensor| activation(&to_values(stream).unwrap(), &packing, 0).unwrap();
            *sum += part(&whole).rel_error(&part(&received));
        }
    }
    for (error, sum) in found[0].errors.iter().zip(sums) {
        assert!((error - sum / requests.len() as f64).abs() < 1e-12, "{error} and {sum}");
    }
}

/// The server makes of the ids it received what the client had made of them among others, bit for bit.
#[test]
fn the_client_half_makes_the_same_of_token_ids_anywhere() {
    let (model, requests) = pocket_requests("openbookqa-mini", 3);
    let layers = model.config.num_hidden_layers;
    let splits: Vec<SplitPoint> = (1..=layers).map(|after_layer| SplitPoint { after_layer }).collect();
    let sequences: Vec<&[u32]> = requests.iter().map(|request| request.tokens.as_slice()).collect();
    let (ids, packing, _) = packed(&sequences, &[]);
    let computed = model.decoder().unwrap().client(&ids, &packing, &splits).unwrap();
    let codec = codec::build(&CodecSpec::parse("token-ids").unwrap(), None).unwrap();
    for (sequence, tokens) in sequences.iter().enumerate() {
        for (&split, hidden) in splits.iter().zip(&computed) {
            let sent = activation(&to_values(hidden).unwrap(), &packing, sequence).unwrap();
            let sent = sent.with_token_ids(tokens.to_vec(), model.config.vocab_size).unwrap();
            let packet = codec.encode(&sent, Some(Budget::elements(1.0).unwrap())).unwrap();
            let packet = Packet::from_bytes(packet.into_bytes()).unwrap();
            let Delivery::TokenIds(found) = codec.receive(&packet).unwrap() else { panic!("no token ids") };
            let (ids, alone, _) = packed(&[&found.ids], &[]);
            let again = model.decoder().unwrap().client(&ids, &alone, &[split]).unwrap().remove(0);
            assert_eq!(to_values(&again).unwrap(), sent.values(), "sequence {sequence} after {}", split.after_layer);
        }
    }
}

#[test]
fn token_ids_lose_nothing_and_only_those_that_cross_are_sent() {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let dataset = data::find("siqa-mini").unwrap().load(&RowSource::Embedded, Some(3)).unwrap();
    let codec = CodecSpec::parse("token-ids").unwrap();
    let cells = [Scope::PromptAndChoice, Scope::Prompt].map(|scope| Cell {
        split: SplitPoint { after_layer: 2 },
        scope,
        budget: None,
        codec: codec.clone(),
    });
    let request = ScoreRequest {
        experiment: "test",
        model: &model,
        dataset: &dataset,
        requests: &encode_dataset(&model.tokenizer, &dataset).unwrap(),
        train: &[],
        calibrations: None,
        cells: &cells,
        limit: None,
        shard: None,
        batch_tokens: 200,
        predictor: None,
        probe: None,
    };
    let (run, of_cells) = score_in_memory(&request).unwrap();
    let bits = (model.config.vocab_size - 1).ilog2() as usize + 1;
    for ((cell, samples), row) in cells.iter().zip(&of_cells[1..]).zip(&run.rows[1..]) {
        assert_eq!((row.rel_error, row.lost, row.gained), (Some(0.0), Some(0), Some(0)), "{cell}");
        for ((sample, baseline), question) in samples.iter().zip(&of_cells[0]).zip(&dataset.questions) {
            assert_eq!(sample.loglik, baseline.loglik, "{cell}");
            let requests = encode_requests(&model.tokenizer, question).unwrap();
            let bytes = |request: &Request| {
                let whole = cell.scope == Scope::PromptAndChoice;
                let crossing = if whole { request.tokens.len() } else { request.prompt_tokens };
                (15 + 4 + (crossing * bits).div_ceil(8)) as u64
            };
            assert_eq!(sample.codec.as_ref().unwrap().wire_bytes, requests.iter().map(bytes).sum::<u64>(), "{cell}");
        }
    }
}
