//! Makes what was written to a file safe from a power cut soon after, whatever is computed meanwhile.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::spent::lock;

/// Syncs in a thread of its own, once for all that was written within some time.
pub struct Flusher {
    wrote: SyncSender<()>,
    at_work: Arc<Mutex<()>>,
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Flusher {
    /// Calls `sync` at most `after` each [`Flusher::wrote`]. The thread ends with this.
    pub fn new(after: Duration, sync: impl Fn() -> io::Result<()> + Send + 'static) -> Self {
        // One place: what is written during a call of `sync` asks for another.
        let (wrote, asked) = sync_channel(1);
        let (at_work, failed) = (Arc::<Mutex<()>>::default(), Arc::<Mutex<Option<io::Error>>>::default());
        let (working, told) = (at_work.clone(), failed.clone());
        thread::spawn(move || {
            while asked.recv().is_ok() && passed(&asked, after) {
                let _working = lock(&working);
                if let Err(error) = sync() {
                    *lock(&told) = Some(error);
                }
            }
        });
        Self { wrote, at_work, failed }
    }

    /// Something was written. Fails where an earlier call of `sync` did.
    pub fn wrote(&self) -> io::Result<()> {
        // A place that is taken has been asked for already.
        let _ = self.wrote.try_send(());
        self.failure()
    }

    /// Waits for a call of `sync` at work. Fails where one did and nobody was told yet: a system tells of an error once.
    pub fn settle(&self) -> io::Result<()> {
        drop(lock(&self.at_work));
        self.failure()
    }

    fn failure(&self) -> io::Result<()> {
        lock(&self.failed).take().map_or(Ok(()), Err)
    }
}

/// Waits; false where nobody will ask any more. What is asked for meanwhile is done by the same call.
fn passed(asked: &Receiver<()>, time: Duration) -> bool {
    let end = Instant::now() + time;
    loop {
        match asked.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_synced_without_a_further_word() {
        let (sender, synced) = sync_channel(10);
        let flusher = Flusher::new(Duration::from_millis(20), move || {
            let _ = sender.send(());
            Err(io::Error::other("full"))
        });
        flusher.wrote().unwrap();
        synced.recv().unwrap();
        // Which is at work still, or has told why it failed.
        assert_eq!(flusher.settle().unwrap_err().to_string(), "full");
        flusher.wrote().unwrap();
        synced.recv().unwrap();
        drop(flusher);
        // The thread lets go of what it held.
        assert!(synced.recv().is_err());
    }
}
