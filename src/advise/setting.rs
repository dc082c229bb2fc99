//! Two machines, a link and a prompt: what each cut and codec takes, as the planner wants it.

use anyhow::{Result, ensure};
use serde::Serialize;
use splitbench_codec::{CodecSpec, RowScope};
use splitbench_planner::{
    ClientPower, CostTable, Crossing, CutChoice, CutLimits, CutLoss, OneWayLink, PartCost, PhaseSeconds, SplitProblem,
};

use super::loss::SentAs;
use super::profile::{MachineProfile, PartFit};
use crate::live::frame::{ACTIVATION_BYTES, TOKEN_BYTES};
use crate::live::link::LinkProfile;
use crate::model::short_name;

/// The header of a packet of `noop`.
const PLAIN_HEADER_BYTES: f64 = 15.0;

/// Who computes, what is between, and for how many tokens.
#[derive(Debug, Clone)]
pub struct SplitSetting {
    /// Where the prompt comes from.
    pub client: MachineProfile,
    /// Where the head is.
    pub server: MachineProfile,
    /// What is between them.
    pub link: LinkProfile,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens generated, the one after the prompt included.
    pub tokens: usize,
}

/// A codec's way over the cut, and what of it is not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CodecCrossing {
    /// Of the prompt.
    pub prompt: Crossing,
    /// Of one token.
    pub step: Crossing,
    /// Whether one machine's times stand for the other's.
    pub assumed: bool,
}

/// What a codec takes at a cut.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CutTimes {
    /// The cut: after this layer.
    pub after_layer: usize,
    /// What is sent.
    #[serde(flatten)]
    pub sent: SentAs,
    /// Bytes of the prompt, with its frame.
    pub prompt_bytes: f64,
    /// Time to the first token, s.
    pub ttft_s: f64,
    /// Bytes of a step; none of a codec that mixes rows, as a step has one.
    pub step_bytes: Option<f64>,
    /// Time of each later token, s.
    pub step_s: Option<f64>,
    /// Whether codec times of one machine stand for the other's.
    pub assumed: bool,
}

impl SplitSetting {
    /// Fails where the two profiles are of two models, or no token is asked for.
    pub fn check(&self) -> Result<()> {
        let Self { client, server, prompt, tokens, .. } = self;
        ensure!(*prompt > 0, "a prompt has a token at least: give --prompt 1 or more");
        ensure!(*tokens > 0, "give --tokens 1 or more: the first comes with the prompt");
        let (here, there) = (&client.model, &server.model);
        ensure!(
            (here.layers, here.hidden) == (there.layers, there.hidden)
                && (here.sha256.is_empty() || there.sha256.is_empty() || here.sha256 == there.sha256),
            "the client's profile is of {} ({} layers of {} channels) and the server's of {} ({} of {}): profile one model on both \
             machines",
            here.name,
            here.layers,
            here.hidden,
            there.name,
            there.layers,
            there.hidden
        );
        Ok(())
    }

    /// Layers of the model.
    pub fn layers(&self) -> usize {
        self.client.model.layers
    }

    /// Steps after the first token.
    pub fn steps(&self) -> usize {
        self.tokens - 1
    }

    /// Tokens before a step, in the mean.
    fn seen(&self) -> f64 {
        self.prompt as f64 + self.steps() as f64 / 2.0
    }

    fn seconds(&self, part: &PartFit) -> PhaseSeconds {
        PhaseSeconds { prompt_s: part.prompt.seconds(self.prompt as f64), step_s: part.step.seconds(self.seen()) }
    }

    fn part(&self, of: impl Fn(&MachineProfile) -> &PartFit, memory_bytes: u64) -> PartCost {
        let (client, server) = (self.seconds(of(&self.client)), self.seconds(of(&self.server)));
        PartCost { client, server, memory_bytes }
    }

    /// What a codec sends and takes; none where neither machine's profile has it. Encoding is the client's, decoding the server's.
    pub fn crossing(&self, sent: &SentAs) -> Option<CodecCrossing> {
        let find = |machine: &'_ MachineProfile| machine.codec(&sent.codec, sent.ratio, &sent.accounting).cloned();
        let (here, there) = (find(&self.client), find(&self.server));
        let plain = [(SentAs::exact(), 4.0), (SentAs::half(), 2.0)].into_iter().find(|(plain, _)| plain == sent);
        if let (None, None, Some((_, value_bytes))) = (&here, &there, plain) {
            // Values as they are: a copy.
            let crossing = |tokens: usize| Crossing {
                bytes: value_bytes * (tokens * self.client.model.hidden) as f64
                    + PLAIN_HEADER_BYTES
                    + ACTIVATION_BYTES as f64,
                ..Crossing::default()
            };
            return Some(CodecCrossing { prompt: crossing(self.prompt), step: crossing(1), assumed: true });
        }
        let assumed = here.is_none() || there.is_none();
        let (encodes, decodes) = (here.as_ref().or(there.as_ref())?, there.as_ref().or(here.as_ref())?);
        let crossing = |tokens: f64| {
            let sent = encodes.at(tokens);
            Crossing {
                bytes: sent.bytes + ACTIVATION_BYTES as f64,
                encode_s: 1e-6 * sent.encode_us,
                decode_s: 1e-6 * decodes.at(tokens).decode_us,
            }
        };
        Some(CodecCrossing { prompt: crossing(self.prompt as f64), step: crossing(1.0), assumed })
    }

    /// The planner's problem with such choices.
    pub fn problem(&self, choices: Vec<CutChoice>, power: ClientPower, limits: CutLimits) -> SplitProblem {
        let model = &self.client.model;
        let cache = model.cache_bytes_per_token.saturating_mul(self.prompt.saturating_add(self.tokens) as u64);
        let rate =
            |bits_per_s: u64| OneWayLink { bits_per_s: bits_per_s as f64, delay_s: self.link.delay.as_secs_f64() };
        SplitProblem {
            embedding: self.part(|machine| &machine.embedding, model.embedding_bytes),
            layers: vec![self.part(|machine| &machine.layer, model.layer_bytes + cache); model.layers],
            head: self.part(|machine| &machine.head, model.head_bytes),
            shared_bytes: if model.tied { model.embedding_bytes.min(model.head_bytes) } else { 0 },
            choices,
            up: rate(self.link.up_bits_per_s),
            down: rate(self.link.down_bits_per_s),
            answer_bytes: TOKEN_BYTES as f64,
            steps: self.steps(),
            power,
            limits,
        }
    }

    /// What a codec takes at a cut, whatever it loses; none without a profile of it, or where all layers are on the client.
    pub fn times(&self, after_layer: usize, sent: &SentAs) -> Result<Option<CutTimes>> {
        let Some(crossing) = self.crossing(sent).filter(|_| (1..self.layers()).contains(&after_layer)) else {
            return Ok(None);
        };
        let CodecCrossing { prompt, step, .. } = crossing;
        let loss = CutLoss::default();
        let choice = CutChoice { after_layer, codec: sent.to_string(), ratio: None, prompt, step, loss };
        let problem = self.problem(vec![choice.clone()], ClientPower::default(), CutLimits::default());
        let cost = CostTable::new(&problem)?.cost(&choice);
        let local = CodecSpec::parse(&sent.codec).is_ok_and(|spec| spec.rows() == RowScope::Local);
        Ok(Some(CutTimes {
            after_layer,
            sent: sent.clone(),
            prompt_bytes: prompt.bytes,
            ttft_s: cost.ttft_s,
            step_bytes: local.then_some(step.bytes),
            step_s: local.then_some(cost.step_s),
            assumed: crossing.assumed,
        }))
    }

    /// The whole model on the server: text crosses, four bytes a token.
    pub fn server_alone(&self) -> CutChoice {
        let crossing =
            |tokens: usize| Crossing { bytes: 4.0 * tokens as f64 + ACTIVATION_BYTES as f64, ..Crossing::default() };
        // After the prompt the server goes on by itself: each step only brings a token back.
        let step = Crossing::default();
        end(0, "server alone", crossing(self.prompt), step)
    }

    /// The whole model on the client: nothing crosses.
    pub fn client_alone(&self) -> CutChoice {
        end(self.layers(), "client alone", Crossing::default(), Crossing::default())
    }

    /// By how much two cuts may be apart from what is predicted, s, as the fits of layers have residuals.
    pub fn uncertainty_s(&self, layers: usize) -> f64 {
        let of = |machine: &MachineProfile| {
            let PartFit { prompt, step } = &machine.layer;
            let PhaseSeconds { prompt_s, step_s } = self.seconds(&machine.layer);
            prompt.worst_residual * prompt_s + step.worst_residual * step_s * self.steps() as f64
        };
        layers as f64 * (of(&self.client) + of(&self.server))
    }

    /// In words.
    pub fn describe(&self) -> String {
        let mbps = |bits: u64| bits as f64 / 1e6;
        let LinkProfile { name, up_bits_per_s, down_bits_per_s, delay, .. } = &self.link;
        format!(
            "{}, {} tokens of prompt and {} generated, over {name} ({} Mbit/s up, {} down, {} ms one way)",
            short_name(&self.client.model.name, std::iter::empty()),
            self.prompt,
            self.tokens,
            mbps(*up_bits_per_s),
            mbps(*down_bits_per_s),
            delay.as_secs_f64() * 1e3
        )
    }
}

fn end(after_layer: usize, name: &str, prompt: Crossing, step: Crossing) -> CutChoice {
    let loss = CutLoss { drop_points: Some(0.0), kl_nats: Some(0.0) };
    CutChoice { after_layer, codec: name.into(), ratio: None, prompt, step, loss }
}
