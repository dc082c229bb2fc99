//! What decides a cut, and the fact that a plain decoder is cut at an end.

mod common;

use common::{INSTANCES, plain_decoder};
use splitbench_planner::*;

/// 200 Mbit/s, a server ten times as quick.
fn decoder() -> SplitProblem {
    let mut problem = plain_decoder(8, 0.010, 0.001, 200e3, 200e6);
    problem.choices.retain(|choice| choice.after_layer > 0);
    problem
}

fn reasons(problem: &SplitProblem) -> (usize, Vec<CutReason>) {
    let decision = decide(problem, CutObjective::Response).unwrap();
    (decision.plan.choice.after_layer, decision.reasons)
}

#[test]
fn a_plain_decoder_is_cut_at_an_end_whatever_the_rates() {
    let mut counts = [0; 2];
    for seed in 0..INSTANCES {
        let mut random = SplitMix::new(seed);
        let mut time = || random.range(0.0001, 0.05);
        let (client_s, server_s) = (time(), time());
        let mut problem = plain_decoder(
            3 + random.below(30),
            client_s,
            server_s,
            random.range(1e3, 1e6),
            10f64.powf(random.range(4.0, 10.0)),
        );
        let layers = problem.layers.len();
        for objective in [CutObjective::Response, CutObjective::ClientEnergy] {
            assert!(decide(&problem, objective).unwrap().is_end, "seed {seed}");
        }
        // Without the ends at which nothing or only ids cross: the first or the last cut.
        problem.choices.retain(|choice| (1..layers).contains(&choice.after_layer));
        let decision = decide(&problem, CutObjective::Response).unwrap();
        let cut = decision.plan.choice.after_layer;
        assert_eq!(cut, if client_s > server_s { 1 } else { layers - 1 }, "seed {seed}");
        assert!(decision.is_end && decision.reasons.is_empty(), "seed {seed}: {:?}", decision.reasons);
        counts[usize::from(cut == 1)] += 1;
    }
    assert!(counts.iter().all(|&count| count > 100), "{counts:?}");
}

#[test]
fn each_reason_is_named_where_it_decides() {
    // Without any: the paper's layer 1.
    assert_eq!(reasons(&decoder()), (1, vec![]));

    let mut problem = decoder();
    problem.limits.min_layer = 3;
    assert_eq!(reasons(&problem), (3, vec![CutReason::Privacy]));

    let mut problem = decoder();
    problem.limits.server_memory_bytes = Some(500);
    assert_eq!(reasons(&problem), (3, vec![CutReason::Memory]));

    let mut problem = decoder();
    problem.limits.loss = Some(LossLimit::KlNats(0.02));
    for choice in &mut problem.choices {
        choice.loss.kl_nats = Some([0.0, 0.09, 0.05, 0.03, 0.01, 0.01, 0.01, 0.01, 0.0][choice.after_layer]);
    }
    assert_eq!(reasons(&problem), (4, vec![CutReason::Loss]));

    let mut problem = decoder();
    // A head that the client has not to load: 0.2 s less there than on the server.
    problem.head.server.prompt_s = 0.2;
    assert_eq!(reasons(&problem), (8, vec![CutReason::HeadAndEmbedding]));

    let mut problem = decoder();
    problem.up.bits_per_s = 25e6;
    problem.choices[4].prompt.bytes = 2e3;
    assert_eq!(reasons(&problem), (5, vec![CutReason::Bytes]));

    let mut problem = decoder();
    for layer in &mut problem.layers[1..4] {
        layer.client.prompt_s = 0.0005;
    }
    assert_eq!(reasons(&problem), (4, vec![CutReason::LayerTimes]));
}

#[test]
fn throughput_is_a_matter_of_balance() {
    let problem = plain_decoder(9, 0.002, 0.001, 1e3, 1e9);
    let decision = decide(&problem, CutObjective::Throughput).unwrap();
    // 3 layers of 2 ms on the client, 6 of 1 ms on the server.
    assert_eq!(decision.plan.choice.after_layer, 3);
    assert!(!decision.is_end && decision.reasons == [CutReason::Balance], "{:?}", decision.reasons);
    assert_eq!(
        decision.to_string(),
        "cut after layer 3: decided by the balance of client, link and server under many requests"
    );
}

#[test]
fn a_decision_is_a_sentence() {
    let decision = decide(&decoder(), CutObjective::Response).unwrap();
    assert_eq!(decision.to_string(), "cut after layer 1: an end, as no limit binds");
}
