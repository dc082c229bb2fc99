//! Frames of the wire protocol, version 1: what client and server say to each other. `docs/wire-protocol.md` has every byte.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of the protocol.
pub const PROTOCOL: u16 = 1;

/// Bytes after the length and before the body: type 1, session 8, sequence 4, position 4.
const HEAD: usize = 17;

/// Of an activation's frame beside its packet: length, head and flags.
pub const ACTIVATION_BYTES: usize = 4 + HEAD + 1;

/// Of a token's frame: length, head, id, log-probability and three times.
pub const TOKEN_BYTES: usize = 4 + HEAD + 4 + 8 + 3 * 8;

/// Most bytes of a body of JSON.
pub const MOST_JSON: usize = 16 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::FromRepr, strum::Display)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[repr(u8)]
pub enum FrameType {
    /// A challenge, or the answer to one: 32 or 64 bytes.
    Auth = 1,
    /// Who speaks: [`super::message::Hello`] as JSON.
    Hello = 2,
    /// Asks for a session: [`super::message::OpenRequest`] as JSON.
    Open = 3,
    /// The session is there: [`super::message::OpenReply`] as JSON.
    Opened = 4,
    /// A byte of flags, then a packet.
    Activation = 5,
    /// Its rows are in the cache: three times.
    Accepted = 6,
    /// Its rows are in the cache, and what follows them: a token id, its log-probability, three times.
    Token = 7,
    /// Number of targets, their ids, then a packet.
    Score = 8,
    /// The log-likelihood of the targets, then three times.
    Scores = 9,
    /// Ends a session; no body.
    Close = 10,
    /// Why not: [`super::message::Refusal`] as JSON.
    Error = 11,
    /// A message of a Noise hand-shake, in place of AUTH: 48 bytes. Records follow.
    Noise = 12,
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameType,
    /// Which session it belongs to; 0 before one is open.
    pub session: u64,
    /// Its number in the session, from 1.
    pub sequence: u32,
    /// Position of its first row in the session's tokens.
    pub position: u32,
    /// The rest.
    pub body: Vec<u8>,
}

impl Frame {
    /// A frame that belongs to no session.
    pub fn new(kind: FrameType, body: Vec<u8>) -> Self {
        Self { kind, session: 0, sequence: 0, position: 0, body }
    }

    /// A frame with a body of JSON.
    pub fn json(kind: FrameType, session: u64, body: &impl Serialize) -> Result<Self> {
        Ok(Self { kind, session, sequence: 0, position: 0, body: serde_json::to_vec(body)? })
    }

    /// The body as JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        let length = self.body.len();
        ensure!(length <= MOST_JSON, "{} frame of {length} bytes: at most {MOST_JSON} of JSON", self.kind);
        serde_json::from_slice(&self.body).with_context(|| format!("{} frame: its JSON", self.kind))
    }

    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> usize {
        4 + HEAD + self.body.len()
    }

    /// Writes it at once.
    pub fn write(&self, mut to: impl Write) -> Result<()> {
        let mut head = [0u8; 4 + HEAD];
        let length = u32::try_from(HEAD + self.body.len()).context("a frame of more than 4 GiB")?;
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = self.kind as u8;
        head[5..13].copy_from_slice(&self.session.to_le_bytes());
        head[13..17].copy_from_slice(&self.sequence.to_le_bytes());
        head[17..].copy_from_slice(&self.position.to_le_bytes());
        let mut done = 0;
        while done < self.wire_bytes() {
            let parts = match done < head.len() {
                true => [&head[done..], &self.body[..]],
                false => [&[][..], &self.body[done - head.len()..]],
            };
            match to.write_vectored(&parts.map(IoSlice::new)) {
                Ok(0) => bail!("writing a {} frame: the connection takes no more", self.kind),
                Ok(written) => done += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("writing a {} frame", self.kind)),
            }
        }
        Ok(())
    }

    /// Reads a frame whose body has at most `most` bytes; none where the connection ended before it. Its length is checked
    /// before anything is allocated, and memory is taken as bytes come.
    pub fn read(mut from: impl Read, most: usize) -> Result<Option<Self>> {
        let mut head = [0u8; 4 + HEAD];
        let mut got = 0;
        while got < head.len() {
            match from.read(&mut head[got..]) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => bail!("the connection ended in the middle of a frame"),
                Ok(read) => got += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading a frame"),
            }
        }
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let length = word(0) as usize;
        let kind = FrameType::from_repr(head[4]).with_context(|| format!("a frame of unknown type {}", head[4]))?;
        ensure!(length >= HEAD, "{kind} frame of length {length}: at least {HEAD} bytes follow a length");
        let body_bytes = length - HEAD;
        ensure!(body_bytes <= most, "{kind} frame of {body_bytes} bytes: at most {most} are taken here");
        let session = u64::from_le_bytes(head[5..13].try_into().expect("eight bytes"));
        let mut body = Vec::with_capacity(body_bytes.min(1 << 16));
        from.take(body_bytes as u64).read_to_end(&mut body).context("reading a frame")?;
        ensure!(body.len() == body_bytes, "the connection ended in the middle of a frame");
        Ok(Some(Self { kind, session, sequence: word(13), position: word(17), body }))
    }
}

/// Numbers of a body, read in order.
pub struct BodyReader<'a>(&'a [u8]);

impl<'a> BodyReader<'a> {
    /// From the first byte on.
    pub fn new(frame: &'a Frame) -> Self {
        Self(&frame.body)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>().context("a frame's body is too short")?;
        self.0 = rest;
        Ok(*first)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Eight bytes.
    pub fn f64(&mut self) -> Result<f64> {
        self.take().map(f64::from_le_bytes)
    }

    /// What is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Fails where something is left.
    pub fn finish(self) -> Result<()> {
        ensure!(self.0.is_empty(), "a frame's body has {} bytes too many", self.0.len());
        Ok(())
    }
}

/// What the server's part of an answer took, nanoseconds on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTimes {
    /// From the frame's last byte until its rows were computed on, less decoding.
    pub queue: Duration,
    /// The packet to an activation.
    pub decode: Duration,
    /// The server half and, for a token, the choice.
    pub compute: Duration,
}

impl ServerTimes {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.queue + self.decode + self.compute
    }

    /// Three numbers of nanoseconds.
    pub fn write(&self, body: &mut Vec<u8>) {
        for time in [self.queue, self.decode, self.compute] {
            body.extend_from_slice(&(time.as_nanos() as u64).to_le_bytes());
        }
    }

    /// The same.
    pub fn read(reader: &mut BodyReader) -> Result<Self> {
        let mut time = || reader.u64().map(Duration::from_nanos);
        Ok(Self { queue: time()?, decode: time()?, compute: time()? })
    }
}

/// Flag of an ACTIVATION frame: more rows of the prompt follow, so no token is asked for.
pub const MORE: u8 = 1;

/// The body of a TOKEN frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenReply {
    /// The token's id.
    pub id: u32,
    /// Its log-probability under the model's own distribution, nats.
    pub log_probability: f64,
    /// What the server took.
    pub times: ServerTimes,
}

impl TokenReply {
    /// 36 bytes.
    pub fn to_body(&self) -> Vec<u8> {
        let mut body = self.id.to_le_bytes().to_vec();
        body.extend_from_slice(&self.log_probability.to_le_bytes());
        self.times.write(&mut body);
        body
    }

    /// The same.
    pub fn from_frame(frame: &Frame) -> Result<Self> {
        let mut reader = BodyReader::new(frame);
        let reply = Self { id: reader.u32()?, log_probability: reader.f64()?, times: ServerTimes::read(&mut reader)? };
        reader.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use splitbench_codec::{Activation, CodecSpec, build};

    use super::*;

    fn frame() -> Frame {
        Frame { kind: FrameType::Activation, session: 7 << 40, sequence: 3, position: 9, body: vec![1, 2, 3] }
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_pages_example_is_what_is_written() {
        let page = include_str!("../../docs/wire-protocol.md");
        let block = page.split("```hex\n").nth(1).unwrap().split("```").next().unwrap();
        let example = hex::decode(block.replace(char::is_whitespace, "")).unwrap();
        let codec = build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
        let packet = codec.encode(&Activation::new(1, 2, vec![1.0, -2.0]).unwrap(), None).unwrap();
        let body = [&[0], packet.as_bytes()].concat();
        let session = 0x0102_0304_0506_0708;
        let frame = Frame { kind: FrameType::Activation, session, sequence: 2, position: 5, body };
        assert_eq!(hex::encode(bytes(&frame)), hex::encode(&example));
        assert_eq!(Frame::read(&example[..], 100).unwrap(), Some(frame));
    }

    /// Every type stands on the page under its number.
    #[test]
    fn the_page_has_every_type() {
        let page = include_str!("../../docs/wire-protocol.md");
        let types: Vec<FrameType> = (0..=u8::MAX).filter_map(FrameType::from_repr).collect();
        assert_eq!(types.len(), 12);
        for kind in types {
            let row = format!("\n| {kind} | {} | ", kind as u8);
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn a_frame_is_written_and_read() {
        let written = bytes(&frame());
        assert_eq!(written, b"\x14\0\0\0\x05\0\0\0\0\0\x07\0\0\x03\0\0\0\x09\0\0\0\x01\x02\x03");
        assert_eq!(written.len(), frame().wire_bytes());
        assert_eq!(Frame::read(&written[..], 3).unwrap(), Some(frame()));
        assert_eq!(Frame::read(&[][..], 3).unwrap(), None);
    }

    #[test]
    fn lengths_are_refused_before_anything_is_taken() {
        let refuse = |bytes: &[u8], expected: &str| {
            let error = format!("{:#}", Frame::read(bytes, 2).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        let mut written = bytes(&frame());
        refuse(&written, "at most 2");
        refuse(&written[..20], "middle of a frame");
        written[4] = 99;
        refuse(&written, "unknown type 99");
        written[4] = 5;
        written[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        refuse(&written, "at most 2");
        written[..4].copy_from_slice(&16u32.to_le_bytes());
        refuse(&written, "at least 17");
        written[..4].copy_from_slice(&19u32.to_le_bytes());
        refuse(&written[..22], "middle of a frame");
    }

    #[test]
    fn a_writer_that_takes_little_gets_all() {
        struct Drip(Vec<u8>);
        impl Write for Drip {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let some = bytes.len().min(2);
                self.0.extend_from_slice(&bytes[..some]);
                Ok(some)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut drip = Drip(Vec::new());
        frame().write(&mut drip).unwrap();
        assert_eq!(drip.0, bytes(&frame()));
    }

    #[test]
    fn a_token_reply_has_36_bytes() {
        let times = ServerTimes {
            queue: Duration::from_nanos(1),
            decode: Duration::from_micros(2),
            compute: Duration::from_millis(3),
        };
        let reply = TokenReply { id: 5, log_probability: -0.5, times };
        let frame = Frame::new(FrameType::Token, reply.to_body());
        assert_eq!((frame.body.len(), TokenReply::from_frame(&frame).unwrap()), (36, reply));
        assert_eq!(frame.wire_bytes(), TOKEN_BYTES);
        let short = Frame::new(FrameType::Token, reply.to_body()[..35].to_vec());
        let long = Frame::new(FrameType::Token, [reply.to_body(), vec![0]].concat());
        assert!(TokenReply::from_frame(&short).is_err() && TokenReply::from_frame(&long).is_err());
    }
}
