//! Figure 7: simulated response times against the number of clients, and where links and servers are full.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::figure::{Axis, Figure, FigurePoint as Mark, Panel, Scale};
use super::number::{self, MISSING, significant};
use super::response::rate;
use super::table::{Table, TableSection};
use super::{TableSet, TextPlace, create, names, view};
use crate::record::{Saturation, SweepPoint, SweepRecord};

/// One of the response times of a point.
struct Statistic {
    name: &'static str,
    of: fn(&SweepPoint) -> (Option<f64>, Option<f64>),
}

const STATISTICS: [Statistic; 4] = [
    Statistic { name: "mean", of: |point| (point.mean_s, point.mean_ci) },
    Statistic { name: "median", of: |point| (point.median_s, point.median_ci) },
    Statistic { name: "95th percentile", of: |point| (point.p95_s, point.p95_ci) },
    Statistic { name: "99th percentile", of: |point| (point.p99_s, point.p99_ci) },
];

/// Writes tables and figures of a simulation.
pub fn write(results: &Path, plots: &Path, swept: &SweepRecord) -> Result<Vec<PathBuf>> {
    let table = results.join("saturation.md");
    crate::save::replace(&table, rendered(swept).markdown().as_bytes())?;
    create(plots)?;
    let mut files = vec![table];
    for (file, figure) in figures(swept) {
        let path = plots.join(format!("{file}.svg"));
        crate::save::replace(&path, figure.svg(TextPlace::Inside)?.as_bytes())?;
        files.push(path);
    }
    Ok(files)
}

/// The saturation points as text of at most `width` columns.
pub fn terminal(swept: &SweepRecord, width: usize) -> String {
    let parts: Vec<String> = rendered(swept).tables.iter().map(|table| table.text(width, &mut Vec::new())).collect();
    parts.join("\n")
}

fn servers(workers: usize) -> String {
    if workers == 1 { "1 worker".into() } else { format!("{workers} workers") }
}

fn generated(tokens: usize) -> String {
    match tokens {
        0 => "prompts only".into(),
        1 => "prompt and 1 generated token".into(),
        _ => format!("prompt and {tokens} generated tokens"),
    }
}

/// For each server and number of generated tokens: the mean alone, and all four statistics.
pub(super) fn figures(swept: &SweepRecord) -> Vec<(String, Figure)> {
    let places =
        view::distinct(swept.points.iter().map(|point| (point.profile.as_str(), point.workers, point.generate)));
    let profiles = view::distinct(swept.points.iter().map(|point| point.profile.as_str()));
    let mut out = Vec::new();
    for (profile, workers, tokens) in places {
        let points: Vec<&SweepPoint> = swept
            .points
            .iter()
            .filter(|point| (point.profile.as_str(), point.workers, point.generate) == (profile, workers, tokens))
            .collect();
        let place = format!("clients-{}-{tokens}-tokens", servers(workers).replace(' ', "-"));
        let file = |shows: &str| names::figure_file(shows, (profiles.len() > 1).then_some(profile));
        out.push((file(&place), figure(&points, &STATISTICS[..1], &swept.about)));
        out.push((file(&format!("{place}-percentiles")), figure(&points, &STATISTICS, &swept.about)));
    }
    out
}

fn figure(points: &[&SweepPoint], statistics: &[Statistic], about: &str) -> Figure {
    let first = points[0];
    let codecs = view::distinct(points.iter().map(|point| point.codec.clone()));
    let links = view::distinct(points.iter().map(|point| point.link_gbps));
    let time = |point: &SweepPoint, statistic: &Statistic| {
        (statistic.of)(point).0.filter(|value| value.is_finite() && *value > 0.0)
    };
    // One scale for all panels, so that links compare.
    let all = || points.iter().flat_map(|point| statistics.iter().filter_map(|statistic| time(point, statistic)));
    let scale = match (all().reduce(f64::min), all().reduce(f64::max)) {
        (Some(low), Some(high)) => Scale::log(low, high),
        _ => Scale::log(0.01, 10.0),
    };
    let panel = |link: f64, statistic: &Statistic| {
        let series = |codec: &String| {
            let curve = points.iter().filter(|point| point.link_gbps == link && point.codec == *codec);
            let mark = |point: &&SweepPoint| {
                let ci = (statistic.of)(point).1.unwrap_or(0.0);
                Some(Mark { x: point.clients as f64, y: time(point, statistic)?, stderr: ci })
            };
            curve.filter_map(mark).collect()
        };
        Panel {
            title: format!("{}, {}", rate(1000.0 * link), statistic.name),
            scale,
            baseline: None,
            chance: None,
            series: codecs.iter().map(series).collect(),
            front: Vec::new(),
            named: Vec::new(),
            bands: Vec::new(),
        }
    };
    let panels = links.iter().flat_map(|link| statistics.iter().map(|statistic| panel(*link, statistic))).collect();
    let unanswered = points.iter().filter(|point| point.mean_s.is_none_or(|mean| !mean.is_finite())).count();
    let mut subtitle = format!("Simulated. Error bars: 95 % confidence interval over {} seeds.", first.seeds);
    if unanswered > 0 {
        subtitle += &format!(
            " {unanswered} of {} points are left out: the system had not settled, as an answer takes longer than the warm-up or throughput and response time do not fit.",
            points.len()
        );
    }
    subtitle += &format!(" {about}");
    Figure {
        title: format!(
            "Response time against clients, simulated: {}, {}, {}",
            first.profile,
            servers(first.workers),
            generated(first.generate)
        ),
        subtitle,
        x_label: "clients (log scale)".into(),
        y_label: "response time (s, log scale)".into(),
        axis: Axis::LogLines,
        series: codecs,
        panels,
    }
}

pub(super) fn rendered(swept: &SweepRecord) -> TableSet {
    let columns = [
        "server",
        "link, codec",
        "bytes a request",
        "alone ms",
        "link /s",
        "compute /s",
        "bottleneck",
        "saturates at clients",
        "mean doubled at",
        "best seen /s",
    ];
    let places =
        view::distinct(swept.saturation.iter().map(|line| (line.profile.as_str(), line.workers, line.generate)));
    let section = |(profile, workers, tokens): (&str, usize, usize)| {
        let lines = swept
            .saturation
            .iter()
            .filter(|line| (line.profile.as_str(), line.workers, line.generate) == (profile, workers, tokens));
        TableSection { name: format!("{}, {}", servers(workers), generated(tokens)), rows: lines.map(row).collect() }
    };
    let table = |profile: &str| {
        Table {
        title: format!("Saturation: {profile}"),
        caption: vec![
            "link /s, compute /s: requests a second that each can do at most, by arithmetic; the bottleneck is the smaller.".into(),
            "alone ms: response time without waiting, by arithmetic. saturates at: capacity times (think time + time alone), the clients beyond which some must wait.".into(),
            "mean doubled at: fewest simulated clients whose mean response time is at least twice the time alone (- none). best seen: most requests answered a second in the simulation where it had settled.".into(),
            swept.about.clone(),
        ],
        columns: columns.map(String::from).to_vec(),
        sections: places.iter().filter(|place| place.0 == profile).map(|place| section(*place)).collect(),
        ..Table::default()
    }
    };
    let profiles = view::distinct(places.iter().map(|place| place.0));
    TableSet { tables: profiles.into_iter().map(table).collect(), csv: String::new() }
}

fn row(line: &Saturation) -> Vec<String> {
    vec![
        format!("{}, {}", rate(1000.0 * line.link_gbps), line.codec),
        format!("{:.0}", line.bytes),
        significant(1e3 * line.alone_s),
        significant(line.link_per_s),
        significant(line.compute_per_s),
        line.bottleneck.clone(),
        number::ratio(line.clients.round()),
        line.doubled_at.map_or(MISSING.into(), |clients| clients.to_string()),
        line.best_per_s.map_or(MISSING.into(), significant),
    ]
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod tests;
