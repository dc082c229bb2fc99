use super::*;
use crate::simulate::{Cost, ServicePair, find};

fn load(codec: &str, bytes: f64) -> Load {
    let cost = |bytes| Cost { client_s: 0.005, encode_s: 0.0, bytes, decode_s: 0.0, server_s: 0.002, more_s: 0.001 };
    Load { codec: codec.into(), classes: vec![ServicePair { prompt: cost(bytes), step: cost(bytes / 10.0) }] }
}

fn profile() -> ServiceProfile {
    ServiceProfile {
        name: "p".into(),
        source: "assumed".into(),
        loads: vec![load("raw f16", 1e6), load("fc at ratio 8 in elements", 2.5e5)],
        left_out: Vec::new(),
    }
}

fn simulate() -> Simulate {
    let mut simulate = find("figure7").unwrap().simulate;
    simulate.clients = vec![1, 30, 600];
    (simulate.links_gbps, simulate.workers, simulate.generate) = (vec![1.0, 2.0], vec![1, 8], vec![0]);
    simulate.most_batch = 1;
    (simulate.seconds, simulate.warm_up_s, simulate.seeds, simulate.codecs) = (20.0, 5.0, 3, None);
    simulate
}

#[test]
fn a_line_a_point_and_a_line_a_curve() {
    let swept = sweep(&profile(), &simulate()).unwrap();
    assert_eq!((swept.points.len(), swept.saturation.len()), (2 * 2 * 2 * 3, 2 * 2 * 2));
    assert_eq!(swept, sweep(&profile(), &simulate()).unwrap(), "the same seeds, the same numbers");
    for line in &swept.saturation {
        // 8 ms of link for raw at 1 Gbit/s, 2 ms of one GPU.
        let link = if line.codec == "raw f16" { 125.0 } else { 500.0 } * line.link_gbps;
        let compute = 500.0 * line.workers as f64;
        assert!((line.link_per_s - link).abs() < 1e-6 && (line.compute_per_s - compute).abs() < 1e-6, "{line:?}");
        assert_eq!(line.bottleneck, if link < compute { "link" } else { "compute" });
        assert!(line.best_per_s.unwrap() <= 1.01 * link.min(compute), "{line:?}");
        assert!((line.clients - link.min(compute) * (1.0 + line.alone_s)).abs() < 1e-6);
        assert_eq!(line.doubled_at, (line.clients < 550.0).then_some(600), "{line:?}");
    }
    let point = |workers, gbps, codec: &str, clients| {
        let is = |point: &&SweepPoint| {
            (point.workers, point.link_gbps, point.clients) == (workers, gbps, clients) && point.codec == codec
        };
        swept.points.iter().find(is).unwrap()
    };
    // 600 clients on a link of 125 requests a second: 4.8 s for all of them, one of it thought.
    let crowded = point(8, 1.0, "raw f16", 600);
    assert!((crowded.mean_s.unwrap() - 3.8).abs() < 0.1, "{crowded:?}");
    assert!(crowded.link_busy > 0.999 && crowded.workers_busy < 0.05);
    // Half the bytes are twice the rate: the same link, whatever the codec's name.
    let (raw, twice) = (point(8, 2.0, "raw f16", 600).per_s, point(8, 1.0, "raw f16", 600).per_s);
    assert!((raw / twice - 2.0).abs() < 0.02, "{raw} {twice}");
    let quiet = point(1, 1.0, "raw f16", 1);
    assert!((quiet.mean_s.unwrap() - 0.025).abs() < 1e-9 && quiet.mean_ci.unwrap() < 1e-9, "{quiet:?}");
    let ordered = |point: &SweepPoint| point.median_s <= point.p95_s && point.p95_s <= point.p99_s;
    assert!(swept.points.iter().all(ordered));
}

#[test]
fn codecs_are_chosen_by_name_and_an_empty_choice_is_an_error() {
    let only = |names: &[&str]| {
        let codecs = Some(names.iter().map(|name| name.to_string()).collect());
        sweep(&profile(), &Simulate { codecs, seconds: 6.0, ..simulate() })
    };
    let found = only(&["fc"]).unwrap();
    assert!(found.points.iter().all(|point| point.codec == "fc at ratio 8 in elements"));
    assert_eq!(only(&["raw f16", "fc at ratio 8 in elements"]).unwrap().saturation.len(), 8);
    let error = only(&["topk"]).unwrap_err().to_string();
    assert!(error.contains("raw f16"), "{error}");
}

#[test]
fn one_seed_has_no_interval_and_nobody_answered_no_time() {
    let short = Simulate { seeds: 1, seconds: 5.001, clients: vec![1], ..simulate() };
    let points = sweep(&profile(), &short).unwrap().points;
    assert!(points.iter().all(|point| point.mean_s.is_none() && point.requests == 0), "{points:?}");
    let one = sweep(&profile(), &Simulate { seeds: 1, ..simulate() }).unwrap().points;
    assert!(one.iter().all(|point| point.mean_s.is_some() && point.mean_ci.is_none()));
}

#[test]
fn intervals_are_students() {
    // Tables of t: 2.042 at 30 degrees of freedom, 2.201 at 11.
    for (freedom, expected) in [(1, 12.706), (4, 2.776), (11, 2.201), (30, 2.042), (1000, 1.962)] {
        assert!(
            (student_quantile(0.975, freedom) - expected).abs() < 1e-3,
            "{freedom}: {}",
            student_quantile(0.975, freedom)
        );
    }
    let (mean, ci) = interval([1.0, 2.0, 3.0].into_iter());
    assert!((mean - 2.0).abs() < 1e-12 && (ci.unwrap() - 4.303 / 3f64.sqrt()).abs() < 1e-3);
    assert_eq!(interval([7.0].into_iter()), (7.0, None));
}

#[test]
fn numbers_that_cannot_be_simulated_are_named() {
    for (change, expected) in [
        (Box::new(|s: &mut Simulate| s.links_gbps = vec![0.0]) as Box<dyn Fn(&mut Simulate)>, "links_gbps has 0"),
        (Box::new(|s| s.workers = vec![0]), "workers has 0"),
        (Box::new(|s| s.clients = vec![]), "clients is empty"),
        (Box::new(|s| s.most_batch = 0), "most_batch"),
        (Box::new(|s| s.think_s = f64::NAN), "think_s is NaN"),
        (Box::new(|s| s.warm_up_s = 60.0), "seconds is 20"),
        (Box::new(|s| s.seeds = 0), "seeds"),
        (Box::new(|s| s.seeds = u64::MAX), "give 1 to 10000"),
        (Box::new(|s| s.think_s = f64::MIN_POSITIVE), "a microsecond"),
        (Box::new(|s| (s.arrivals, s.seconds) = (ArrivalLaw::Open, 1e30)), "at most 100000000 are simulated"),
        (Box::new(|s| (s.arrivals, s.seconds) = (ArrivalLaw::Closed, 1e30)), "at most 100000000 are simulated"),
    ] {
        let mut one = simulate();
        change(&mut one);
        let error = sweep(&profile(), &one).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = format!("{:#}", find("figure8").unwrap_err());
    assert!(error.contains("figure8") && error.contains("figure7"), "{error}");
}

#[test]
fn throughput_and_response_time_must_fit_one_another() {
    let seen = |per_s: f64, response_s: f64| {
        let times = Some([response_s; 4]);
        vec![RunNumbers { requests: 100_000, per_s, times, link_busy: 1.0, workers_busy: 1.0 }]
    };
    let curve = Curve { load: &profile().loads[0], link_gbps: 1.0, workers: 8, generate: 0 };
    let of = |arrivals, clients, per_s, response_s| {
        let simulate = Simulate { arrivals, warm_up_s: 25.0, seconds: 60.0, ..simulate() };
        settled(&curve.system(&simulate, clients), &seen(per_s, response_s), &[[response_s; 4]])
    };
    // 125 requests a second are the most: 2000 clients wait 15 s and think for one.
    assert!(of(ArrivalLaw::Closed, 2000, 125.0, 15.0) && of(ArrivalLaw::Closed, 2000, 124.0, 15.2));
    assert!(!of(ArrivalLaw::Closed, 2000, 145.0, 15.0) && !of(ArrivalLaw::Closed, 2000, 125.0, 12.0));
    // Longer than the warm-up by arithmetic, by what was seen, and by what the throughput says.
    assert!(!of(ArrivalLaw::Closed, 4000, 125.0, 31.0) && !of(ArrivalLaw::Closed, 2000, 74.0, 26.0));
    assert!(!of(ArrivalLaw::Closed, 2000, 76.0, 25.0));
    assert!(
        of(ArrivalLaw::Open, 100, 99.0, 0.5)
            && !of(ArrivalLaw::Open, 100, 80.0, 0.5)
            && !of(ArrivalLaw::Open, 200, 125.0, 9.0)
    );
}
