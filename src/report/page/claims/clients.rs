//! Claims about many clients, against a simulation and its arithmetic.

use super::super::super::number::significant;
use super::super::super::view;
use super::super::verdict::ClaimState;
use super::ClaimVerdict;
use crate::record::RAW;
use crate::record::Saturation;

/// Prompts alone, of one profile and so many workers.
fn places(lines: &[Saturation], workers: usize) -> Vec<(&str, Vec<&Saturation>)> {
    let chosen = || lines.iter().filter(move |line| line.workers == workers && line.generate == 0);
    let profiles = view::distinct(chosen().map(|line| line.profile.as_str()));
    profiles.into_iter().map(|profile| (profile, chosen().filter(|line| line.profile == profile).collect())).collect()
}

fn is_fc(line: &Saturation) -> bool {
    line.codec == "fc" || line.codec.starts_with("fc at ratio")
}

/// By arithmetic from service times: there is no sampling error, and the times are one request's alone.
pub(super) fn limits(lines: &[Saturation], workers: usize, by: &str, fc: bool) -> Vec<ClaimVerdict> {
    let judge = |(profile, lines): (&str, Vec<&Saturation>)| {
        let counted: Vec<&Saturation> =
            lines.into_iter().filter(|line| line.codec == RAW || fc && is_fc(line)).collect();
        let others: Vec<&&Saturation> = counted.iter().filter(|line| line.bottleneck != by).collect();
        let tightest = |line: &&Saturation| line.link_per_s / line.compute_per_s;
        let ends = counted.iter().map(tightest);
        let (low, high) = (ends.clone().reduce(f64::min)?, ends.reduce(f64::max)?);
        let list: Vec<String> =
            others.iter().map(|line| format!("{} at {} Gbit/s", line.codec, line.link_gbps)).collect();
        let except = if list.is_empty() { String::new() } else { format!("; not so: {}", list.join(", ")) };
        let found = format!(
            "the link carries {} to {} times the requests that the server computes{except}",
            significant(low),
            significant(high)
        );
        let verdict = ClaimState::judge(others.is_empty(), !others.is_empty());
        Some(ClaimVerdict { subject: profile.into(), verdict, found, weight: counted.len() })
    };
    places(lines, workers).into_iter().filter_map(judge).collect()
}

pub(super) fn clients(lines: &[Saturation], workers: usize, gbps: Option<f64>, times: f64) -> Vec<ClaimVerdict> {
    let judge = |(profile, lines): (&str, Vec<&Saturation>)| {
        let doubled = |line: &Saturation| line.doubled_at.map_or("none tried".into(), |clients| clients.to_string());
        let rates = view::distinct(lines.iter().map(|line| line.link_gbps));
        let at = |rate: f64| {
            let find = |of: &dyn Fn(&Saturation) -> bool| lines.iter().find(|line| line.link_gbps == rate && of(line));
            let (raw, fc) = (find(&|line| line.codec == RAW)?, find(&is_fc)?);
            let ratio = fc.clients / raw.clients;
            let found = format!(
                "{ratio:.2} times at {rate} Gbit/s: {:.0} against {:.0} clients by arithmetic; simulated, the mean time has doubled at {} against {}",
                fc.clients,
                raw.clients,
                doubled(fc),
                doubled(raw)
            );
            Some((ratio, found))
        };
        let all: Vec<(f64, String)> =
            rates.into_iter().filter(|rate| gbps.is_none_or(|gbps| gbps == *rate)).filter_map(at).collect();
        let verdict = ClaimState::judge(
            all.iter().all(|(ratio, _)| *ratio > times),
            all.iter().any(|(ratio, _)| *ratio <= times),
        );
        let found = all.iter().map(|(_, found)| found.as_str()).collect::<Vec<_>>().join(". ");
        (!all.is_empty()).then(|| ClaimVerdict { subject: profile.into(), verdict, found, weight: all.len() })
    };
    places(lines, workers).into_iter().filter_map(judge).collect()
}
