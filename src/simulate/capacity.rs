//! What link and workers can do at most, by arithmetic.

use super::engine::{Arrivals, Round, System};

/// Which of the two is full first.
#[derive(Debug, Clone, Copy, PartialEq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Bottleneck {
    /// The shared link.
    Link,
    /// The server's workers.
    Compute,
}

/// Bounds of a system, whatever its queues do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// Requests a second that the link can carry.
    pub link_per_s: f64,
    /// Requests a second that the workers can do, in full batches.
    pub compute_per_s: f64,
    /// Response time of a request that waits for nobody, s.
    pub alone_s: f64,
}

impl Capacity {
    /// Those of a system; means over its classes.
    pub fn new(system: &System) -> Self {
        let mean = |of: &dyn Fn(&Round) -> f64| {
            let each = system.classes.iter().map(|class| of(&class.prompt) + system.steps as f64 * of(&class.step));
            each.sum::<f64>() / system.classes.len() as f64
        };
        Self {
            link_per_s: 1.0 / mean(&|round| round.link_s),
            compute_per_s: system.workers as f64 / mean(&|round| round.work_s(system.most_batch)),
            alone_s: mean(&Round::alone_s),
        }
    }

    /// Requests a second at most: min(link, compute).
    pub fn per_s(&self) -> f64 {
        self.link_per_s.min(self.compute_per_s)
    }

    /// Which of the two that is.
    pub fn bottleneck(&self) -> Bottleneck {
        if self.link_per_s < self.compute_per_s { Bottleneck::Link } else { Bottleneck::Compute }
    }

    /// A bound from below on the mean response time, s; infinite where more is asked than can be done.
    pub fn response_s(&self, arrivals: Arrivals) -> f64 {
        match arrivals {
            Arrivals::Closed { clients, think_s } => self.alone_s.max(clients as f64 / self.per_s() - think_s),
            Arrivals::Open { per_s } if per_s >= self.per_s() => f64::INFINITY,
            Arrivals::Open { .. } => self.alone_s,
        }
    }

    /// Clients beyond which waiting is certain: with fewer, all could be served without anybody waiting.
    pub fn saturation(&self, arrivals: Arrivals, clients: usize) -> f64 {
        match arrivals {
            Arrivals::Closed { think_s, .. } => self.per_s() * (think_s + self.alone_s),
            Arrivals::Open { per_s } => self.per_s() * clients as f64 / per_s,
        }
    }
}
