//! `external`: a program of the user's own, in any language, behind a pipe.
//!
//! The program is given a `.npy` matrix and answers with bytes, and later is given the bytes and answers with a matrix;
//! docs/wire-format.md has the messages byte by byte. One process encodes and another decodes, so that nothing but the
//! packet's bytes goes from one to the other.

mod message;
mod pool;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod program;
#[cfg(not(unix))]
#[path = "external/no_program.rs"]
mod program;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::message::{ProgramAnswer, ProgramRequest};
use self::pool::Pool;
use crate::activation::Activation;
use crate::bytes::fields::Reader;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::{self, Accounting, Budget};
use crate::interface::info::{AllowedValues, CodecInfo, OptionInfo, OptionWord, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::npy;

/// What the codec is called.
pub const NAME: &str = "external";

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: NAME,
    summary: "Runs a program of your own, in any language, that encodes and decodes .npy matrices over a pipe.",
    options: &[
        OptionInfo {
            key: "timeout",
            allowed: AllowedValues::Number { min: 0.1, max: 86400.0 },
            default: "60",
            meaning: "seconds an answer may take, the program's start included, before it is killed",
        },
        OptionInfo {
            key: "rows",
            allowed: AllowedValues::Words(&[
                OptionWord { word: "joint", meaning: "on other rows too, or on their number" },
                OptionWord { word: "local", meaning: "on the same row alone, whatever rows stand beside it" },
            ]),
            default: "joint",
            meaning: "what each row that the program gives back depends on: its author's word, which nothing checks",
        },
        // Last, since it takes the rest of the name.
        OptionInfo {
            key: "cmd",
            allowed: AllowedValues::Command,
            default: "",
            meaning: "the program and its arguments, split into words as a shell does; no shell runs it",
        },
    ],
    id: 15,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(External::new(spec)?)),
    layout,
    decode: |_| {
        // A packet that named its command would let whoever sends it run programs here.
        bail!(
            "packet of external: only the program that made it can read it; name it, as in `splitbench codec --decode \
             P.bin --output B.npy --codec external:cmd=...`"
        )
    },
    #[cfg(test)]
    size: SizeRule::ADAPTIVE,
};

/// Own header: elements 4, bytes of the payload 4.
const OWN_BYTES: usize = 8;

/// Which of the two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Encoder,
    Decoder,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
        })
    }
}

struct External {
    spec: CodecSpec,
    command: String,
    timeout: Duration,
    pool: Arc<Pool>,
    /// Why a process of this codec had to be ended. Every later call fails with it at once: a program that hangs would
    /// otherwise hang for each of the thousands of activations of its cell.
    failed: OnceLock<String>,
}

impl External {
    fn new(spec: &CodecSpec) -> Result<Self> {
        let command: String = spec.typed("cmd")?;
        let timeout = Duration::from_secs_f64(spec.typed("timeout")?);
        let pool = Pool::for_command(&command)?;
        Ok(Self { spec: spec.clone(), command, timeout, pool, failed: OnceLock::new() })
    }

    /// Sends a request whose answer has at most `most` bytes to a process, and reads the answer.
    fn ask<T>(
        &self,
        role: Role,
        request: &[u8],
        most: usize,
        read: impl FnOnce(ProgramAnswer) -> Result<T>,
    ) -> Result<T> {
        if let Some(failed) = self.failed.get() {
            bail!("{failed}");
        }
        let named = || format!("{role} `{}`", self.command);
        // Three outcomes: a value; the program's own refusal of this activation; a failure, after which the process is
        // not used again.
        let answered = || -> Result<Result<T, String>> {
            let mut process = self.pool.take(role)?;
            let answer = process.ask(request, most, self.timeout)?;
            let read = match &answer.error {
                Some(error) => Err(error.clone()),
                None => Ok(read(answer)?),
            };
            // Only after an answer that was read to its end: what a failed process still writes would be taken for the
            // next one.
            self.pool.give_back(role, process);
            Ok(read)
        };
        match answered().with_context(named) {
            Ok(Ok(value)) => Ok(value),
            // Its own word about one activation: it goes on with the next.
            Ok(Err(refusal)) => bail!("{}: it answers with the error {refusal:?}", named()),
            Err(failure) => bail!("{}", self.failed.get_or_init(|| format!("{failure:#}"))),
        }
    }
}

impl Codec for External {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        let mut bytes = Packet::begin(&INFO, ValueType::F32, (tokens, hidden), OWN_BYTES)?;
        let request = ProgramRequest::Encode {
            tokens,
            hidden,
            ratio: budget.ratio,
            accounting: budget.accounting.to_string(),
            budget: room(budget, tokens, hidden),
        };
        let request = request.with(&npy::to_bytes(activation))?;
        // The budget is a request to the program, not a limit: its payload is measured as it comes.
        let most = longest_payload(tokens, hidden);
        let (elements, payload) = self.ask(Role::Encoder, &request, most, |answer| {
            // Nothing else is known of the program's bytes, so it says itself how many numbers they hold.
            let elements = answer.elements.context("its header line has no \"elements\", the numbers it kept")?;
            check_elements(elements, tokens, hidden).context("field elements of its header line")?;
            Ok((elements, answer.body))
        })?;
        for count in [elements, payload.len() as u64] {
            bytes.extend_from_slice(&(count as u32).to_le_bytes());
        }
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let (tokens, hidden) = (packet.tokens(), packet.hidden());
        // The program gets its own bytes alone: another process may have made them.
        let request = ProgramRequest::Decode { tokens, hidden }.with(&packet.view().body[OWN_BYTES..])?;
        self.ask(Role::Decoder, &request, npy::longest(tokens, hidden), |answer| {
            let received = npy::read_from(answer.body.as_slice()).context("its matrix")?;
            ensure!(
                (received.tokens(), received.hidden()) == (tokens, hidden),
                "its matrix is {} x {}, the one that was encoded {tokens} x {hidden}",
                received.tokens(),
                received.hidden()
            );
            Ok(received)
        })
    }

    fn is_cold(&self) -> bool {
        self.failed.get().is_none() && self.pool.is_cold()
    }
}

/// What the budget leaves the program: numbers under `elements`, bytes of its payload under `wire`.
fn room(budget: Budget, tokens: usize, hidden: usize) -> usize {
    match budget.accounting {
        Accounting::Elements => (((tokens * hidden) as f64 / budget.ratio).floor() as usize).max(1),
        Accounting::Wire => budget::wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + OWN_BYTES, 1),
    }
}

/// Two numbers of four bytes for each of the matrix, and 64 KiB. A program may go beyond its budget, which is then
/// measured, but not without bound.
fn longest_payload(tokens: usize, hidden: usize) -> usize {
    8 * tokens * hidden + (1 << 16)
}

/// Up to 2 S D: one component of a matrix of one row is S + D numbers.
fn check_elements(elements: u64, tokens: usize, hidden: usize) -> Result<()> {
    let most = 2 * (tokens * hidden) as u64;
    ensure!((1..=most).contains(&elements), "{elements} is not in 1..={most}");
    Ok(())
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let PacketView { tokens, hidden, .. } = *view;
    let mut reader = Reader::new(view.body);
    ensure!(view.values == ValueType::F32, "packet field value type: external has f32, found {}", view.values);
    let elements = reader.u32("elements")?;
    if let Err(error) = check_elements(elements.into(), tokens, hidden) {
        bail!("packet field elements: {error}");
    }
    let (payload, most) = (reader.u32("payload")? as usize, longest_payload(tokens, hidden));
    ensure!(payload <= most, "packet field payload: {payload} bytes, more than {most}");
    view.expect_len((OWN_BYTES + payload) as u64)?;
    Ok(elements as usize)
}
