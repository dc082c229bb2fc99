//! Discrete events: clients that send requests over one shared link to a server of several workers.
//!
//! Own code. nexosim 1.0 is kept up, but it is made for large systems of actors: it brings more than a hundred crates and an
//! executor of its own, and queues, batches and statistics would be ours all the same. What it would replace is a heap of
//! events with a clock, forty lines here.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What one round of a request takes, seconds: the prompt, or one generated token.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Round {
    /// On the client's own device before anything is sent: client half and encoding. No queue.
    pub client_s: f64,
    /// The whole link to itself.
    pub link_s: f64,
    /// From the end of transmission to the server's queue. No queue.
    pub there_s: f64,
    /// One worker, alone in its batch.
    pub server_s: f64,
    /// What it adds to a batch of others, at most `server_s`.
    pub more_s: f64,
    /// The answer's way. No queue.
    pub back_s: f64,
}

impl Round {
    /// Time of a round that waits for nobody.
    pub fn alone_s(&self) -> f64 {
        self.client_s + self.link_s + self.there_s + self.server_s + self.back_s
    }

    /// The least time of a worker it costs in batches of at most `most`.
    pub fn work_s(&self, most: usize) -> f64 {
        self.more_s + (self.server_s - self.more_s) / most as f64
    }
}

/// A kind of request; each request is of one, all equally likely.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Class {
    /// The prompt's round.
    pub prompt: Round,
    /// Each generated token's round.
    pub step: Round,
}

/// When requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Independent of what became of the others: Poisson, requests a second.
    Open {
        /// Requests a second.
        per_s: f64,
    },
    /// Each client waits for its answer, then thinks for an exponential time, then asks again.
    Closed {
        /// Clients.
        clients: usize,
        /// Mean time to think, s.
        think_s: f64,
    },
}

/// How service times on link and workers vary around what a round says.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Law {
    /// Not at all.
    Fixed,
    /// Exponentially, with that mean.
    Exponential,
}

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Kinds of requests.
    pub classes: Vec<Class>,
    /// Tokens generated after the prompt; 0 where the prompt's round is all.
    pub steps: usize,
    /// When requests come.
    pub arrivals: Arrivals,
    /// Servers that work beside each other on one queue, first come first served.
    pub workers: usize,
    /// Requests a worker takes at once, if that many wait.
    pub most_batch: usize,
    /// How service times vary.
    pub law: Law,
    /// Simulated time, s.
    pub seconds: f64,
    /// First part of it, of which nothing is reported, s.
    pub warm_up_s: f64,
}

/// What was seen after the warm-up.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// Response time of each request that was answered, s: from asking to the last answer.
    pub responses: Vec<f64>,
    /// Time looked at, s.
    pub seconds: f64,
    /// Share of it that the link was busy.
    pub link_busy: f64,
    /// Share of it that a worker was busy, mean over them.
    pub workers_busy: f64,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    /// A request is asked, by this client where they wait for answers.
    Ask(usize),
    /// The client is done with its part of a round.
    Send(usize),
    /// A round has arrived at the server.
    Arrive(usize),
    /// A worker is done with its batch.
    Done(usize),
}

/// An event and when; the earliest is the greatest, of equals the one that was planned first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Planned {
    at: f64,
    order: u64,
    event: Event,
}

impl Eq for Planned {}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    client: usize,
    class: usize,
    round: usize,
    asked: f64,
}

struct State<'a> {
    system: &'a System,
    random: ChaCha8Rng,
    events: BinaryHeap<Planned>,
    order: u64,
    flights: Vec<Flight>,
    free: Vec<usize>,
    link_free_at: f64,
    waiting: VecDeque<usize>,
    /// What each worker is at; empty where it waits.
    batches: Vec<Vec<usize>>,
    idle: Vec<usize>,
    link_busy_s: f64,
    workers_busy_s: f64,
    responses: Vec<f64>,
}

impl System {
    /// Runs it. The same seed gives the same requests, thoughts and service times, whatever they cost.
    pub fn run(&self, seed: u64) -> Observed {
        let mut state = State {
            system: self,
            random: ChaCha8Rng::seed_from_u64(seed),
            events: BinaryHeap::new(),
            order: 0,
            flights: Vec::new(),
            free: Vec::new(),
            link_free_at: 0.0,
            waiting: VecDeque::new(),
            batches: vec![Vec::new(); self.workers],
            idle: (0..self.workers).rev().collect(),
            link_busy_s: 0.0,
            workers_busy_s: 0.0,
            responses: Vec::new(),
        };
        match self.arrivals {
            Arrivals::Open { .. } => state.think(0.0, 0),
            Arrivals::Closed { clients, .. } => (0..clients).for_each(|client| state.think(0.0, client)),
        }
        while let Some(Planned { at, event, .. }) = state.events.pop() {
            if at > self.seconds {
                break;
            }
            match event {
                Event::Ask(client) => state.ask(at, client),
                Event::Send(flight) => state.send(at, flight),
                Event::Arrive(flight) => {
                    state.waiting.push_back(flight);
                    state.start(at);
                }
                Event::Done(worker) => state.done(at, worker),
            }
        }
        let seconds = self.seconds - self.warm_up_s;
        Observed {
            responses: state.responses,
            seconds,
            link_busy: state.link_busy_s / seconds,
            workers_busy: state.workers_busy_s / seconds / self.workers as f64,
        }
    }

    fn round(&self, flight: &Flight) -> &Round {
        let class = &self.classes[flight.class];
        if flight.round == 0 { &class.prompt } else { &class.step }
    }

    /// How much of a busy time lies after the warm-up and before the end.
    fn seen(&self, from: f64, to: f64) -> f64 {
        (to.min(self.seconds) - from.max(self.warm_up_s)).max(0.0)
    }
}

impl State<'_> {
    fn plan(&mut self, at: f64, event: Event) {
        self.order += 1;
        self.events.push(Planned { at, order: self.order, event });
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.random::<f64>()).ln()
    }

    fn service(&mut self, seconds: f64) -> f64 {
        match self.system.law {
            Law::Fixed => seconds,
            Law::Exponential => self.exponential(seconds),
        }
    }

    /// Plans when a client asks next, or when the next request comes.
    fn think(&mut self, now: f64, client: usize) {
        let mean = match self.system.arrivals {
            Arrivals::Open { per_s } => 1.0 / per_s,
            Arrivals::Closed { think_s, .. } => think_s,
        };
        let at = now + self.exponential(mean);
        self.plan(at, Event::Ask(client));
    }

    fn ask(&mut self, now: f64, client: usize) {
        let class =
            if self.system.classes.len() > 1 { self.random.random_range(0..self.system.classes.len()) } else { 0 };
        let flight = Flight { client, class, round: 0, asked: now };
        let place = match self.free.pop() {
            Some(place) => {
                self.flights[place] = flight;
                place
            }
            None => {
                self.flights.push(flight);
                self.flights.len() - 1
            }
        };
        self.plan(now + self.system.round(&flight).client_s, Event::Send(place));
        if let Arrivals::Open { .. } = self.system.arrivals {
            self.think(now, client);
        }
    }

    fn send(&mut self, now: f64, place: usize) {
        let Round { link_s, there_s, .. } = *self.system.round(&self.flights[place]);
        let from = now.max(self.link_free_at);
        self.link_free_at = from + self.service(link_s);
        self.link_busy_s += self.system.seen(from, self.link_free_at);
        self.plan(self.link_free_at + there_s, Event::Arrive(place));
    }

    /// Gives waiting rounds to an idle worker.
    fn start(&mut self, now: f64) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(worker) = self.idle.pop() else { return };
        let count = self.waiting.len().min(self.system.most_batch);
        let batch: Vec<usize> = self.waiting.drain(..count).collect();
        let rounds = || batch.iter().map(|place| self.system.round(&self.flights[*place]));
        let fixed = rounds().map(|round| round.server_s - round.more_s).fold(0.0, f64::max);
        let seconds = fixed + rounds().map(|round| round.more_s).sum::<f64>();
        let until = now + self.service(seconds);
        self.workers_busy_s += self.system.seen(now, until);
        self.batches[worker] = batch;
        self.plan(until, Event::Done(worker));
    }

    fn done(&mut self, now: f64, worker: usize) {
        for place in std::mem::take(&mut self.batches[worker]) {
            let flight = self.flights[place];
            let answered = now + self.system.round(&flight).back_s;
            if flight.round < self.system.steps {
                self.flights[place].round += 1;
                let client_s = self.system.classes[flight.class].step.client_s;
                self.plan(answered + client_s, Event::Send(place));
                continue;
            }
            if answered >= self.system.warm_up_s && answered <= self.system.seconds {
                self.responses.push(answered - flight.asked);
            }
            self.free.push(place);
            if let Arrivals::Closed { .. } = self.system.arrivals {
                self.think(answered, flight.client);
            }
        }
        self.idle.push(worker);
        self.start(now);
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
