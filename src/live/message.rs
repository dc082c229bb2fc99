//! Bodies of JSON: who speaks, what a session is to be, why not.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use splitbench_codec::{Codec, CodecSpec, build, registered};

use super::frame::{Frame, FrameType, PROTOCOL};
use super::key::random_bytes;
use super::sampler::Sampling;
use crate::model::source::Model;

/// Who speaks, and of which model. Each side sends one, the client first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u16,
    /// Version of the program.
    pub program: String,
    /// The model's name, for messages.
    pub model: String,
    /// SHA-256 of its files.
    pub model_sha256: String,
    /// The cut: layers 1 to `layer` are the client's. A client that leaves it out takes the server's.
    pub layer: Option<usize>,
    /// Width of the residual stream, D.
    pub hidden: usize,
    /// Names of the codecs that a session may use.
    pub codecs: Vec<String>,
    /// Most tokens of a session.
    pub most_tokens: usize,
    /// Most rows of one ACTIVATION frame.
    pub most_rows: usize,
}

/// A codec by its text, as a server builds it for a session; fails where it would not.
pub fn session_codec(text: &str) -> Result<Box<dyn Codec>> {
    let spec = CodecSpec::parse(text)?;
    let name = spec.name();
    // A client must not make the server start a program of its choice; and a server has no client half to run.
    ensure!(name != "external", "codec {name} starts a program: a server runs none for its clients");
    ensure!(name != "token-ids", "codec {name} needs the client half on the server: run the model there instead");
    build(&spec, None).context("a server has no calibration: take a codec that needs none")
}

/// Names of codecs that a server takes without options.
fn served_codecs() -> Vec<String> {
    let names = registered().iter().map(|info| info.name);
    names.filter(|name| session_codec(name).is_ok()).map(String::from).collect()
}

impl Hello {
    /// Of a side that has `model`.
    pub fn new(model: &Model, layer: Option<usize>, most_tokens: usize, most_rows: usize) -> Self {
        Self {
            protocol: PROTOCOL,
            program: crate::VERSION.to_string(),
            model: model.name.clone(),
            model_sha256: model.sha256.clone(),
            layer,
            hidden: model.config.hidden_size,
            codecs: served_codecs(),
            most_tokens,
            most_rows,
        }
    }

    /// Fails where the client's does not go with the server's, naming all that differs.
    pub fn check(client: &Self, server: &Self) -> Result<()> {
        let mut differs = Vec::new();
        let mut compare = |what: &str, client: String, server: String| {
            if client != server {
                differs.push(format!("{what}: client {client}, server {server}"));
            }
        };
        compare("protocol", client.protocol.to_string(), server.protocol.to_string());
        let model = |side: &Self| {
            format!("{} (sha256 {}...)", side.model, side.model_sha256.chars().take(12).collect::<String>())
        };
        if client.model_sha256 != server.model_sha256 {
            compare("model", model(client), model(server));
        }
        compare("hidden size", client.hidden.to_string(), server.hidden.to_string());
        if let (Some(client), Some(server)) = (client.layer, server.layer) {
            compare("layer", client.to_string(), server.to_string());
        }
        ensure!(differs.is_empty(), "client and server do not go together: {}", differs.join("; "));
        Ok(())
    }
}

/// What a session is to be, or which one is to go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// Who knows it may go on with the session: 32 hexadecimal digits.
    pub secret: String,
    /// Codec of the prompt's packets.
    pub prompt_codec: String,
    /// Codec of the steps' packets.
    pub step_codec: String,
    /// Most tokens of the session, for which the server keeps room.
    pub most_tokens: usize,
    /// How the server chooses tokens.
    pub sampling: Sampling,
}

impl OpenRequest {
    /// With a secret of its own.
    pub fn new(codecs: [&CodecSpec; 2], most_tokens: usize, sampling: Sampling) -> Result<Self> {
        let [prompt_codec, step_codec] = codecs.map(CodecSpec::to_string);
        Ok(Self { secret: hex::encode(random_bytes::<16>()?), prompt_codec, step_codec, most_tokens, sampling })
    }
}

/// A session that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReply {
    /// Sequence of the last frame that it has done; 0 for a new one.
    pub sequence: u32,
    /// Tokens in its cache.
    pub position: usize,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum RefusalKind {
    /// The two sides do not go together.
    Mismatch,
    /// Wrong key, or none.
    Key,
    /// No room for another session.
    Full,
    /// No such session, any more.
    NoSession,
    /// What was sent breaks the protocol.
    Protocol,
    /// The packet or its rows cannot be used.
    Packet,
    /// The server failed.
    Server,
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of failure.
    pub kind: RefusalKind,
    /// For people.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server refused ({}): {}", self.kind, self.message)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Of an error and what led to it.
    pub fn new(kind: RefusalKind, error: &anyhow::Error) -> Self {
        Self { kind, message: format!("{error:#}") }
    }

    /// An ERROR frame.
    pub fn frame(&self, session: u64, sequence: u32) -> Frame {
        let body = serde_json::to_vec(self).expect("two strings are JSON");
        Frame { sequence, session, ..Frame::new(FrameType::Error, body) }
    }
}

/// The frame, where it is of the type that was waited for; the refusal as an error where it is one.
pub fn expect(frame: Option<Frame>, kind: FrameType) -> Result<Frame> {
    let Some(frame) = frame else { bail!("the other side closed the connection instead of sending {kind}") };
    match frame.kind {
        FrameType::Error => Err(anyhow!(frame.parse::<Refusal>()?)),
        found if found == kind => Ok(frame),
        found => bail!("expected a {kind} frame, got {found}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_named() {
        let hello = Hello {
            protocol: 1,
            program: "x".into(),
            model: "pocket".into(),
            model_sha256: "aa".repeat(32),
            layer: Some(1),
            hidden: 192,
            codecs: vec![],
            most_tokens: 256,
            most_rows: 64,
        };
        assert!(Hello::check(&Hello { layer: None, program: "y".into(), ..hello.clone() }, &hello).is_ok());
        let other = Hello { protocol: 2, model_sha256: "bb".repeat(32), layer: Some(2), hidden: 576, ..hello.clone() };
        let error = Hello::check(&other, &hello).unwrap_err().to_string();
        for part in [
            "protocol: client 2, server 1",
            "model: client pocket (sha256 bbbbbbbbbbbb...), server pocket (sha256 aaaaaaaaaaaa...)",
            "hidden size: client 576, server 192",
            "layer: client 2, server 1",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_client_cannot_make_a_server_start_a_program() {
        let refuse = |text: &str| format!("{:#}", session_codec(text).err().unwrap());
        assert!(refuse("external:cmd=touch /tmp/x").contains("starts a program"));
        assert!(refuse("klt").contains("no calibration") && refuse("token-ids").contains("client half"));
        assert!(session_codec("int9").is_err());
        assert_eq!(session_codec("fc:band=centered").unwrap().spec().name(), "fc");
        assert!(served_codecs().iter().any(|name| name == "fc"));
    }
}
