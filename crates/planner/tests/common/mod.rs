//! Random small instances, and their costs by another road: part by part, in the order in which a request meets them.
#![allow(dead_code)]

use splitbench_planner::*;

/// How many random instances a planner is held against.
pub const INSTANCES: u64 = 1_000;

pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-12)
}

fn part(random: &mut SplitMix) -> PartCost {
    let mut phases = |slowest: f64| {
        let prompt_s = random.range(0.001, slowest);
        PhaseSeconds { prompt_s, step_s: prompt_s * random.range(0.01, 0.5) }
    };
    let (client, server) = (phases(0.05), phases(0.02));
    PartCost { client, server, memory_bytes: 1 + random.below(100) as u64 }
}

/// A problem of up to six layers, three codecs, every cut.
pub fn random_problem(random: &mut SplitMix) -> SplitProblem {
    let layers: Vec<PartCost> = (0..1 + random.below(6)).map(|_| part(random)).collect();
    let link = |random: &mut SplitMix| OneWayLink {
        bits_per_s: 10f64.powf(random.range(4.0, 9.0)),
        delay_s: random.range(0.0, 0.05),
    };
    let mut choices = Vec::new();
    for after_layer in 0..layers.len() {
        for (codec, ratio) in [("raw", None), ("fc", Some(8.0)), ("int8", Some(2.0))] {
            let mut crossing = || Crossing {
                bytes: random.range(100.0, 50_000.0),
                encode_s: random.range(0.0, 0.01),
                decode_s: random.range(0.0, 0.01),
            };
            let (prompt, step) = (crossing(), if after_layer > 0 { crossing() } else { Crossing::default() });
            let loss = CutLoss { drop_points: Some(random.range(-0.2, 2.0)), kl_nats: Some(random.range(0.0, 0.1)) };
            choices.push(CutChoice { after_layer, codec: codec.into(), ratio, prompt, step, loss });
        }
    }
    choices.push(local(layers.len()));
    let (embedding, head) = (part(random), part(random));
    SplitProblem {
        shared_bytes: random.below(embedding.memory_bytes.min(head.memory_bytes) as usize + 1) as u64,
        embedding,
        head,
        layers,
        choices,
        up: link(random),
        down: link(random),
        answer_bytes: random.range(0.0, 1_000.0),
        steps: random.below(20),
        power: ClientPower {
            compute_w: random.range(0.0, 5.0),
            send_w: random.range(0.0, 5.0),
            wait_w: random.range(0.0, 1.0),
        },
        limits: CutLimits::default(),
    }
}

/// All layers on the client.
pub fn local(layers: usize) -> CutChoice {
    CutChoice {
        after_layer: layers,
        codec: "none".into(),
        ratio: None,
        prompt: Crossing::default(),
        step: Crossing::default(),
        loss: CutLoss { drop_points: Some(0.0), kl_nats: Some(0.0) },
    }
}

/// What a request meets: seconds on the client, on the way up, on the server, on the way down, and of delay.
#[derive(Default, Clone, Copy)]
pub struct Walk {
    pub client_s: f64,
    pub up_s: f64,
    pub server_s: f64,
    pub down_s: f64,
    pub delay_s: f64,
    pub client_bytes: u64,
    pub server_bytes: u64,
}

impl Walk {
    pub fn total_s(&self) -> f64 {
        self.client_s + self.up_s + self.server_s + self.down_s + self.delay_s
    }
}

/// Goes through the prompt and every step, part by part.
pub fn walk(problem: &SplitProblem, choice: &CutChoice) -> Walk {
    let mut walk = Walk::default();
    let parts: Vec<&PartCost> =
        std::iter::once(&problem.embedding).chain(&problem.layers).chain(std::iter::once(&problem.head)).collect();
    for pass in 0..=problem.steps {
        let crossing = if pass == 0 { choice.prompt } else { choice.step };
        let time = |phases: PhaseSeconds| if pass == 0 { phases.prompt_s } else { phases.step_s };
        for (nth, part) in parts.iter().enumerate() {
            // Part 0 is the embedding, part l is layer l, part N + 1 is the head.
            let last_on_client = match choice.after_layer {
                0 => None,
                cut if cut == problem.layers.len() => Some(cut + 1),
                cut => Some(cut),
            };
            if last_on_client.is_some_and(|last| nth <= last) {
                walk.client_s += time(part.client);
                walk.client_bytes += if pass == 0 { part.memory_bytes } else { 0 };
            } else {
                walk.server_s += time(part.server);
                walk.server_bytes += if pass == 0 { part.memory_bytes } else { 0 };
            }
        }
        if choice.after_layer < problem.layers.len() {
            walk.client_s += crossing.encode_s;
            walk.server_s += crossing.decode_s;
            walk.up_s += crossing.bytes / (problem.up.bits_per_s / 8.0);
            walk.down_s += problem.answer_bytes / (problem.down.bits_per_s / 8.0);
            // The server alone goes on by itself.
            if pass == 0 || choice.after_layer > 0 {
                walk.delay_s += problem.up.delay_s + problem.down.delay_s;
            }
        }
    }
    // Who has both ends has what they share once.
    match choice.after_layer {
        0 => walk.server_bytes -= problem.shared_bytes,
        cut if cut == problem.layers.len() => walk.client_bytes -= problem.shared_bytes,
        _ => {}
    }
    walk
}

/// A decoder whose layers are all alike and send the same, with raw activations at every cut and token ids at cut 0.
pub fn plain_decoder(layers: usize, client_s: f64, server_s: f64, bytes: f64, bits_per_s: f64) -> SplitProblem {
    let phases = |prompt_s: f64| PhaseSeconds { prompt_s, step_s: prompt_s / 10.0 };
    let layer = PartCost { client: phases(client_s), server: phases(server_s), memory_bytes: 100 };
    let choices = (0..layers).map(|after_layer| CutChoice {
        codec: if after_layer == 0 { "token-ids" } else { "raw" }.into(),
        prompt: Crossing { bytes: if after_layer == 0 { bytes / 100.0 } else { bytes }, ..Crossing::default() },
        after_layer,
        ..local(layers)
    });
    let link = OneWayLink { bits_per_s, delay_s: 0.01 };
    SplitProblem {
        embedding: PartCost::default(),
        shared_bytes: 0,
        layers: vec![layer; layers],
        head: PartCost::default(),
        choices: choices.chain([local(layers)]).collect(),
        up: link,
        down: link,
        answer_bytes: 4.0,
        steps: 0,
        power: ClientPower { compute_w: 3.0, send_w: 1.0, wait_w: 0.0 },
        limits: CutLimits::default(),
    }
}
