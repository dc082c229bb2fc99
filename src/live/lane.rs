//! One direction of a link that several connections share: their queues before it, its turns, and the delay behind it.
//!
//! ```text
//! reader -> waiting (bounded) -> turn -> shaper -> flying (bounded) -> writer
//! ```
//! A full queue stops its reader, so that TCP stops the sender.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::{LinkProfile, bytes_in};
use super::shaper::{LinkWay, Shaper};

/// Turns are given this long before the link is free, so that a thread that is woken late does not leave it idle.
const AHEAD_NS: u64 = 1_000_000;

/// The last part of a wait is spent looking at the clock: a sleep may end 50 us late and more (timer slack of Linux).
const SPIN_NS: u64 = 200_000;

/// Late threads do not change the rate until they are later than this: queues hold as much more than they need to.
const SLACK: Duration = Duration::from_millis(50);

/// What a piece costs in memory beside its bytes.
const PIECE_COST: usize = 64;

/// What travels through a direction of a connection.
#[derive(Debug, PartialEq)]
pub(super) enum Cargo {
    /// Bytes, at most one piece.
    Bytes(Vec<u8>),
    /// The sender has ended this direction.
    End,
    /// The sender's connection broke.
    Broken(String),
}

impl Cargo {
    fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Broken(_) => 0,
        }
    }

    fn cost(&self) -> usize {
        self.bytes() + PIECE_COST
    }
}

/// One connection's part of a [`LinkLane`].
#[derive(Debug)]
struct Flow {
    /// What has arrived and waits for its turn, with its time of arrival.
    waiting: VecDeque<(u64, Cargo)>,
    waiting_cost: usize,
    /// What was sent, with its time of release.
    flying: VecDeque<(u64, Cargo)>,
    flying_cost: usize,
    /// Nothing is sent before: from when on `flying` has had room.
    open_ns: u64,
    /// Bytes that it was given, in its share: the one with the least is next (start-time fair queueing, Goyal 1996).
    share: u64,
    /// Wakes the reader that waits for room.
    room: Arc<Condvar>,
    /// Wakes the writer.
    due: Arc<Condvar>,
}

#[derive(Debug)]
struct LaneState {
    shaper: Shaper,
    flows: BTreeMap<u64, Flow>,
    /// The share of who was served last.
    share: u64,
    /// Whether the pacing thread will wake by itself.
    is_paced: bool,
    is_ended: bool,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct LinkLane {
    state: Mutex<LaneState>,
    pace: Condvar,
    epoch: Instant,
    /// Largest piece.
    pub(super) piece_bytes: usize,
    most_waiting: usize,
    most_flying: usize,
}

impl LinkLane {
    pub(super) fn new(profile: &LinkProfile, way: LinkWay, seed: u64) -> Self {
        let shaper = Shaper::new(profile, way, seed);
        let rate = match way {
            LinkWay::Up => profile.up_bits_per_s,
            LinkWay::Down => profile.down_bits_per_s,
        };
        let piece_bytes = shaper.piece_bytes();
        let cost = |time| usize::try_from(bytes_in(rate, time)).unwrap_or(usize::MAX / 4) + 2 * piece_bytes + 65_536;
        let flying = cost(profile.delay + profile.jitter + SLACK);
        Self {
            most_waiting: cost(SLACK),
            // A quarter more, for pieces of which PIECE_COST is a good part.
            most_flying: flying + flying / 4,
            state: Mutex::new(LaneState { shaper, flows: BTreeMap::new(), share: 0, is_paced: false, is_ended: false }),
            pace: Condvar::new(),
            epoch: Instant::now(),
            piece_bytes,
        }
    }

    /// Time since this lane was made.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX / 4)
    }

    /// A thread that panicked left queues that are whole: each change is finished before anything can fail.
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection in.
    pub(super) fn join(&self, id: u64) {
        let mut state = self.state();
        let share = state.share;
        state.flows.insert(
            id,
            Flow {
                waiting: VecDeque::new(),
                waiting_cost: 0,
                flying: VecDeque::new(),
                flying_cost: 0,
                open_ns: 0,
                share,
                room: Arc::default(),
                due: Arc::default(),
            },
        );
    }

    /// Drops a connection and what it has in the queues; its reader and its writer end.
    pub(super) fn leave(&self, id: u64) {
        if let Some(flow) = self.state().flows.remove(&id) {
            flow.room.notify_all();
            flow.due.notify_all();
        }
    }

    /// Ends the pacing thread.
    pub(super) fn end(&self) {
        self.state().is_ended = true;
        self.pace.notify_all();
    }

    /// Queues what arrived at a time; waits while the queue is full. False once the connection has left.
    pub(super) fn push(&self, id: u64, arrival_ns: u64, cargo: Cargo) -> bool {
        let mut state = self.state();
        let served = state.share;
        loop {
            let Some(flow) = state.flows.get_mut(&id) else { return false };
            if flow.waiting_cost < self.most_waiting {
                if flow.waiting.is_empty() {
                    // Who had nothing to send has no claim to what it did not use.
                    flow.share = flow.share.max(served);
                }
                flow.waiting_cost += cargo.cost();
                flow.waiting.push_back((arrival_ns, cargo));
                break;
            }
            let room = flow.room.clone();
            state = room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.advance(&mut state);
        true
    }

    /// What is to be written next, not before its time; none once the connection has left.
    pub(super) fn take(&self, id: u64) -> Option<Vec<Cargo>> {
        let mut state = self.state();
        loop {
            let flow = state.flows.get_mut(&id)?;
            let due = flow.due.clone();
            let Some((release_ns, _)) = flow.flying.front() else {
                state = due.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (release_ns, now_ns) = (*release_ns, self.now_ns());
            if let Some(sleep_ns) = release_ns.checked_sub(now_ns + SPIN_NS).filter(|ns| *ns > 0) {
                let sleep = Duration::from_nanos(sleep_ns);
                state = due.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let mut batch = Vec::new();
            while let Some((release, _)) = flow.flying.front() {
                // All that is due by then; the first one is in any case.
                if *release > release_ns.max(now_ns) {
                    break;
                }
                let was_full = flow.flying_cost >= self.most_flying;
                let Some((_, cargo)) = flow.flying.pop_front() else { break };
                flow.flying_cost -= cargo.cost();
                if was_full && flow.flying_cost < self.most_flying {
                    flow.open_ns = now_ns;
                }
                batch.push(cargo);
            }
            self.advance(&mut state);
            drop(state);
            while self.now_ns() < release_ns {
                std::hint::spin_loop();
            }
            return Some(batch);
        }
    }

    /// Gives turns, and has the pacing thread go on with it if more is waiting.
    fn advance(&self, state: &mut LaneState) {
        if state.give_turns(self.now_ns(), self.most_flying, self.most_waiting).is_some() && !state.is_paced {
            self.pace.notify_one();
        }
    }

    /// Gives turns whenever the link becomes free; a thread of its own.
    pub(super) fn pace(&self) {
        let mut state = self.state();
        while !state.is_ended {
            let now_ns = self.now_ns();
            let next_ns = state.give_turns(now_ns, self.most_flying, self.most_waiting);
            state.is_paced = next_ns.is_some();
            state = match next_ns {
                Some(next_ns) => {
                    let sleep = Duration::from_nanos(next_ns.saturating_sub(now_ns).max(1));
                    self.pace.wait_timeout(state, sleep).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.pace.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_and_flying(&self, id: u64) -> (usize, usize) {
        let state = self.state();
        (state.flows[&id].waiting_cost, state.flows[&id].flying_cost)
    }
}

impl LaneState {
    /// Moves what the link sends up to a time from `waiting` to `flying`; when the next turn is, if something waits.
    ///
    /// The time of a turn follows from arrivals alone, not from when this is called.
    fn give_turns(&mut self, now_ns: u64, most_flying: usize, most_waiting: usize) -> Option<u64> {
        loop {
            let open = self.flows.iter().filter(|(_, flow)| flow.flying_cost < most_flying);
            let ready = open.filter_map(|(id, flow)| {
                let (arrival_ns, _) = flow.waiting.front()?;
                Some((*id, (*arrival_ns).max(flow.open_ns), flow.share))
            });
            let ready: Vec<(u64, u64, u64)> = ready.collect();
            let first_ns = ready.iter().map(|(_, arrival_ns, _)| *arrival_ns).min()?;
            let turn_ns = first_ns.max(self.shaper.free_ns());
            if turn_ns > now_ns + AHEAD_NS {
                return Some(turn_ns - AHEAD_NS);
            }
            let there = ready.into_iter().filter(|(_, arrival_ns, _)| *arrival_ns <= turn_ns);
            let (id, arrival_ns, _) = there.min_by_key(|(id, _, share)| (*share, *id))?;
            let flow = self.flows.get_mut(&id)?;
            let (_, cargo) = flow.waiting.pop_front()?;
            let was_full = flow.waiting_cost >= most_waiting;
            flow.waiting_cost -= cargo.cost();
            if was_full && flow.waiting_cost < most_waiting {
                flow.room.notify_all();
            }
            self.share = flow.share;
            flow.share += cargo.bytes() as u64;
            let release_ns = self.shaper.send(arrival_ns, cargo.bytes());
            flow.flying_cost += cargo.cost();
            let is_first = flow.flying.is_empty();
            flow.flying.push_back((release_ns, cargo));
            // A writer that waits for an earlier piece meets this one afterwards.
            if is_first {
                flow.due.notify_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::link;
    use super::*;

    fn lane(text: &str) -> LinkLane {
        LinkLane::new(&link::find(text).unwrap(), LinkWay::Up, 0)
    }

    fn queue(state: &mut LaneState, id: u64, arrival_ns: u64, bytes: usize) {
        let flow = state.flows.get_mut(&id).unwrap();
        let cargo = Cargo::Bytes(vec![id as u8; bytes]);
        flow.waiting_cost += cargo.cost();
        flow.waiting.push_back((arrival_ns, cargo));
    }

    fn releases(state: &LaneState, id: u64) -> Vec<u64> {
        state.flows[&id].flying.iter().map(|(release_ns, _)| *release_ns).collect()
    }

    const MS: u64 = 1_000_000;

    /// 8 Mbit/s: 1000 bytes take 1 ms.
    #[test]
    fn two_connections_take_turns_by_bytes() {
        let lane = lane("8mbit/8mbit,0ms");
        lane.join(1);
        lane.join(2);
        let mut state = lane.state();
        (0..4).for_each(|_| queue(&mut state, 1, 0, 1000));
        (0..8).for_each(|_| queue(&mut state, 2, 0, 500));
        let next = state.give_turns(100 * MS, usize::MAX, usize::MAX);
        assert_eq!(next, None);
        assert_eq!(releases(&state, 1), [1, 3, 5, 7].map(|ms| ms * MS));
        assert_eq!(releases(&state, 2), [3, 4, 7, 8, 11, 12, 15, 16].map(|half| half * MS / 2));
    }

    #[test]
    fn turns_do_not_depend_on_when_they_are_given() {
        let schedule = |steps: &[u64]| {
            let lane = lane("8mbit/8mbit,5ms");
            lane.join(1);
            lane.join(2);
            let mut state = lane.state();
            (0..6).for_each(|_| queue(&mut state, 1, 0, 1000));
            // Later than the others: it is not sent before it is there.
            (0..2).for_each(|_| queue(&mut state, 2, 3 * MS + 1, 1000));
            for ms in steps {
                state.give_turns(ms * MS, usize::MAX, usize::MAX);
            }
            (releases(&state, 1), releases(&state, 2))
        };
        let at_once = schedule(&[1000]);
        assert_eq!(at_once.0, [6, 7, 8, 9, 12, 13].map(|ms| ms * MS));
        // Its share is the smaller one, so it is first from when it is there.
        assert_eq!(at_once.1, [10, 11].map(|ms| ms * MS));
        assert_eq!(at_once, schedule(&(0..20).collect::<Vec<_>>()));
    }

    #[test]
    fn turns_are_given_a_millisecond_ahead() {
        let lane = lane("8mbit/8mbit,5ms");
        lane.join(1);
        let mut state = lane.state();
        (0..10).for_each(|_| queue(&mut state, 1, 0, 1000));
        // The second begins at 1 ms; the third at 2 ms is told of 1 ms before.
        assert_eq!(state.give_turns(0, usize::MAX, usize::MAX), Some(MS));
        assert_eq!(releases(&state, 1), [6 * MS, 7 * MS]);
    }

    #[test]
    fn a_receiver_that_was_slow_does_not_get_the_lost_time_back() {
        let lane = lane("8mbit/8mbit,0ms");
        lane.join(1);
        lane.join(2);
        let mut state = lane.state();
        (0..10).for_each(|_| queue(&mut state, 1, 0, 1000));
        // Room for two pieces; the other connection does not wait for that.
        let most_flying = 2 * (1000 + PIECE_COST);
        queue(&mut state, 2, 0, 1000);
        assert_eq!(state.give_turns(100 * MS, most_flying, usize::MAX), None);
        assert_eq!((releases(&state, 1).len(), releases(&state, 2).len()), (2, 1));
        let flow = state.flows.get_mut(&1).unwrap();
        flow.flying.clear();
        (flow.flying_cost, flow.open_ns) = (0, 100 * MS);
        state.give_turns(200 * MS, most_flying, usize::MAX);
        assert_eq!(releases(&state, 1), [101 * MS, 102 * MS]);
    }

    /// What nobody takes is bounded, and a reader that waits for room ends with its connection.
    #[test]
    fn queues_are_bounded() {
        let lane = Arc::new(lane("80mbit/80mbit,10ms"));
        lane.join(1);
        let reader = {
            let lane = lane.clone();
            std::thread::spawn(move || {
                let mut pushed = 0;
                while lane.push(1, lane.now_ns(), Cargo::Bytes(vec![0; 10_000])) {
                    pushed += 10_000;
                }
                pushed
            })
        };
        let pacer = {
            let lane = lane.clone();
            std::thread::spawn(move || lane.pace())
        };
        // 80 Mbit/s for 60 ms, 64 KiB and two pieces, and a quarter; 50 ms, 64 KiB and two pieces.
        let [most_flying, most_waiting] = [(600_000 + 85_536) * 5 / 4, 500_000 + 85_536];
        let full = Instant::now();
        let has_room = || {
            let (waiting, flying) = lane.waiting_and_flying(1);
            assert!(flying < most_flying + 10_064 && waiting < most_waiting + 10_064, "{waiting}, {flying}");
            flying < most_flying || waiting < most_waiting
        };
        while has_room() && full.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(!has_room());
        lane.leave(1);
        let pushed = reader.join().unwrap();
        assert!(pushed < most_flying + most_waiting + 40_000, "{pushed}");
        lane.end();
        pacer.join().unwrap();
    }
}
