//! A connection that carries frames: as they are, or encrypted once a hand-shake said so.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::frame::Frame;
use super::key::SharedKey;
#[cfg(feature = "noise")]
use super::noise::{self, RecordLayer};
use super::stream::Stream;

/// Bytes that one read may bring beyond what was asked for: a step's frame of most models comes whole.
const AHEAD: usize = 8192;

/// A stream and, after a Noise hand-shake, its record layer. Without one a frame goes to the socket without a copy.
pub struct Channel {
    stream: Stream,
    ahead: Mutex<ReadAhead>,
    #[cfg(feature = "noise")]
    records: std::sync::OnceLock<RecordLayer>,
}

impl Channel {
    /// Not encrypted yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            ahead: Mutex::default(),
            #[cfg(feature = "noise")]
            records: std::sync::OnceLock::new(),
        }
    }

    /// Reads a frame whose body has at most `most` bytes, none where the connection ended before it. It waits `idle` for the
    /// first byte and then `whole` for the last.
    pub fn read(&self, idle: Duration, whole: Duration, most: usize) -> Result<Option<Frame>> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = TimedReader { stream: &self.stream, ahead: &mut ahead, idle, whole, deadline: None };
        #[cfg(feature = "noise")]
        if let Some(records) = self.records.get() {
            return Frame::read(records.reader(socket), most);
        }
        Frame::read(socket, most)
    }

    /// Writes a frame.
    pub fn write(&self, frame: &Frame) -> Result<()> {
        #[cfg(feature = "noise")]
        if let Some(records) = self.records.get() {
            return frame.write(records.writer(&self.stream));
        }
        frame.write(&self.stream)
    }

    /// Ends it, for all threads.
    pub fn close(&self) {
        // One that the other side has closed already is fine.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// The client's side of the hand-shake; all later frames are encrypted.
    pub fn encrypt_as_client(&self, key: &SharedKey, receive: impl FnOnce() -> Result<Frame>) -> Result<()> {
        #[cfg(feature = "noise")]
        {
            self.begin(noise::shake_as_client(key, |frame| self.write(&frame), receive)?)
        }
        #[cfg(not(feature = "noise"))]
        {
            no_noise((key, receive))
        }
    }

    /// The server's side of the same, after the client's first frame.
    pub fn encrypt_as_server(&self, key: &SharedKey, first: &Frame) -> Result<()> {
        #[cfg(feature = "noise")]
        {
            self.begin(noise::shake_as_server(key, first, |frame| self.write(&frame))?)
        }
        #[cfg(not(feature = "noise"))]
        {
            no_noise((key, first))
        }
    }

    #[cfg(feature = "noise")]
    fn begin(&self, records: RecordLayer) -> Result<()> {
        anyhow::ensure!(self.records.set(records).is_ok(), "the connection is encrypted already");
        Ok(())
    }
}

/// What was read of a stream and not asked for yet.
#[derive(Default)]
struct ReadAhead {
    bytes: Vec<u8>,
    taken: usize,
    /// The time limit that the stream has: setting it again would be a system call for each read.
    limit: Option<Duration>,
}

/// Reads one frame from a stream until a point in time: a sender that trickles does not hold a thread for longer.
struct TimedReader<'a> {
    stream: &'a Stream,
    ahead: &'a mut ReadAhead,
    /// How long to wait for the frame to begin.
    idle: Duration,
    /// How long it may take once it has begun.
    whole: Duration,
    deadline: Option<Instant>,
}

impl TimedReader<'_> {
    fn read_stream(&mut self, large: Option<&mut [u8]>) -> std::io::Result<usize> {
        let left = match self.deadline {
            None => self.idle,
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        };
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.ahead.limit != Some(left) {
            self.stream.set_read_timeout(Some(left))?;
            self.ahead.limit = Some(left);
        }
        let mut stream = self.stream;
        let read = match large {
            Some(bytes) => stream.read(bytes),
            None => {
                self.ahead.bytes.resize(AHEAD, 0);
                let read = stream.read(&mut self.ahead.bytes);
                self.ahead.bytes.truncate(*read.as_ref().unwrap_or(&0));
                self.ahead.taken = 0;
                read
            }
        };
        // Linux says "would block" for a time limit that ran out.
        read.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

impl Read for TimedReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let is_empty = self.ahead.taken == self.ahead.bytes.len();
        let read = if is_empty && bytes.len() >= AHEAD {
            self.read_stream(Some(bytes))?
        } else {
            if is_empty {
                self.read_stream(None)?;
            }
            let there = &self.ahead.bytes[self.ahead.taken..];
            let read = there.len().min(bytes.len());
            bytes[..read].copy_from_slice(&there[..read]);
            self.ahead.taken += read;
            read
        };
        self.deadline.get_or_insert_with(|| Instant::now() + self.whole);
        Ok(read)
    }
}

#[cfg(not(feature = "noise"))]
fn no_noise<T>(_: T) -> Result<()> {
    anyhow::bail!(super::key::NO_ENCRYPTION)
}
