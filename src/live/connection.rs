//! The server's end of a connection, which the reading thread and the engine share.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use anyhow::Result;

use super::channel::Channel;
use super::frame::Frame;
use super::stream::Stream;

/// Answers are small, so that they fit a socket's buffer: a client that does not read them for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Frames of one connection that may wait to be computed: two are enough to keep the server busy, and each holds an
/// activation.
const MOST_WAITING: usize = 4;

/// The server's end of a connection.
pub struct Connection {
    channel: Channel,
    writing: Mutex<()>,
    waiting: Mutex<usize>,
    fewer: Condvar,
    /// Who is on the other side.
    pub peer: String,
}

impl Connection {
    /// Of a stream.
    pub fn new(stream: Stream) -> Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let peer = stream.peer();
        let channel = Channel::new(stream);
        Ok(Self { channel, writing: Mutex::new(()), waiting: Mutex::new(0), fewer: Condvar::new(), peer })
    }

    /// To read from, and to encrypt.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Sends a frame. A client that does not take it loses the connection, and may come back.
    pub fn send(&self, frame: &Frame) {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if self.channel.write(frame).is_err() {
            self.close();
        }
    }

    /// Ends it; its reading thread notices.
    pub fn close(&self) {
        self.channel.close();
    }

    /// Waits until few enough of its frames wait, and counts one more.
    pub fn begin_waiting(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut waiting = (self.fewer.wait_while(waiting, |waiting| *waiting >= MOST_WAITING))
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *waiting += 1;
    }

    /// One of its frames is done.
    pub fn end_waiting(&self) {
        *self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        self.fewer.notify_one();
    }
}
