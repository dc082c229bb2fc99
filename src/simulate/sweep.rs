//! A simulation over all links, servers, codecs and numbers of clients, with several seeds each.

use anyhow::{Result, ensure};
use rayon::prelude::*;

use super::capacity::Capacity;
use super::engine::{Arrivals, Class, System};
use super::load::{Load, ServiceProfile};
use super::scenario::{ArrivalLaw, Simulate};
use crate::record::{Saturation, SweepPoint, SweepRecord};
use crate::score::student_quantile;

/// One curve: everything but the number of clients.
struct Curve<'a> {
    load: &'a Load,
    workers: usize,
    link_gbps: f64,
    generate: usize,
}

/// One run's numbers.
struct RunNumbers {
    requests: u64,
    per_s: f64,
    /// Mean, median, p95, p99.
    times: Option<[f64; 4]>,
    link_busy: f64,
    workers_busy: f64,
}

/// Requests of one run, each of which is kept until its end for the quantiles: a gigabyte or so.
const MOST_REQUESTS: f64 = 1e8;

/// Simulates a profile.
pub fn sweep(profile: &ServiceProfile, simulate: &Simulate) -> Result<SweepRecord> {
    simulate.check()?;
    let mut loads = Vec::new();
    for load in &profile.loads {
        let base = load.codec.split(" at ratio ").next().unwrap_or_default();
        let wanted = |names: &Vec<String>| names.iter().any(|name| *name == load.codec || name == base);
        if simulate.codecs.as_ref().is_none_or(wanted) {
            loads.push(load);
        }
    }
    let known: Vec<&str> = profile.loads.iter().map(|load| load.codec.as_str()).collect();
    ensure!(!loads.is_empty(), "none of the codecs asked for is in the profile, which has {}", known.join(", "));
    let mut curves = Vec::new();
    for &workers in &simulate.workers {
        for &generate in &simulate.generate {
            for &link_gbps in &simulate.links_gbps {
                curves.extend(loads.iter().map(|load| Curve { load, workers, link_gbps, generate }));
            }
        }
    }
    for curve in &curves {
        simulate.clients.iter().try_for_each(|&clients| curve.check(simulate, clients))?;
    }
    let runs: Vec<(usize, usize, u64)> = (0..curves.len())
        .flat_map(|curve| simulate.clients.iter().map(move |clients| (curve, *clients)))
        .flat_map(|(curve, clients)| (0..simulate.seeds).map(move |seed| (curve, clients, seed)))
        .collect();
    let seen: Vec<RunNumbers> = runs
        .par_iter()
        .map(|&(curve, clients, seed)| curves[curve].system(simulate, clients).run_summed(seed))
        .collect();
    let mut swept = SweepRecord::default();
    let mut each = seen.chunks(simulate.seeds as usize);
    for curve in &curves {
        let points: Vec<SweepPoint> = simulate
            .clients
            .iter()
            .zip(each.by_ref())
            .map(|(clients, seen)| curve.point(profile, simulate, *clients, seen))
            .collect();
        swept.saturation.push(curve.saturation(profile, simulate, &points));
        swept.points.extend(points);
    }
    Ok(swept)
}

impl Curve<'_> {
    /// Fails where a run would have more requests than are simulated.
    fn check(&self, simulate: &Simulate, clients: usize) -> Result<()> {
        let system = self.system(simulate, clients);
        let per_s = match system.arrivals {
            Arrivals::Open { per_s } => per_s,
            Arrivals::Closed { clients, think_s } => (clients as f64 / think_s).min(Capacity::new(&system).per_s()),
        };
        let requests = per_s * simulate.seconds;
        ensure!(
            requests <= MOST_REQUESTS,
            "{clients} clients make {requests:.0} requests in {} s: at most {MOST_REQUESTS:.0} are simulated; take fewer clients or \
             seconds, or a longer think_s",
            simulate.seconds
        );
        Ok(())
    }

    fn system(&self, simulate: &Simulate, clients: usize) -> System {
        let (rate, trip) = (self.link_gbps * 1e9, simulate.round_trip_ms / 1e3);
        let class = |pair: &super::ServicePair| Class {
            prompt: pair.prompt.round(rate, trip),
            step: pair.step.round(rate, trip),
        };
        System {
            classes: self.load.classes.iter().map(class).collect(),
            steps: self.generate,
            arrivals: match simulate.arrivals {
                ArrivalLaw::Closed => Arrivals::Closed { clients, think_s: simulate.think_s },
                ArrivalLaw::Open => Arrivals::Open { per_s: clients as f64 / simulate.think_s },
            },
            workers: self.workers,
            most_batch: simulate.most_batch,
            law: simulate.service,
            seconds: simulate.seconds,
            warm_up_s: simulate.warm_up_s,
        }
    }

    fn point(&self, profile: &ServiceProfile, simulate: &Simulate, clients: usize, seen: &[RunNumbers]) -> SweepPoint {
        let mean = |of: &dyn Fn(&RunNumbers) -> f64| seen.iter().map(of).sum::<f64>() / seen.len() as f64;
        let times: Option<Vec<[f64; 4]>> = seen.iter().map(|one| one.times).collect();
        // Times of the few that were answered early would be those of the lucky ones.
        let times = times.filter(|times| settled(&self.system(simulate, clients), seen, times));
        let statistic = |nth: usize| times.as_ref().map(|times| interval(times.iter().map(|one| one[nth])));
        let (value, ci) = (|nth| statistic(nth).map(|found| found.0), |nth| statistic(nth).and_then(|found| found.1));
        SweepPoint {
            profile: profile.name.clone(),
            workers: self.workers,
            link_gbps: self.link_gbps,
            generate: self.generate,
            codec: self.load.codec.clone(),
            clients,
            seeds: seen.len() as u64,
            requests: seen.iter().map(|one| one.requests).sum(),
            per_s: mean(&|one| one.per_s),
            mean_s: value(0),
            mean_ci: ci(0),
            median_s: value(1),
            median_ci: ci(1),
            p95_s: value(2),
            p95_ci: ci(2),
            p99_s: value(3),
            p99_ci: ci(3),
            link_busy: mean(&|one| one.link_busy),
            workers_busy: mean(&|one| one.workers_busy),
        }
    }

    fn saturation(&self, profile: &ServiceProfile, simulate: &Simulate, points: &[SweepPoint]) -> Saturation {
        let most = simulate.clients.iter().copied().max().unwrap_or(1);
        let system = self.system(simulate, most);
        let capacity = Capacity::new(&system);
        let classes = &self.load.classes;
        let bytes = classes.iter().map(|pair| pair.prompt.bytes + self.generate as f64 * pair.step.bytes).sum::<f64>();
        let doubled = |point: &&SweepPoint| point.mean_s.is_none_or(|mean| mean >= 2.0 * capacity.alone_s);
        Saturation {
            profile: profile.name.clone(),
            workers: self.workers,
            link_gbps: self.link_gbps,
            generate: self.generate,
            codec: self.load.codec.clone(),
            bytes: bytes / classes.len() as f64,
            alone_s: capacity.alone_s,
            link_per_s: capacity.link_per_s,
            compute_per_s: capacity.compute_per_s,
            bottleneck: capacity.bottleneck().to_string(),
            clients: capacity.saturation(system.arrivals, most),
            doubled_at: points.iter().filter(doubled).map(|point| point.clients).min(),
            best_per_s: points.iter().filter(|p| p.mean_s.is_some()).map(|p| p.per_s).reduce(f64::max),
        }
    }
}

/// Whether a system was in equilibrium when it was looked at: the warm-up is as long as an answer takes, and throughput X and
/// response time R are those of one another. That is N = X (R + think time) for clients who wait (Little's law), for others X
/// as asked; to 5 % and four standard errors of a count.
fn settled(system: &System, seen: &[RunNumbers], times: &[[f64; 4]]) -> bool {
    let runs = seen.len() as f64;
    let per_s = seen.iter().map(|one| one.per_s).sum::<f64>() / runs;
    let response_s = times.iter().map(|one| one[0]).sum::<f64>() / runs;
    let near = 0.05 + 4.0 / (seen.iter().map(|one| one.requests).sum::<u64>() as f64).sqrt();
    let long_enough = Capacity::new(system).response_s(system.arrivals).max(response_s) <= system.warm_up_s;
    long_enough
        && match system.arrivals {
            Arrivals::Closed { clients, think_s } => {
                let cycle_s = clients as f64 / per_s;
                (response_s + think_s - cycle_s).abs() <= near * cycle_s && cycle_s - think_s <= system.warm_up_s
            }
            Arrivals::Open { per_s: asked } => (per_s - asked).abs() <= near * asked,
        }
}

impl System {
    fn run_summed(&self, seed: u64) -> RunNumbers {
        let mut observed = self.run(seed);
        let responses = &mut observed.responses;
        responses.sort_unstable_by(f64::total_cmp);
        let count = responses.len();
        let at = |share: f64| responses[((share * count as f64).ceil() as usize).clamp(1, count) - 1];
        let mean = responses.iter().sum::<f64>() / count as f64;
        RunNumbers {
            requests: count as u64,
            per_s: count as f64 / observed.seconds,
            times: (count > 0).then(|| [mean, at(0.5), at(0.95), at(0.99)]),
            link_busy: observed.link_busy,
            workers_busy: observed.workers_busy,
        }
    }
}

/// Mean of some values, and half of its 95 % confidence interval where there are several.
pub(crate) fn interval(values: impl Iterator<Item = f64>) -> (f64, Option<f64>) {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, None);
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, Some(student_quantile(0.975, values.len() - 1) * (variance / n).sqrt()))
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
