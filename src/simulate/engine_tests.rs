use super::*;
use crate::simulate::capacity::Capacity;

const LONG: f64 = 40_000.0;

/// Requests of a link alone, or of workers alone.
fn queue(link_s: f64, server_s: f64, law: Law, per_s: f64, workers: usize) -> System {
    let prompt = Round { link_s, server_s, more_s: server_s, ..Round::default() };
    System {
        classes: vec![Class { prompt, ..Class::default() }],
        steps: 0,
        arrivals: Arrivals::Open { per_s },
        workers,
        most_batch: 1,
        law,
        seconds: LONG,
        warm_up_s: LONG / 20.0,
    }
}

fn mean(observed: &EngineRecord) -> f64 {
    observed.responses.iter().sum::<f64>() / observed.responses.len() as f64
}

fn percentile(observed: &EngineRecord, share: f64) -> f64 {
    let mut sorted = observed.responses.clone();
    sorted.sort_by(f64::total_cmp);
    sorted[(share * sorted.len() as f64) as usize]
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found / expected - 1.0).abs() < tolerance, "{what}: {found}, the formula says {expected}");
}

/// Probability of waiting with c servers and a = lambda / mu (Erlang C), by the recursion of Erlang B.
fn erlang_c(servers: usize, load: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |b, k| load * b / (k as f64 + load * b));
    let share = load / servers as f64;
    blocked / (1.0 - share * (1.0 - blocked))
}

#[test]
fn one_exponential_server_is_m_m_1() {
    for share in [0.3, 0.6, 0.8] {
        let found = queue(0.1, 0.0, Law::Exponential, 10.0 * share, 1).run(1);
        let expected = 0.1 / (1.0 - share);
        close("mean", mean(&found), expected, 0.03);
        close("median", percentile(&found, 0.5), expected * 2f64.ln(), 0.03);
        close("p95", percentile(&found, 0.95), expected * 20f64.ln(), 0.04);
        close("busy", found.link_busy, share, 0.02);
    }
}

#[test]
fn several_exponential_workers_are_m_m_c() {
    for (workers, share) in [(2, 0.7), (8, 0.5), (8, 0.9)] {
        let per_s = 10.0 * share * workers as f64;
        let found = queue(0.0, 0.1, Law::Exponential, per_s, workers).run(2);
        let waits = erlang_c(workers, share * workers as f64) * 0.1 / (workers as f64 * (1.0 - share));
        close("mean", mean(&found), 0.1 + waits, 0.03);
        close("busy", found.workers_busy, share, 0.02);
    }
    // Erlang's own table: 8 servers at 7.2 erlangs.
    assert!((erlang_c(8, 7.2) - 0.7016).abs() < 1e-3, "{}", erlang_c(8, 7.2));
    assert!((erlang_c(1, 0.4) - 0.4).abs() < 1e-12);
}

#[test]
fn one_fixed_server_is_m_d_1() {
    for share in [0.3, 0.6, 0.9] {
        let expected = 0.1 + 0.1 * share / (2.0 * (1.0 - share));
        close("link", mean(&queue(0.1, 0.0, Law::Fixed, 10.0 * share, 1).run(3)), expected, 0.03);
        close("worker", mean(&queue(0.0, 0.1, Law::Fixed, 10.0 * share, 1).run(4)), expected, 0.03);
    }
}

#[test]
fn link_then_workers_add_up() {
    // Burke: what leaves M/M/1 is Poisson again.
    let found = queue(0.1, 0.3, Law::Exponential, 7.0, 4).run(5);
    let waits = erlang_c(4, 2.1) * 0.3 / (4.0 * (1.0 - 2.1 / 4.0));
    close("mean", mean(&found), 0.1 / 0.3 + 0.3 + waits, 0.03);
}

#[test]
fn clients_that_wait_are_the_machine_repairman() {
    let (clients, think_s, mu) = (12usize, 2.0, 5.0);
    let mut system = queue(1.0 / mu, 0.0, Law::Exponential, 1.0, 1);
    system.arrivals = Arrivals::Closed { clients, think_s };
    // p_n of M/M/1//N: N! / (N - n)! (1 / (think mu))^n.
    let weights: Vec<f64> = (0..=clients)
        .scan(1.0, |weight, n| {
            let here = *weight;
            *weight *= (clients - n) as f64 / (think_s * mu);
            Some(here)
        })
        .collect();
    let rate = mu * (1.0 - weights[0] / weights.iter().sum::<f64>());
    let found = system.run(6);
    close("rate", found.responses.len() as f64 / found.seconds, rate, 0.02);
    // Little's law over the whole loop.
    close("mean", mean(&found), clients as f64 / rate - think_s, 0.03);
}

/// A request with all its parts: 3 ms + 4 ms + 1 ms + 5 ms + 1 ms.
fn whole(link_s: f64) -> Round {
    Round { client_s: 0.003, link_s, there_s: 0.001, server_s: 0.005, more_s: 0.002, back_s: 0.001 }
}

fn crowd(round: Round, clients: usize, workers: usize, most_batch: usize, steps: usize) -> System {
    System {
        classes: vec![Class { prompt: round, step: round }],
        steps,
        arrivals: Arrivals::Closed { clients, think_s: 1.0 },
        workers,
        most_batch,
        law: Law::Fixed,
        seconds: 60.0,
        warm_up_s: 10.0,
    }
}

#[test]
fn nobody_waits_for_nobody() {
    for steps in [0, 3] {
        let found = crowd(whole(0.004), 1, 1, 4, steps).run(7);
        let expected = 0.014 * (steps + 1) as f64;
        assert!(found.responses.iter().all(|response| (response - expected).abs() < 1e-9), "{:?}", found.responses);
    }
}

#[test]
fn a_crowd_gets_what_link_or_workers_can_do_and_no_more() {
    for (link_s, workers, most_batch, steps) in
        [(0.004, 1, 1, 0), (0.004, 8, 1, 0), (0.0001, 8, 1, 0), (0.0001, 2, 8, 0), (0.004, 1, 4, 5)]
    {
        // So few that a request of several rounds is answered well within the warm-up.
        let clients = if steps > 0 { 300 } else { 4000 };
        let system = crowd(whole(link_s), clients, workers, most_batch, steps);
        let capacity = Capacity::new(&system);
        let found = system.run(8);
        let rate = found.responses.len() as f64 / found.seconds;
        // The last answers of a window may belong to work of before it.
        assert!(rate <= capacity.per_s() * 1.01, "{rate} requests a second beyond {}", capacity.per_s());
        close("rate", rate, capacity.per_s(), 0.03);
        let mean = mean(&found);
        assert!(mean >= clients as f64 / capacity.per_s() - 1.0 - 0.1 * mean, "{mean} s beside {}", capacity.per_s());
    }
}

#[test]
fn half_the_link_rate_is_twice_the_payload() {
    let seconds = |bytes: f64, gbps: f64| whole(bytes * 8.0 / (gbps * 1e9));
    let run = |round| crowd(round, 300, 2, 1, 0).run(9);
    let once = run(seconds(100_000.0, 1.0));
    assert_eq!(run(seconds(200_000.0, 2.0)), once);
    assert_eq!(run(seconds(200_000.0, 1.0)), run(seconds(100_000.0, 0.5)));
    // A link that is the bottleneck gives half as much.
    let rate = |bytes, gbps| {
        let found = crowd(seconds(bytes, gbps), 4000, 8, 1, 0).run(9);
        found.responses.len() as f64 / found.seconds
    };
    close("rate", rate(1e6, 1.0) / rate(2e6, 1.0), 2.0, 0.02);
    close("rate", rate(1e6, 1.0) / rate(1e6, 0.5), 2.0, 0.02);
}

#[test]
fn batches_save_what_they_share() {
    // 5 ms alone and 2 ms for each further one: eight take 19 ms.
    let found = crowd(whole(0.0), 4000, 1, 8, 0).run(10);
    close("rate", found.responses.len() as f64 / found.seconds, 8.0 / 0.019, 0.02);
}

#[test]
fn a_seed_is_the_run() {
    let system = crowd(whole(0.004), 100, 2, 2, 2);
    assert_eq!(system.run(11), system.run(11));
    assert_ne!(system.run(11), system.run(12));
}
