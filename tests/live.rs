//! A server and its clients over real sockets on this machine.

use std::time::Duration;

use splitbench::live::address::Address;
use splitbench::live::client::ServerAddress;
use splitbench::live::generate::{ClientHalf, Generation, Generator, SplitSession, UnsplitGenerator};
use splitbench::live::sampler::Sampling;
use splitbench::live::server::{Server, ServerLimits};
use splitbench::model::source::{Model, POCKET, load};
use splitbench::model::{Placement, SplitPoint};
use splitbench_codec::{Accounting, Budget, CodecSpec};

fn pocket() -> Model {
    load(POCKET, &Placement::cpu()).unwrap()
}

/// A server on a free port, until the test ends.
fn serve(model: &Model, layer: usize, limits: ServerLimits) -> ServerAddress {
    let listener = Address::loopback().listen().unwrap();
    let address = listener.address().clone();
    let server = Server::new(model, SplitPoint { after_layer: layer }, listener, None, limits).unwrap();
    std::thread::spawn(move || server.run().unwrap());
    ServerAddress { address, key: None }
}

fn prompt(model: &Model, tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| (i * 37 + 11) % model.config.vocab_size as u32).collect()
}

fn wish<'a>(server: &'a ServerAddress, codec: &str, chunk: usize, sampling: Sampling) -> SplitSession<'a> {
    let budget = Budget { ratio: 4.0, accounting: Accounting::Elements };
    let codec = (CodecSpec::parse(codec).unwrap(), Some(budget));
    SplitSession { server, codecs: [codec.clone(), codec], most_tokens: 120, chunk, sampling }
}

fn generate(generator: &mut dyn Generator, prompt: &[u32]) -> Generation {
    Generation::run(generator, prompt, 40, |_| false, |_| Ok(())).unwrap()
}

#[test]
fn a_split_without_loss_generates_the_unsplit_models_tokens() {
    let model = pocket();
    for (layer, chunk) in [(1, 512), (3, 16), (model.config.num_hidden_layers, 7)] {
        let server = serve(&model, layer, ServerLimits::default());
        let client = ClientHalf::load(&model, None, &server).unwrap();
        assert_eq!(client.split().after_layer, layer);
        for sampling in [Sampling::default(), Sampling { temperature: 0.8, top_p: 0.9, seed: 5 }] {
            let ids = prompt(&model, 50);
            let whole = generate(&mut UnsplitGenerator::new(&model, 120, chunk, sampling).unwrap(), &ids);
            let mut split = client.open(&wish(&server, "noop", chunk, sampling)).unwrap();
            let both = generate(&mut split, &ids);
            assert_eq!(both.ids(), whole.ids(), "layer {layer}, chunks of {chunk}");
            for ((a, _), (b, _)) in both.tokens.iter().zip(&whole.tokens) {
                assert_eq!(a.log_probability, b.log_probability);
            }
            let traffic = split.close().unwrap();
            assert!(traffic.up > 89 * 4 * model.config.hidden_size && traffic.lost == 0);
        }
    }
}

#[test]
fn sessions_side_by_side_do_not_mix() {
    let model = pocket();
    let server = serve(&model, 2, ServerLimits::default());
    let client = ClientHalf::load(&model, Some(2), &server).unwrap();
    let alone: Vec<Vec<u32>> = (1..9)
        .map(|nth| {
            let mut session = client.open(&wish(&server, "int8", 32, Sampling::default())).unwrap();
            generate(&mut session, &prompt(&model, 5 * nth)).ids()
        })
        .collect();
    std::thread::scope(|scope| {
        for (nth, alone) in alone.iter().enumerate() {
            let (client, server, model) = (&client, &server, &model);
            scope.spawn(move || {
                let mut session = client.open(&wish(server, "int8", 32, Sampling::default())).unwrap();
                assert_eq!(&generate(&mut session, &prompt(model, 5 * (nth + 1))).ids(), alone);
                std::thread::sleep(Duration::from_millis(nth as u64));
            });
        }
    });
}
