//! The cut changes nothing: split + noop is the unsplit model bit for bit, and no score depends on its batch or threads.

use candle_core::{Device, Tensor};
use splitbench::codec::{self, Budget, CodecSpec, Packet};
use splitbench::data::{self, Source};
use splitbench::model::split::{from_activations, to_activations};
use splitbench::model::{Config, Decoder, Placement, SplitPoint, source};
use splitbench::score::{Request, encode_requests};

fn pocket_requests(dataset: &str, questions: usize) -> (source::Model, Vec<Request>) {
    let model = source::load("pocket", &Placement::cpu()).unwrap();
    let rows = data::load(dataset, &Source::Embedded, Some(questions)).unwrap();
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
    Decoder::new(&config, &Device::Cpu, |_, shape| {
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

fn noop_equals_unsplit(decoder: &Decoder, batch: &[&[u32]], targets: &[&[u32]]) {
    let noop = codec::build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
    let whole = decoder.unsplit(batch, targets).unwrap();
    let splits: Vec<SplitPoint> =
        (1..=decoder.config().num_hidden_layers).map(|after_layer| SplitPoint { after_layer }).collect();
    for (hidden, &split) in decoder.client(batch, &splits).unwrap().iter().zip(&splits) {
        let received = to_activations(hidden)
            .unwrap()
            .iter()
            .map(|a| {
                let packet = noop.encode(a, Budget::elements(1.0).unwrap()).unwrap();
                noop.decode(&Packet::from_bytes(packet.into_bytes()).unwrap()).unwrap()
            })
            .collect();
        let cut = decoder.server(from_activations(received, hidden).unwrap(), split, targets).unwrap();
        assert_eq!(cut, whole, "after layer {}", split.after_layer);
        let alone = decoder.client(batch, &[split]).unwrap().remove(0);
        assert_eq!(
            alone.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            hidden.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            "one split in a pass and several, after layer {}",
            split.after_layer
        );
    }
}

#[test]
fn noop_at_every_layer_is_the_unsplit_model() {
    let (model, requests) = pocket_requests("arc_easy-mini", 3);
    for request in &requests {
        noop_equals_unsplit(&model.decoder, &[&request.tokens], &[&request.targets]);
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
    let hidden = model.decoder.client(&[&request.tokens], &[split]).unwrap().remove(0);
    let fc = codec::build(&CodecSpec::parse("fc").unwrap(), None).unwrap();
    let activation = to_activations(&hidden).unwrap().remove(0);
    let received = fc.decode(&fc.encode(&activation, Budget::elements(8.0).unwrap()).unwrap()).unwrap();
    let cut =
        model.decoder.server(from_activations(vec![received], &hidden).unwrap(), split, &[&request.targets]).unwrap();
    assert_ne!(
        cut,
        model.decoder.unsplit(&[&request.tokens], &[&request.targets]).unwrap(),
        "compression was not used"
    );
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
        let together = decoder.unsplit(&batch, &targets).unwrap();
        let size = |n: usize| -> Vec<f64> {
            batch.chunks(n).zip(targets.chunks(n)).flat_map(|(b, t)| decoder.unsplit(b, t).unwrap()).collect()
        };
        assert_eq!(size(1), together, "{tokens} tokens, one by one");
        assert_eq!(size(3), together, "{tokens} tokens, by threes");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| size(70)), together, "{tokens} tokens, {threads} threads");
        }
    }
}

/// Later tokens change nothing before them.
#[test]
fn attention_is_causal() {
    let decoder = qwen_like();
    let split = [SplitPoint { after_layer: 4 }];
    let long: Vec<u32> = (0..20).map(|i| i * 7 % 101).collect();
    let whole = to_activations(&decoder.client(&[&long], &split).unwrap()[0]).unwrap().remove(0);
    let part = to_activations(&decoder.client(&[&long[..11]], &split).unwrap()[0]).unwrap().remove(0);
    for token in 0..11 {
        for (a, b) in whole.row(token).iter().zip(part.row(token)) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "token {token}: {a} and {b}");
        }
    }
}

#[test]
fn splits_outside_the_model_and_too_long_requests_are_refused() {
    let decoder = qwen_like();
    for after_layer in [0, 5] {
        let error = decoder.client(&[&[1, 2]], &[SplitPoint { after_layer }]).unwrap_err().to_string();
        assert_eq!(error, format!("split layer {after_layer} is outside 1..=4 of this model"));
    }
    let long = vec![1u32; 513];
    assert!(decoder.embed(&[&long]).unwrap_err().to_string().contains("513 tokens is longer than the model's 512"));
    assert!(decoder.embed(&[&[101]]).unwrap_err().to_string().contains("vocabulary of 101"));
    assert!(decoder.unsplit(&[&[1, 2]], &[&[1, 2, 3]]).unwrap_err().to_string().contains("3 scored tokens"));
}
