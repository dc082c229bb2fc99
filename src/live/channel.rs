//! A connection that carries frames: as they are, or encrypted once a hand-shake said so.

use std::net::Shutdown;
use std::time::Duration;

use anyhow::Result;

use super::address::Stream;
use super::frame::{Frame, TimedReader};
use super::key::SharedKey;
#[cfg(feature = "noise")]
use super::noise::{self, RecordLayer};

/// A stream and, after a Noise hand-shake, its record layer. Without one a frame goes to the socket without a copy.
pub struct Channel {
    stream: Stream,
    #[cfg(feature = "noise")]
    records: std::sync::OnceLock<RecordLayer>,
}

impl Channel {
    /// Not encrypted yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            #[cfg(feature = "noise")]
            records: std::sync::OnceLock::new(),
        }
    }

    /// Reads a frame whose body has at most `most` bytes, none where the connection ended before it. It waits `idle` for the
    /// first byte and then `whole` for the last.
    pub fn read(&self, idle: Duration, whole: Duration, most: usize) -> Result<Option<Frame>> {
        let socket = TimedReader::new(&self.stream, idle, whole);
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

#[cfg(not(feature = "noise"))]
fn no_noise<T>(_: T) -> Result<()> {
    anyhow::bail!(super::key::NO_ENCRYPTION)
}
