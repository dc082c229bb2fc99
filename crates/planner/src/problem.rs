//! What planners for a client and a server are given.

use std::fmt;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::check;
use crate::link::OneWayLink;

/// Seconds of a part of the model on one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseSeconds {
    /// For the whole prompt, s.
    pub prompt_s: f64,
    /// For one generated token, s.
    pub step_s: f64,
}

/// What a part of the model costs: the embedding, a layer, or the final norm with the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PartCost {
    /// Its time on the client.
    pub client: PhaseSeconds,
    /// Its time on the server.
    pub server: PhaseSeconds,
    /// Its weights and its cache at the longest context, bytes.
    pub memory_bytes: u64,
}

/// What crosses the cut in one phase, and the codec's time for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    /// Bytes of the packet, a mean over requests.
    pub bytes: f64,
    /// Encoding on the client, s.
    pub encode_s: f64,
    /// Decoding on the server, s.
    pub decode_s: f64,
}

/// How far a choice moves the model's output; each is empty where it was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CutLoss {
    /// Accuracy lost against the uncut model, percentage points; below zero where it rose.
    pub drop_points: Option<f64>,
    /// Mean Kullback-Leibler divergence from the uncut model's output, nats per token.
    pub kl_nats: Option<f64>,
}

/// One cut with one codec at one ratio. A codec for the prompt and another for steps are one choice with both crossings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CutChoice {
    /// Layers on the client, 0 to N. At 0 the client only sends its prompt, and the server goes on by itself; at N nothing crosses.
    pub after_layer: usize,
    /// Name of the codec.
    pub codec: String,
    /// Its ratio; empty where it has none.
    pub ratio: Option<f64>,
    /// What crosses for the prompt.
    pub prompt: Crossing,
    /// What crosses for each further token.
    pub step: Crossing,
    /// What it does to the output.
    pub loss: CutLoss,
}

/// Power that the client draws, W.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientPower {
    /// While it computes or encodes, W.
    pub compute_w: f64,
    /// While it sends, W.
    pub send_w: f64,
    /// While it waits for the link's delay and the server, W. Neurosurgeon counts none: 0.
    pub wait_w: f64,
}

/// The most that a choice may lose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LossLimit {
    /// Accuracy, percentage points.
    DropPoints(f64),
    /// Mean KL divergence, nats per token.
    KlNats(f64),
}

impl LossLimit {
    /// Its number.
    pub fn most(self) -> f64 {
        let (Self::DropPoints(most) | Self::KlNats(most)) = self;
        most
    }

    /// The same measure of a choice; empty where it was not measured.
    pub fn value(self, loss: &CutLoss) -> Option<f64> {
        match self {
            Self::DropPoints(_) => loss.drop_points,
            Self::KlNats(_) => loss.kl_nats,
        }
    }

    /// Its unit, as it stands behind a number.
    pub fn unit(self) -> &'static str {
        match self {
            Self::DropPoints(_) => "points of accuracy",
            Self::KlNats(_) => "nats per token",
        }
    }
}

/// What a choice must keep to; each is empty, or 0, where it does not bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CutLimits {
    /// Memory of the client, bytes.
    pub client_memory_bytes: Option<u64>,
    /// Memory of the server, bytes.
    pub server_memory_bytes: Option<u64>,
    /// Layers that must stay on the client, for privacy.
    pub min_layer: usize,
    /// The most that may be lost.
    pub loss: Option<LossLimit>,
}

/// A model, a client, a server and a link, and the choices that were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitProblem {
    /// The embedding: on the client, unless the cut is at 0.
    pub embedding: PartCost,
    /// The N decoder layers, from the input on.
    pub layers: Vec<PartCost>,
    /// Final norm and head: on the server, unless the cut is at N.
    pub head: PartCost,
    /// Memory that embedding and head share where both are on one device, bytes: a tied head has no weights of its own.
    #[serde(default)]
    pub shared_bytes: u64,
    /// What may be chosen.
    pub choices: Vec<CutChoice>,
    /// From the client to the server.
    pub up: OneWayLink,
    /// From the server to the client.
    pub down: OneWayLink,
    /// What comes back for each token, bytes.
    pub answer_bytes: f64,
    /// Tokens generated after the first one.
    pub steps: usize,
    /// Power of the client.
    pub power: ClientPower,
    /// What a choice must keep to.
    pub limits: CutLimits,
}

impl SplitProblem {
    /// Fails on a number that is none, a link that is none, a cut that the model does not have.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.layers.is_empty(), "the model has no layers: give the time of each of them");
        ensure!(!self.choices.is_empty(), "there is nothing to choose from: give at least one cut with a codec");
        let layers = self.layers.iter().enumerate().map(|(nth, layer)| (format!("layer {}", nth + 1), layer));
        let ends = [("the embedding".to_string(), &self.embedding), ("the head".to_string(), &self.head)];
        for (name, part) in layers.chain(ends) {
            for (device, phases) in [("client", part.client), ("server", part.server)] {
                check::amount(format_args!("prompt time of {name} on the {device} in s"), phases.prompt_s)?;
                check::amount(format_args!("step time of {name} on the {device} in s"), phases.step_s)?;
            }
        }
        ensure!(
            self.shared_bytes <= self.embedding.memory_bytes.min(self.head.memory_bytes),
            "embedding and head share {} bytes, but the smaller of them has {}",
            self.shared_bytes,
            self.embedding.memory_bytes.min(self.head.memory_bytes)
        );
        self.up.check("the link to the server")?;
        self.down.check("the link to the client")?;
        check::amount("bytes of an answer", self.answer_bytes)?;
        check::amount("power of computing in W", self.power.compute_w)?;
        check::amount("power of sending in W", self.power.send_w)?;
        check::amount("power of waiting in W", self.power.wait_w)?;
        if let Some(limit) = self.limits.loss {
            check::amount(format_args!("the limit in {}", limit.unit()), limit.most())?;
        }
        ensure!(
            self.limits.min_layer <= self.layers.len(),
            "{} layers must stay on the client, but the model has {}: ask for that many at most",
            self.limits.min_layer,
            self.layers.len()
        );
        self.choices.iter().try_for_each(|choice| self.check_choice(choice))
    }

    fn check_choice(&self, choice: &CutChoice) -> Result<()> {
        let layers = self.layers.len();
        ensure!(
            choice.after_layer <= layers,
            "{} cuts after layer {}, but the model has {layers}: were rows of two models mixed?",
            choice.codec,
            choice.after_layer
        );
        for (phase, crossing) in [("prompt", choice.prompt), ("step", choice.step)] {
            check::amount(format_args!("{phase} bytes of {choice}"), crossing.bytes)?;
            check::amount(format_args!("{phase} encoding of {choice} in s"), crossing.encode_s)?;
            check::amount(format_args!("{phase} decoding of {choice} in s"), crossing.decode_s)?;
            ensure!(
                choice.after_layer < layers || crossing == Crossing::default(),
                "{choice} has all layers on the client, so nothing crosses: its bytes and codec times must be 0"
            );
            ensure!(
                choice.after_layer > 0 || phase == "prompt" || crossing == Crossing::default(),
                "{choice} has all layers on the server, which goes on by itself: bytes and codec times of a step must be 0"
            );
        }
        if let Some(ratio) = choice.ratio {
            check::positive(format_args!("ratio of {choice}"), ratio)?;
        }
        if let Some(drop) = choice.loss.drop_points {
            ensure!(drop.is_finite(), "accuracy drop of {choice} is {drop}: leave it empty where it was not measured");
        }
        choice.loss.kl_nats.map_or(Ok(()), |kl| check::amount(format_args!("KL of {choice}"), kl))
    }
}

impl fmt::Display for CutChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "layer {}, {}", self.after_layer, self.codec)?;
        self.ratio.map_or(Ok(()), |ratio| write!(f, " at ratio {ratio}"))
    }
}
