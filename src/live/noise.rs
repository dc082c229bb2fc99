//! Encryption: a hand-shake of the Noise protocol with the key that both sides have, and the records that carry frames after it.
//!
//! Noise revision 34, <https://noiseprotocol.org/noise.html>. NNpsk0: the key is mixed in before the first message, so each
//! side's first message proves it, and fresh X25519 keys of both sides make the keys of the connection.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, ensure};
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::frame::{Frame, FrameType};
use super::key::SharedKey;

/// Pattern and algorithms.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// What both sides must agree on besides the key.
const PROLOGUE: &[u8] = b"splitbench live 1";

/// Most bytes of a Noise message, its tag included.
const MOST_SEALED: usize = 65_535;

/// Bytes by which a message is longer than what it carries.
const TAG: usize = 16;

/// Most bytes of frames in a record.
pub const MOST_PLAIN: usize = MOST_SEALED - TAG;

/// Bytes of the length before a record's message, little-endian.
const LENGTH: usize = 2;

/// Bytes of a hand-shake message: an X25519 key and the tag of nothing.
const SHAKE: usize = 32 + TAG;

/// The records of a connection, both ways. A record's number is its nonce and is not sent, so one that was changed, left out,
/// moved or sent again does not open.
pub struct RecordLayer {
    transport: StatelessTransportState,
    reading: Mutex<OpenedRecords>,
    writing: Mutex<SealedRecords>,
}

/// What was read and not yet taken.
#[derive(Default)]
struct OpenedRecords {
    /// Records opened.
    count: u64,
    sealed: Vec<u8>,
    plain: Vec<u8>,
    /// Bytes of `plain` that were taken.
    taken: usize,
}

/// What was written.
#[derive(Default)]
struct SealedRecords {
    /// Records begun. One whose writing failed keeps its number: a nonce is used once.
    count: u64,
    plain: Vec<u8>,
    record: Vec<u8>,
}

/// A half is whole whenever it is unlocked, as far as a broken connection needs it.
fn lock<T>(half: &Mutex<T>) -> MutexGuard<'_, T> {
    half.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordLayer {
    fn new(shaken: HandshakeState) -> Result<Self> {
        let transport =
            shaken.into_stateless_transport_mode().map_err(|error| anyhow!("after a hand-shake: {error}"))?;
        Ok(Self { transport, reading: Mutex::default(), writing: Mutex::default() })
    }

    /// Reads frames out of the records that `socket` gives.
    pub fn reader<R: Read>(&self, socket: R) -> RecordReader<'_, R> {
        RecordReader { transport: &self.transport, half: lock(&self.reading), socket }
    }

    /// Writes frames to `socket` as records, each with one write.
    pub fn writer<W: Write>(&self, socket: W) -> RecordWriter<'_, W> {
        RecordWriter { transport: &self.transport, half: lock(&self.writing), socket }
    }
}

/// Reads what records carry.
pub struct RecordReader<'a, R> {
    transport: &'a StatelessTransportState,
    half: MutexGuard<'a, OpenedRecords>,
    socket: R,
}

impl<R: Read> RecordReader<'_, R> {
    /// Opens the next record; false where the connection ended before it.
    fn open(&mut self) -> io::Result<bool> {
        let OpenedRecords { count, sealed, plain, taken } = &mut *self.half;
        let mut length = [0; LENGTH];
        let begun = loop {
            match self.socket.read(&mut length) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if begun == 0 {
            return Ok(false);
        }
        self.socket.read_exact(&mut length[begun..])?;
        let length = usize::from(u16::from_le_bytes(length));
        let invalid = |why: &str| io::Error::new(ErrorKind::InvalidData, why);
        if length <= TAG {
            return Err(invalid(
                "a record that carries nothing: the other side does not encrypt, or bytes were changed",
            ));
        }
        sealed.resize(length, 0);
        self.socket.read_exact(sealed)?;
        plain.resize(length - TAG, 0);
        *taken = plain.len();
        let opened = self.transport.read_message(*count, sealed, plain);
        opened.map_err(|_| invalid("a record does not open: bytes were changed, left out or sent again on the way"))?;
        *count += 1;
        *taken = 0;
        Ok(true)
    }
}

impl<R: Read> Read for RecordReader<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.half.taken == self.half.plain.len() && !bytes.is_empty() && !self.open()? {
            return Ok(0);
        }
        let rest = &self.half.plain[self.half.taken..];
        let some = rest.len().min(bytes.len());
        bytes[..some].copy_from_slice(&rest[..some]);
        self.half.taken += some;
        Ok(some)
    }
}

/// Writes records.
pub struct RecordWriter<'a, W> {
    transport: &'a StatelessTransportState,
    half: MutexGuard<'a, SealedRecords>,
    socket: W,
}

impl<W: Write> Write for RecordWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// As much as one record takes.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let SealedRecords { count, plain, record } = &mut *self.half;
        plain.clear();
        for part in parts {
            plain.extend_from_slice(&part[..part.len().min(MOST_PLAIN - plain.len())]);
        }
        if plain.is_empty() {
            return Ok(0);
        }
        let length = plain.len() + TAG;
        record.resize(LENGTH + length, 0);
        record[..LENGTH].copy_from_slice(&(length as u16).to_le_bytes());
        let sealed = self.transport.write_message(*count, plain, &mut record[LENGTH..]);
        sealed.map_err(|error| io::Error::other(format!("encrypting: {error}")))?;
        *count += 1;
        self.socket.write_all(record)?;
        Ok(plain.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

fn state(key: &SharedKey, is_client: bool) -> Result<HandshakeState> {
    let psk = key.noise_key();
    let build = || {
        let builder = Builder::new(PATTERN.parse()?).prologue(PROLOGUE)?.psk(0, &psk)?;
        if is_client { builder.build_initiator() } else { builder.build_responder() }
    };
    build().map_err(|error: snow::Error| anyhow!("beginning a hand-shake: {error}"))
}

/// The next hand-shake message.
fn next_message(state: &mut HandshakeState) -> Result<Frame> {
    let mut message = [0; SHAKE];
    let written = state.write_message(&[], &mut message).map_err(|error| anyhow!("shaking hands: {error}"))?;
    Ok(Frame::new(FrameType::Noise, message[..written].to_vec()))
}

/// Takes the other side's hand-shake message.
fn take_message(state: &mut HandshakeState, frame: &Frame, role: &str) -> Result<()> {
    ensure!(frame.body.len() == SHAKE, "a hand-shake of {} bytes: Noise's has {SHAKE}", frame.body.len());
    let taken = state.read_message(&frame.body, &mut [0; SHAKE]);
    taken.ok().map(drop).with_context(|| format!("the {role} has another key: give both sides the same --key-file"))
}

/// The client's side: sends a message, checks the server's.
pub fn shake_as_client(
    key: &SharedKey,
    send: impl FnOnce(Frame) -> Result<()>,
    receive: impl FnOnce() -> Result<Frame>,
) -> Result<RecordLayer> {
    let mut state = state(key, true)?;
    send(next_message(&mut state)?)?;
    take_message(&mut state, &receive()?, "server")?;
    RecordLayer::new(state)
}

/// The server's side of the same, after the client's message. That one may be a recording: the client proves that it is
/// there by its first record.
pub fn shake_as_server(key: &SharedKey, first: &Frame, send: impl FnOnce(Frame) -> Result<()>) -> Result<RecordLayer> {
    let mut state = state(key, false)?;
    take_message(&mut state, first, "client")?;
    send(next_message(&mut state)?)?;
    RecordLayer::new(state)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn key(folder: &tempfile::TempDir, text: &str) -> SharedKey {
        let path = folder.path().join("key");
        std::fs::write(&path, text).unwrap();
        SharedKey::open(Some(&path), true).unwrap().unwrap()
    }

    /// Both ends, after a hand-shake whose messages went through `change`.
    fn shake_hands(
        keys: [&SharedKey; 2],
        change: impl Fn(usize, &mut Vec<u8>),
    ) -> (Result<RecordLayer>, Result<RecordLayer>) {
        let (to_server, from_client) = channel::<Frame>();
        let (to_client, from_server) = channel::<Frame>();
        let changed = |nth, mut frame: Frame| {
            change(nth, &mut frame.body);
            frame
        };
        let mut server = None;
        let client = shake_as_client(
            keys[0],
            |frame| Ok(to_server.send(changed(0, frame))?),
            || {
                let first = from_client.recv()?;
                server = Some(shake_as_server(keys[1], &first, |frame| Ok(to_client.send(changed(1, frame))?)));
                from_server.try_recv().context("no answer")
            },
        );
        (client, server.unwrap())
    }

    fn ends() -> (RecordLayer, RecordLayer) {
        let folder = tempfile::tempdir().unwrap();
        let key = key(&folder, "sixteen bytes and more");
        let (client, server) = shake_hands([&key, &key], |_, _| {});
        (client.unwrap(), server.unwrap())
    }

    fn frame(bytes: usize) -> Frame {
        Frame::new(FrameType::Activation, (0..bytes).map(|i| (i % 251) as u8).collect())
    }

    /// Counts writes.
    struct Line {
        bytes: Vec<u8>,
        writes: usize,
    }

    impl Write for &mut Line {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes.extend_from_slice(bytes);
            self.writes += 1;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sealed(from: &RecordLayer, frame: &Frame) -> Line {
        let mut line = Line { bytes: Vec::new(), writes: 0 };
        frame.write(from.writer(&mut line)).unwrap();
        line
    }

    #[test]
    fn frames_of_all_sizes_arrive_with_one_write_per_record() {
        let (client, server) = ends();
        // Around the most that a record takes, 21 bytes of it a frame's head.
        for bytes in [0, 1, 3000, MOST_PLAIN - 21, MOST_PLAIN - 20, 200_000] {
            for (from, to) in [(&client, &server), (&server, &client)] {
                let line = sealed(from, &frame(bytes));
                let records = (bytes + 21).div_ceil(MOST_PLAIN);
                assert_eq!((line.writes, line.bytes.len()), (records, bytes + 21 + records * (LENGTH + TAG)));
                let mut socket = &line.bytes[..];
                assert_eq!(Frame::read(to.reader(&mut socket), bytes).unwrap(), Some(frame(bytes)));
                assert!(socket.is_empty() && Frame::read(to.reader(socket), bytes).unwrap().is_none());
            }
        }
    }

    #[test]
    fn what_was_changed_left_out_moved_or_sent_again_does_not_open() {
        let read = |to: &RecordLayer, bytes: &[u8]| Frame::read(to.reader(bytes), 1000);
        let (client, server) = ends();
        let [first, second] = [frame(40), frame(41)].map(|frame| sealed(&client, &frame).bytes);
        for at in 0..first.len() {
            let mut changed = first.clone();
            changed[at] ^= 1;
            assert!(read(&server, &changed).is_err(), "byte {at}");
        }
        assert!(read(&server, &second).is_err(), "left out");
        assert!(read(&client, &first).is_err(), "sent back");
        assert_eq!(read(&server, &first).unwrap(), Some(frame(40)));
        assert!(format!("{:#}", read(&server, &first).unwrap_err()).contains("sent again"));
        assert!(read(&server, &second[..30]).is_err(), "cut");
        assert_eq!(read(&server, &second).unwrap(), Some(frame(41)));
        assert!(read(&server, &[16, 0, 1, 2]).is_err() && read(&server, &[1]).is_err());
        // A connection with the same key has other keys.
        assert!(read(&ends().1, &first).is_err());
    }

    #[test]
    fn a_changed_hand_shake_fails_on_a_side_and_never_panics() {
        let folder = tempfile::tempdir().unwrap();
        let right = key(&folder, "sixteen bytes and more");
        let random = std::cell::RefCell::new(ChaCha8Rng::seed_from_u64(1));
        for nth in 0..300 {
            let (client, server) = shake_hands([&right, &right], |message, body| {
                let mut random = random.borrow_mut();
                let at = random.random_range(0..body.len());
                match (message == nth % 2, nth % 5) {
                    (false, _) => {}
                    (true, 0) => body.truncate(at),
                    (true, 1) => body.insert(at, random.random()),
                    // A point of small order.
                    (true, 2) => body[..32].fill(0),
                    (true, _) => body[at] ^= 1 << random.random_range(0..8),
                }
            });
            assert!(client.is_err() && server.is_err() != (nth % 2 == 1), "{nth}");
        }
        let other = key(&folder, "sixteen other bytes");
        let (client, server) = shake_hands([&other, &right], |_, _| {});
        assert!(client.is_err() && format!("{:#}", server.err().unwrap()).contains("client has another key"));
    }

    /// `cargo test --release --features noise --lib what_a_mb_costs -- --ignored --nocapture`
    #[test]
    #[ignore = "prints times"]
    fn what_a_mb_costs() {
        let (client, server) = ends();
        let frame = frame(1_000_000);
        let (mut seal, mut open, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..101 {
            let start = std::time::Instant::now();
            let line = sealed(&client, &frame);
            seal.push(start.elapsed());
            let start = std::time::Instant::now();
            Frame::read(server.reader(&line.bytes[..]), 1_000_000).unwrap();
            open.push(start.elapsed());
            let mut bytes = Vec::new();
            frame.write(&mut bytes).unwrap();
            let start = std::time::Instant::now();
            Frame::read(&bytes[..], 1_000_000).unwrap();
            plain.push(start.elapsed());
        }
        [&mut seal, &mut open, &mut plain].into_iter().for_each(|times| times.sort());
        println!(
            "a frame of 1 MB: {:?} to encrypt, {:?} to decrypt; {:?} to read plain",
            seal[50], open[50], plain[50]
        );
    }
}
