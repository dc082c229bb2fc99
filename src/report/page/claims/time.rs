//! Claims about time: shares of a response, and factors of speed.

use super::super::super::number::significant;
use super::super::super::{response, speed, view};
use super::super::verdict::ClaimState;
use super::ClaimVerdict;
use crate::record::replay::Provenance;

/// The codec's share of the response time at every link rate of the run: the paper does not state its link.
pub(super) fn share(all: &[response::CodecShare], codec: &str, bound: f64, at_most: bool) -> Vec<ClaimVerdict> {
    let profiles = view::distinct(all.iter().map(|share| share.profile.as_str()));
    let judge = |profile: &str| {
        let shares: Vec<&response::CodecShare> =
            all.iter().filter(|share| share.profile == profile && share.codec == codec).collect();
        let ends = |share: &&response::CodecShare| {
            let of = |fold: fn(f64, f64) -> f64| share.sets.iter().copied().reduce(fold);
            Some((of(f64::min)?, of(f64::max)?))
        };
        let all: Vec<(f64, f64)> = shares.iter().filter_map(ends).collect();
        let below = all.iter().all(|(_, high)| *high <= bound);
        let above = all.iter().all(|(low, _)| *low > bound);
        let list: Vec<String> = shares
            .iter()
            .zip(&all)
            .map(|(share, (low, high))| {
                let percent = |part: f64| significant(100.0 * part);
                format!(
                    "{} % ({} to {} by set) at {}",
                    percent(share.mean),
                    percent(*low),
                    percent(*high),
                    response::rate(share.mbps)
                )
            })
            .collect();
        let verdict = if at_most { ClaimState::judge(below, above) } else { ClaimState::judge(above, below) };
        let open =
            if verdict == ClaimState::Open { "depends on the link, which the paper does not state: " } else { "" };
        let judged = ClaimVerdict {
            subject: profile.into(),
            verdict,
            found: format!("{open}{}", list.join(", ")),
            weight: all.len(),
        };
        (!all.is_empty()).then_some(judged)
    };
    profiles.into_iter().filter_map(judge).collect()
}

fn factors(found: &[(usize, f64, f64)]) -> String {
    let one = |(hidden, ratio, error): &(usize, f64, f64)| format!("{ratio:.2} ± {error:.2} at D {hidden}");
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(super) fn faster(claims: &[speed::SpeedClaim], method: &str, times: f64) -> Vec<ClaimVerdict> {
    let judge = |claim: &speed::SpeedClaim| {
        let (verdict, says) = match speed::verdict(times, &claim.found) {
            speed::SpeedVerdict::Holds => (ClaimState::Holds, ""),
            speed::SpeedVerdict::Less => (ClaimState::Fails, "faster, but by less: "),
            speed::SpeedVerdict::Fails => (ClaimState::Fails, "FC is slower: "),
            speed::SpeedVerdict::Open => (ClaimState::Open, "within two standard errors: "),
        };
        let threads = if claim.threads == 1 { "1 thread".to_string() } else { format!("{} threads", claim.threads) };
        let found = format!("{says}{} (the paper's averages: {:.1})", factors(&claim.found), claim.claimed);
        ClaimVerdict { subject: format!("this CPU, {threads}"), verdict, found, weight: claim.found.len() }
    };
    claims.iter().filter(|claim| claim.method == method).map(judge).collect()
}

pub(super) fn hardware(all: &[speed::AcceleratorSpeed]) -> Vec<ClaimVerdict> {
    let judge = |one: &speed::AcceleratorSpeed| {
        let (reached, short) = one.against_claim();
        let (verdict, says) = match (one.provenance, short) {
            (Provenance::Measured, _) => (ClaimState::judge(reached, short), ""),
            (Provenance::Simulated, true) => (ClaimState::Fails, "even if the stated clock is met: "),
            (Provenance::Simulated, false) => (ClaimState::Open, "simulated, if the stated clock is met: "),
            // A bound on what a device could do is no measurement.
            (Provenance::Modelled, true) => (ClaimState::Open, "not measured; by the model's bound at most "),
            (Provenance::Modelled, false) => {
                (ClaimState::Open, "not measured; the model's bound does not exclude it: ")
            }
        };
        let found = format!("{says}{}, against Top-k on 1 thread of this CPU", factors(&one.found));
        ClaimVerdict { subject: one.name.clone(), verdict, found, weight: one.found.len() }
    };
    all.iter().map(judge).collect()
}
