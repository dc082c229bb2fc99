//! A shared key: each side proves that it has it, by HMAC-SHA256 of what the other one just chose.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, KeyInit, Mac};
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::Sha256;

use super::frame::{Frame, FrameType};

/// Bytes of a challenge and of an answer.
const BYTES: usize = 32;

/// Fewest bytes of a key.
const FEWEST: usize = 16;

/// What a build says that cannot encrypt.
pub const NO_ENCRYPTION: &str = "this build has no encryption: build with --features noise, or use ssh -L";

/// A key that both sides have, and what it is for.
#[derive(Clone)]
pub struct SharedKey {
    bytes: Vec<u8>,
    encrypts: bool,
}

impl std::fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedKey")
    }
}

/// Random bytes of the operating system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).context("asking the system for random bytes")?;
    Ok(bytes)
}

impl SharedKey {
    /// What a command line asks for: the key of a file, where one is named, and whether it encrypts.
    pub fn open(path: Option<&Path>, encrypt: bool) -> Result<Option<Self>> {
        if !encrypt {
            return path.map(Self::read).transpose();
        }
        ensure!(cfg!(feature = "noise"), NO_ENCRYPTION);
        let path = path.context("--encrypt needs a key that both sides have: give --key-file")?;
        Ok(Some(Self { encrypts: true, ..Self::read(path)? }))
    }

    /// Whether it encrypts, instead of only proving that both sides have it.
    pub fn encrypts(&self) -> bool {
        self.encrypts
    }

    /// The key of Noise: HMAC as in HKDF's expansion (RFC 5869), of what no answer to a challenge begins with.
    #[cfg(feature = "noise")]
    pub fn noise_key(&self) -> [u8; BYTES] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).expect("HMAC takes keys of any length");
        mac.update(b"splitbench live 1 noise");
        mac.finalize().into_bytes().into()
    }

    /// All bytes of a file, but white space at its end.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading the key {}", path.display()))?;
        let key = bytes.trim_ascii_end().to_vec();
        ensure!(
            key.len() >= FEWEST,
            "{}: a key of {} bytes, at least {FEWEST} are needed; make one with: openssl rand -hex 32",
            path.display(),
            key.len()
        );
        Ok(Self { bytes: key, encrypts: false })
    }

    /// The client's side: sends a challenge, checks the server's answer, answers its challenge.
    pub fn prove_as_client(
        &self,
        mut send: impl FnMut(Frame) -> Result<()>,
        receive: impl FnOnce() -> Result<Frame>,
    ) -> Result<()> {
        let own: [u8; BYTES] = random_bytes()?;
        send(Frame::new(FrameType::Auth, own.to_vec()))?;
        let frame = receive()?;
        let (theirs, answer) = frame.body.split_at_checked(BYTES).context("an AUTH frame that is too short")?;
        self.verify("server", &own, theirs, answer)?;
        send(Frame::new(FrameType::Auth, self.answer("client", theirs, &own)))
    }

    /// The server's side of the same, after the client's first frame.
    pub fn prove_as_server(
        &self,
        first: &Frame,
        send: impl FnOnce(Frame) -> Result<()>,
        receive: impl FnOnce() -> Result<Frame>,
    ) -> Result<()> {
        ensure!(
            first.kind == FrameType::Auth && first.body.len() == BYTES,
            "this server asks for a key: give --key-file"
        );
        let own: [u8; BYTES] = random_bytes()?;
        let answer = self.answer("server", &first.body, &own);
        send(Frame::new(FrameType::Auth, [own.to_vec(), answer].concat()))?;
        let frame = receive()?;
        ensure!(frame.kind == FrameType::Auth, "expected an AUTH frame, got {}", frame.kind);
        self.verify("client", &own, &first.body, &frame.body)
    }

    /// The role is part of it, so that an answer sent back to its sender is worth nothing.
    fn mac(&self, role: &str, challenge: &[u8], own: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.bytes).expect("HMAC takes keys of any length");
        for part in [b"splitbench live 1 ", role.as_bytes(), challenge, own] {
            mac.update(part);
        }
        mac
    }

    fn answer(&self, role: &str, challenge: &[u8], own: &[u8]) -> Vec<u8> {
        self.mac(role, challenge, own).finalize().into_bytes().to_vec()
    }

    fn verify(&self, role: &str, challenge: &[u8], theirs: &[u8], answer: &[u8]) -> Result<()> {
        // In constant time.
        let right = self.mac(role, challenge, theirs).verify_slice(answer);
        right.ok().with_context(|| format!("the {role} has another key: give both sides the same --key-file"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn proving(key: &str) -> SharedKey {
        SharedKey { bytes: key.as_bytes().to_vec(), encrypts: false }
    }

    /// Both sides' results, with what the client sent.
    fn prove(client: &str, server: &str) -> (Result<()>, Result<()>, Vec<Frame>) {
        let [client, server] = [client, server].map(proving);
        let (to_server, from_client) = channel::<Frame>();
        let (to_client, from_server) = channel::<Frame>();
        let other = std::thread::spawn(move || {
            let first = from_client.recv().unwrap();
            server.prove_as_server(&first, |frame| Ok(to_client.send(frame)?), || Ok(from_client.recv()?))
        });
        let mut sent = Vec::new();
        let near = client.prove_as_client(
            |frame| {
                sent.push(frame.clone());
                Ok(to_server.send(frame)?)
            },
            || Ok(from_server.recv()?),
        );
        drop(to_server);
        (near, other.join().unwrap(), sent)
    }

    #[test]
    fn both_sides_know_the_key_or_neither_goes_on() {
        let (near, far, sent) = prove("one key of sixteen", "one key of sixteen");
        assert!(near.is_ok() && far.is_ok());
        let (near, far, _) = prove("one key of sixteen", "another of sixteen");
        assert!(near.unwrap_err().to_string().contains("another key") && far.is_err());
        // What was said before proves nothing to a server that chose another challenge.
        let key = proving("one key of sixteen");
        let again = key.prove_as_server(&sent[0], |_| Ok(()), || Ok(sent[1].clone()));
        assert!(again.is_err());
    }

    #[test]
    fn an_answer_cannot_be_sent_back() {
        // A client that lets the server answer its own challenge.
        let key = proving("one key of sixteen");
        let mut seen = None;
        let challenge = Frame::new(FrameType::Auth, vec![7; BYTES]);
        let first = key.prove_as_server(
            &challenge,
            |frame| {
                seen = Some(frame);
                Ok(())
            },
            || Ok(Frame::new(FrameType::Auth, vec![0; BYTES])),
        );
        assert!(first.is_err());
        let answer = seen.unwrap().body[BYTES..].to_vec();
        assert!(key.verify("client", &[7; BYTES], &[7; BYTES], &answer).is_err());
        assert!(key.prove_as_server(&Frame::new(FrameType::Hello, vec![]), |_| Ok(()), || unreachable!()).is_err());
    }

    #[test]
    fn the_pages_answers_are_those_given() {
        let page = include_str!("../../docs/wire-protocol.md");
        let lines: Vec<&str> = page.split("```hex\n").nth(2).unwrap().lines().take(2).collect();
        let key = SharedKey { bytes: b"sixteen byte key".to_vec(), encrypts: false };
        let (client, server) = ([0x11; BYTES], [0x22; BYTES]);
        let answers = [key.answer("server", &client, &server), key.answer("client", &server, &client)];
        assert_eq!(answers.map(hex::encode).to_vec(), lines);
    }

    #[test]
    fn short_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "short\n").unwrap();
        assert!(SharedKey::read(&path).unwrap_err().to_string().contains("5 bytes"));
        assert!(SharedKey::read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn encryption_needs_a_key_and_a_build_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "one key of sixteen").unwrap();
        assert!(SharedKey::open(None, false).unwrap().is_none());
        assert!(!SharedKey::open(Some(&path), false).unwrap().unwrap().encrypts());
        let error = SharedKey::open(None, true).unwrap_err().to_string();
        if cfg!(feature = "noise") {
            assert!(error.contains("give --key-file"), "{error}");
            assert!(SharedKey::open(Some(&path), true).unwrap().unwrap().encrypts());
        } else {
            assert_eq!(error, NO_ENCRYPTION);
            assert_eq!(SharedKey::open(Some(&path), true).unwrap_err().to_string(), NO_ENCRYPTION);
        }
    }
}
