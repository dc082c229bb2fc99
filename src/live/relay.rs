//! A relay that makes what passes as slow and as late as a link: plain threads, so it needs no right of root and no
//! kernel module.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::address::Address;
use super::lane::{Cargo, LinkLane};
use super::link::LinkProfile;
use super::listener::{Listener, ListenerCloser};
use super::shaper::LinkWay;
use super::stream::Stream;

/// How long a relay waits for the target, and at its end for its connections.
const PATIENCE: Duration = Duration::from_secs(5);

/// First of the streams of random numbers that connections have; the lanes have those before.
const FIRST_CONNECTION_STREAM: u64 = 16;

/// What a relay emulates.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The link.
    pub profile: LinkProfile,
    /// Of jitter and of the times of `drop_every`.
    pub seed: u64,
    /// Breaks a connection when so many bytes have passed, both ways together.
    pub drop_after: Option<u64>,
    /// Breaks each connection at a random time, exponential with this mean.
    pub drop_every: Option<Duration>,
}

/// How a connection through a relay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Both sides had ended.
    Closed,
    /// One side's connection broke; which, and how.
    Broken(String),
    /// The relay broke it, as it was told to.
    Dropped,
    /// The target did not answer.
    Unreachable(String),
    /// The relay ended.
    Stopped,
}

/// A connection that has ended.
#[derive(Debug, Clone)]
pub struct ConnectionReport {
    /// Connections are counted from 1.
    pub number: u64,
    /// The client.
    pub from: String,
    /// Bytes that arrived at the server.
    pub up_bytes: u64,
    /// Bytes that arrived at the client.
    pub down_bytes: u64,
    /// How long it was open.
    pub open: Duration,
    /// How it ended.
    pub end: ConnectionEnd,
}

impl std::fmt::Display for ConnectionReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, from, up_bytes, down_bytes, open, end } = self;
        write!(f, "connection {number} from {from}: {up_bytes} bytes up, {down_bytes} bytes down, ")?;
        let seconds = open.as_secs_f64();
        match end {
            ConnectionEnd::Closed => write!(f, "closed after {seconds:.3} s"),
            ConnectionEnd::Broken(why) => write!(f, "broken after {seconds:.3} s: {why}"),
            ConnectionEnd::Dropped => write!(f, "dropped on purpose after {seconds:.3} s"),
            ConnectionEnd::Unreachable(why) => write!(f, "closed at once: {why}"),
            ConnectionEnd::Stopped => write!(f, "ended with the relay after {seconds:.3} s"),
        }
    }
}

/// What is called for each connection that has ended.
type Reporter = Box<dyn Fn(&ConnectionReport) + Send + Sync>;

/// What the threads of a relay share.
struct RelayShared {
    target: Address,
    settings: RelaySettings,
    up: LinkLane,
    down: LinkLane,
    report: Reporter,
    is_stopping: AtomicBool,
    open: Mutex<BTreeMap<u64, Arc<RelayedConnection>>>,
    /// Wakes who waits for `open` to become empty.
    ended: Condvar,
}

/// A relay at work; dropping it ends it and its connections.
pub struct Relay {
    address: Address,
    closer: ListenerCloser,
    shared: Arc<RelayShared>,
    threads: Vec<JoinHandle<()>>,
}

/// A relay to an address on a free port of this machine: connect to its [`Relay::address`] instead, and keep the relay.
/// That the target did not answer is told on standard error, as its client only sees the end.
pub fn shape(to: &Address, profile: &LinkProfile, seed: u64) -> Result<Relay> {
    let settings = RelaySettings { profile: profile.clone(), seed, drop_after: None, drop_every: None };
    Relay::start(Address::loopback().listen()?, to.clone(), settings, |report| {
        if let ConnectionEnd::Unreachable(why) = &report.end {
            crate::progress::say(&format!("link: {why}"));
        }
    })
}

impl Relay {
    /// Begins to relay what connects to `listener`; `report` is called for each connection that has ended.
    pub fn start(
        listener: Listener,
        target: Address,
        settings: RelaySettings,
        report: impl Fn(&ConnectionReport) + Send + Sync + 'static,
    ) -> Result<Self> {
        settings.profile.check()?;
        let lane = |way| LinkLane::new(&settings.profile, way, settings.seed);
        let shared = Arc::new(RelayShared {
            up: lane(LinkWay::Up),
            down: lane(LinkWay::Down),
            target,
            settings,
            report: Box::new(report),
            is_stopping: AtomicBool::new(false),
            open: Mutex::default(),
            ended: Condvar::new(),
        });
        let (address, closer) = (listener.address().clone(), listener.closer());
        // Made before its threads: what fails on the way ends those that run.
        let mut relay = Self { address, closer, shared: shared.clone(), threads: Vec::new() };
        let pace_up = shared.clone();
        relay.spawn("link up", move || pace_up.up.pace())?;
        let pace_down = shared.clone();
        relay.spawn("link down", move || pace_down.down.pace())?;
        relay.spawn("link accept", move || accept(&listener, &shared))?;
        Ok(relay)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = Builder::new().name(name.into()).spawn(work).context("starting a thread of the relay")?;
        self.threads.push(thread);
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.closer.close();
        let mut open = self.shared.open();
        for connection in open.values() {
            connection.cut(&self.shared, ConnectionEnd::Stopped);
        }
        let until = Instant::now() + PATIENCE;
        while !open.is_empty() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            open = self.shared.ended.wait_timeout(open, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(open);
        self.shared.up.end();
        self.shared.down.end();
        for thread in self.threads.drain(..) {
            // It has told of its panic itself.
            let _ = thread.join();
        }
    }
}

impl RelayShared {
    /// The map is whole whenever it is unlocked.
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<RelayedConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections until the listener is closed.
fn accept(listener: &Listener, shared: &Arc<RelayShared>) {
    let mut number = 0;
    loop {
        let client = match listener.accept() {
            Ok(Some(client)) => client,
            Ok(None) => return,
            Err(error) => {
                // Such as too many open files: others may end meanwhile.
                crate::progress::say(&format!("link: {error:#}"));
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        number += 1;
        let own = shared.clone();
        // Dropping the client where no thread can be had closes it.
        if let Err(error) = Builder::new().name("link connection".into()).spawn(move || serve(&own, number, client)) {
            crate::progress::say(&format!("link: connection {number} was closed, no thread for it: {error}"));
        }
    }
}

/// A client and its connection to the target.
struct RelayedConnection {
    number: u64,
    client: Stream,
    server: Stream,
    state: Mutex<RelayedState>,
    /// Wakes who waits for its end.
    changed: Condvar,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    /// Bytes that may still pass.
    budget: Option<Mutex<u64>>,
}

#[derive(Default)]
struct RelayedState {
    /// Directions that have ended.
    ended: u8,
    /// The first reason to end.
    end: Option<ConnectionEnd>,
}

impl RelayedConnection {
    /// A reason is set or not, whoever panicked.
    fn state(&self) -> MutexGuard<'_, RelayedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends both directions at once; what is on its way is lost.
    fn cut(&self, shared: &RelayShared, end: ConnectionEnd) {
        self.state().end.get_or_insert(end);
        shared.up.leave(self.number);
        shared.down.leave(self.number);
        // A socket that its other side has closed already is fine.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }

    /// How many of some bytes may pass, and whether they are the last ones.
    fn spend(&self, bytes: usize) -> (usize, bool) {
        let Some(budget) = &self.budget else { return (bytes, false) };
        // A number is whole whoever panicked.
        let mut left = budget.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes);
        *left -= allowed as u64;
        (allowed, *left == 0)
    }
}

/// When `drop_every` breaks a connection, since its begin.
fn drop_time(settings: &RelaySettings, number: u64) -> Option<Duration> {
    let mean = settings.drop_every?;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    rng.set_stream(FIRST_CONNECTION_STREAM + number);
    let uniform: f64 = rng.random();
    Some(mean.mul_f64(-(1.0 - uniform).ln()))
}

/// One connection from its begin to its report.
fn serve(shared: &RelayShared, number: u64, client: Stream) {
    let (begin, from) = (Instant::now(), client.peer());
    let report = |up_bytes, down_bytes, end| {
        let from = from.clone();
        (shared.report)(&ConnectionReport { number, from, up_bytes, down_bytes, open: begin.elapsed(), end });
    };
    let server = match shared.target.connect_within(PATIENCE) {
        Ok(server) => server,
        Err(error) => {
            drop(client);
            return report(0, 0, ConnectionEnd::Unreachable(format!("{error:#}")));
        }
    };
    let connection = Arc::new(RelayedConnection {
        number,
        client,
        server,
        state: Mutex::default(),
        changed: Condvar::new(),
        up_bytes: AtomicU64::new(0),
        down_bytes: AtomicU64::new(0),
        budget: shared.settings.drop_after.map(Mutex::new),
    });
    shared.up.join(number);
    shared.down.join(number);
    shared.open().insert(number, connection.clone());
    if shared.is_stopping.load(Ordering::SeqCst) {
        connection.cut(shared, ConnectionEnd::Stopped);
    }
    let deadline = drop_time(&shared.settings, number).map(|time| begin + time);
    let failed = relay(shared, &connection, deadline).err();
    let end = connection.state().end.clone().unwrap_or(ConnectionEnd::Closed);
    let end = failed.map_or(end, |error| ConnectionEnd::Broken(format!("no thread for it: {error}")));
    report(connection.up_bytes.load(Ordering::SeqCst), connection.down_bytes.load(Ordering::SeqCst), end);
    shared.open().remove(&number);
    shared.ended.notify_all();
}

/// Relays both directions until they have ended, or until a deadline.
fn relay(shared: &RelayShared, connection: &RelayedConnection, deadline: Option<Instant>) -> std::io::Result<()> {
    let RelayedConnection { number, client, server, .. } = connection;
    std::thread::scope(|scope| {
        let spawned = (|| {
            let up = || write(shared, &shared.up, connection, (client, server), "server", &connection.up_bytes);
            let down = || write(shared, &shared.down, connection, (server, client), "client", &connection.down_bytes);
            Builder::new().spawn_scoped(scope, up)?;
            Builder::new().spawn_scoped(scope, down)?;
            Builder::new().spawn_scoped(scope, || read(&shared.up, *number, client, "client"))?;
            Builder::new().spawn_scoped(scope, || read(&shared.down, *number, server, "server"))?;
            Ok(())
        })();
        if spawned.is_ok() {
            let mut state = connection.state();
            let mut deadline = deadline;
            while state.ended < 2 {
                state = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                    None => connection.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                    Some(Duration::ZERO) => {
                        drop(state);
                        deadline = None;
                        connection.cut(shared, ConnectionEnd::Dropped);
                        connection.state()
                    }
                    Some(left) => {
                        connection.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
        }
        // Both have ended, or not all threads could be had: those that run end now.
        connection.cut(shared, ConnectionEnd::Closed);
        spawned
    })
}

/// Reads from one side into a lane until it ends.
fn read(lane: &LinkLane, number: u64, mut from: &Stream, name: &str) {
    let mut buffer = vec![0; lane.piece_bytes];
    loop {
        let cargo = match from.read(&mut buffer) {
            Ok(0) => Cargo::End,
            Ok(count) => Cargo::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Cargo::Broken(format!("{name}: {error}")),
        };
        let is_last = !matches!(cargo, Cargo::Bytes(_));
        if !lane.push(number, lane.now_ns(), cargo) || is_last {
            return;
        }
    }
}

/// Writes what comes out of a lane to the other side until it ends.
fn write(
    shared: &RelayShared,
    lane: &LinkLane,
    connection: &RelayedConnection,
    (from, to): (&Stream, &Stream),
    name: &str,
    count: &AtomicU64,
) {
    let mut out = to;
    'all: while let Some(batch) = lane.take(connection.number) {
        for cargo in batch {
            match cargo {
                Cargo::Bytes(bytes) => {
                    let (allowed, is_cut) = connection.spend(bytes.len());
                    if let Err(error) = out.write_all(&bytes[..allowed]) {
                        // The other direction may still have something to say, such as why; its own end follows.
                        connection.state().end.get_or_insert(ConnectionEnd::Broken(format!("{name}: {error}")));
                        lane.leave(connection.number);
                        let _ = from.shutdown(Shutdown::Read);
                        break 'all;
                    }
                    count.fetch_add(allowed as u64, Ordering::SeqCst);
                    if is_cut {
                        connection.cut(shared, ConnectionEnd::Dropped);
                        break 'all;
                    }
                }
                Cargo::End => {
                    let _ = to.shutdown(Shutdown::Write);
                    break 'all;
                }
                Cargo::Broken(why) => {
                    connection.cut(shared, ConnectionEnd::Broken(why));
                    break 'all;
                }
            }
        }
    }
    connection.state().ended += 1;
    connection.changed.notify_all();
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    #[test]
    fn drops_come_at_times_of_the_seed() {
        let settings = |seed, mean: Option<u64>| RelaySettings {
            profile: link::find("dsl").unwrap(),
            seed,
            drop_after: None,
            drop_every: mean.map(Duration::from_secs),
        };
        assert_eq!(drop_time(&settings(1, None), 1), None);
        let times = |seed| (1..1000).map(|number| drop_time(&settings(seed, Some(5)), number)).collect::<Vec<_>>();
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
        let mean = times(1).iter().flatten().map(Duration::as_secs_f64).sum::<f64>() / 999.0;
        // Exponential: a standard error of 5 / sqrt(999).
        assert!((mean - 5.0).abs() < 0.7, "{mean}");
    }
}
