//! The paper's claims of speed against the rows of a replay: which hold with every method as fast as we have it.

use std::fmt::Write;

use super::paper;
use super::table4::COLUMNS;
use crate::record::replay::{Provenance, ReplayRow, ReplayTimes};

/// `a` over `b`, and its standard error with those of both taken as independent; exactly 1 for equal times.
pub(super) fn over(a: ReplayTimes, b: ReplayTimes) -> (f64, f64) {
    let ratio = a.total_s / b.total_s;
    let relative = |t: ReplayTimes| (t.stderr_s / t.total_s).powi(2);
    let error = if a == b { 0.0 } else { ratio * (relative(a) + relative(b)).sqrt() };
    (ratio, error)
}

/// What rows say of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpeedVerdict {
    /// At least the claimed factor at every hidden size, by two standard errors.
    Holds,
    /// Faster everywhere, but by less than claimed somewhere.
    Less,
    /// Slower somewhere.
    Fails,
    /// Within two standard errors of a bound.
    Open,
}

/// One claim: FC is `claimed` times as fast as a method.
#[derive(Debug, PartialEq)]
pub(super) struct SpeedClaim {
    /// The method as the paper calls it.
    pub method: &'static str,
    /// How it and FC were run.
    pub threads: usize,
    /// The paper's averages over one another.
    pub claimed: f64,
    /// D, and the method's time over FC's with its standard error.
    pub found: Vec<(usize, f64, f64)>,
    /// What follows.
    pub verdict: SpeedVerdict,
}

/// What times over FC's say of a claimed factor.
pub(super) fn verdict(claimed: f64, found: &[(usize, f64, f64)]) -> SpeedVerdict {
    let low = |bound: f64| found.iter().all(|(_, ratio, error)| ratio - 2.0 * error >= bound);
    let below = |bound: f64| found.iter().any(|(_, ratio, error)| ratio + 2.0 * error < bound);
    if low(claimed) {
        SpeedVerdict::Holds
    } else if below(1.0) {
        SpeedVerdict::Fails
    } else if below(claimed) && low(1.0) {
        SpeedVerdict::Less
    } else {
        SpeedVerdict::Open
    }
}

/// The row of a method on `threads` of this CPU at a hidden size.
fn on_cpu<'a>(rows: &'a [ReplayRow], method: &str, hidden: usize, threads: usize) -> Option<&'a ReplayRow> {
    rows.iter().find(|row| {
        (row.backend.as_str(), row.method.as_str(), row.hidden, row.threads) == ("cpu", method, hidden, Some(threads))
    })
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    values.for_each(|value| {
        if !out.contains(&value) {
            out.push(value);
        }
    });
    out
}

/// The paper's claims about software, from its printed averages, for each number of threads.
pub(super) fn claims(rows: &[ReplayRow]) -> Vec<SpeedClaim> {
    let hidden_sizes = distinct(rows.iter().map(|row| row.hidden));
    let mut out = Vec::new();
    for threads in distinct(rows.iter().filter_map(|row| row.threads)) {
        for (printed, ours, method) in COLUMNS {
            let (Some(printed), Some(ours)) = (printed, ours.filter(|ours| *ours != "fc")) else { continue };
            let (Some(theirs), Some(fc)) = (paper::table4("Avg.", printed), paper::table4("Avg.", "fc-software"))
            else {
                continue;
            };
            let times = |method: &str, hidden| on_cpu(rows, method, hidden, threads).and_then(|row| row.both);
            let found: Vec<(usize, f64, f64)> = hidden_sizes
                .iter()
                .filter_map(|&hidden| {
                    let (ratio, error) = over(times(ours, hidden)?, times("fc", hidden)?);
                    Some((hidden, ratio, error))
                })
                .collect();
            if !found.is_empty() {
                let claimed = theirs / fc;
                out.push(SpeedClaim { method, threads, claimed, verdict: verdict(claimed, &found), found });
            }
        }
    }
    out
}

/// Devices that are here and modelled too, which checks the model.
fn checks_the_model(row: &ReplayRow) -> bool {
    row.backend == "model" && (row.device.starts_with("one thread") || row.device.ends_with(", by the model"))
}

/// Compares the model with what was measured on this CPU and GPU: what was modelled, D, and predicted over measured.
fn model_check(rows: &[ReplayRow]) -> Vec<(String, usize, f64)> {
    let both = |row: &ReplayRow| row.both.map(|both| both.total_s);
    let measured = |row: &ReplayRow| match row.device.starts_with("one thread") {
        true => on_cpu(rows, &row.method, row.hidden, 1).and_then(both),
        // As the model has it: the faster kernel, without copies.
        false => rows
            .iter()
            .find(|other| {
                let same = (&other.method, other.hidden) == (&row.method, row.hidden);
                other.backend == "cuda" && same && other.variant == format!("{}, copies apart", row.variant)
            })
            .and_then(both),
    };
    let compared = |row: &ReplayRow| Some((row.device.clone(), row.hidden, both(row)? / measured(row)?));
    rows.iter().filter(|row| checks_the_model(row)).filter_map(compared).collect()
}

/// The transform on an accelerator against Top-k on one thread of this CPU.
#[derive(Debug, PartialEq)]
pub(super) struct AcceleratorSpeed {
    /// Device, kernel and what its times contain.
    pub name: String,
    /// How its times came about.
    pub provenance: Provenance,
    /// The paper's averages over one another.
    pub claimed: f64,
    /// D, and Top-k's time over the transform's with its standard error.
    pub found: Vec<(usize, f64, f64)>,
}

impl AcceleratorSpeed {
    /// Whether the claimed factor is reached at every D, and whether it is missed at some, each by two standard errors.
    pub fn against_claim(&self) -> (bool, bool) {
        let reached = self.found.iter().all(|(_, ratio, error)| ratio - 2.0 * error >= self.claimed);
        let short = self.found.iter().any(|(_, ratio, error)| ratio + 2.0 * error < self.claimed);
        (reached, short)
    }
}

/// All accelerators, measured and modelled.
pub(super) fn accelerated(rows: &[ReplayRow]) -> Vec<AcceleratorSpeed> {
    let (Some(theirs), Some(fc)) = (paper::table4("Avg.", "topk"), paper::table4("Avg.", "fc-hardware")) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let local = |row: &ReplayRow| row.backend == "cpu" || checks_the_model(row);
    let key = |row: &ReplayRow| (row.backend.clone(), row.device.clone(), row.variant.clone());
    for (backend, device, variant) in distinct(rows.iter().filter(|row| !local(row)).map(key)) {
        let same = || rows.iter().filter(|row| key(row) == (backend.clone(), device.clone(), variant.clone()));
        let ratios: Vec<(usize, f64, f64)> = same()
            .filter_map(|row| {
                let (ratio, error) = over(on_cpu(rows, "topk", row.hidden, 1)?.both?, row.both?);
                Some((row.hidden, ratio, error))
            })
            .collect();
        let Some(provenance) = same().find(|row| row.both.is_some()).map(|row| row.provenance) else { continue };
        let parts = [device.clone(), variant.clone()].into_iter().filter(|part| !part.is_empty());
        let name = format!("{} ({})", parts.collect::<Vec<_>>().join(", "), provenance);
        if !ratios.is_empty() {
            out.push(AcceleratorSpeed { name, provenance, claimed: theirs / fc, found: ratios });
        }
    }
    out
}

/// The same as sentences, with the paper's factor beside it.
fn hardware(rows: &[ReplayRow]) -> Vec<String> {
    let sentence = |one: AcceleratorSpeed| {
        let (reached, short) = one.against_claim();
        let AcceleratorSpeed { name, provenance, claimed, found } = one;
        let list: Vec<String> =
            found.iter().map(|(hidden, ratio, error)| format!("{ratio:.1} ± {error:.1} at D {hidden}")).collect();
        let says = match (provenance, reached, short) {
            // The model is the least time that the device could take.
            (Provenance::Modelled, _, true) => "cannot be reached one activation at a time, by the model's bound",
            (Provenance::Modelled, ..) => "not excluded by the model's bound, and not measured",
            (Provenance::Simulated, true, _) => "holds in simulation, if the stated clock is met",
            (Provenance::Simulated, _, true) => "does not hold, even if the stated clock is met",
            (_, true, _) => "holds",
            (_, _, true) => "does not hold",
            _ => "undecided within two standard errors",
        };
        format!(
            "FC in hardware {claimed:.0} times as fast as Top-k, {name} against Top-k on 1 thread of this CPU: {says}; {}.",
            list.join(", ")
        )
    };
    accelerated(rows).into_iter().map(sentence).collect()
}

/// The paragraph under the table.
pub(super) fn markdown(rows: &[ReplayRow]) -> String {
    let mut out =
        String::from("Which of the paper's claims of speed hold here, with every method as fast as we have it:\n\n");
    for SpeedClaim { method, threads, claimed, found, verdict } in claims(rows) {
        let threads = if threads == 1 { "1 thread".to_string() } else { format!("{threads} threads") };
        let list: Vec<String> =
            found.iter().map(|(hidden, ratio, error)| format!("{ratio:.2} ± {error:.2} at D {hidden}")).collect();
        let says = match verdict {
            SpeedVerdict::Holds => "holds",
            SpeedVerdict::Less => "FC is faster, but by less",
            SpeedVerdict::Fails if found.iter().all(|(_, ratio, error)| ratio + 2.0 * error < 1.0) => {
                "does not hold: FC is slower"
            }
            SpeedVerdict::Fails => "does not hold: FC is slower at some D",
            SpeedVerdict::Open => "undecided within two standard errors",
        };
        let _ = writeln!(
            out,
            "- FC in software {claimed:.1} times as fast as {method} (printed averages), {threads}: {says}; {}.",
            list.join(", ")
        );
    }
    out += "- The SVD family and QR work in f64 here, FC and Top-k in f32: in f32 the former's factors might be half as large.\n";
    hardware(rows).into_iter().for_each(|line| out += &format!("- {line}\n"));
    let checked = model_check(rows);
    for device in distinct(checked.iter().map(|(device, ..)| device)) {
        let of_device = checked.iter().filter(|(other, ..)| other == device);
        let shares: Vec<String> = of_device.map(|(_, hidden, share)| format!("{share:.2} at D {hidden}")).collect();
        let _ = writeln!(
            out,
            "- The model checked on {device}, transform alone: predicted over measured is {}. It leaves out all but peak \
             arithmetic, memory and launches, so on a Jetson too expect longer than modelled.",
            shares.join(", ")
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::table4::tests::row;
    use super::*;

    #[test]
    fn verdicts_follow_from_the_numbers() {
        let found = |ratio| [(1536, ratio, 0.1), (2048, ratio + 1.0, 0.1)];
        assert_eq!(verdict(3.5, &found(4.0)), SpeedVerdict::Holds);
        assert_eq!(verdict(3.5, &found(3.4)), SpeedVerdict::Open);
        assert_eq!(verdict(3.5, &found(2.0)), SpeedVerdict::Less);
        assert_eq!(verdict(3.5, &found(0.7)), SpeedVerdict::Fails);
        assert_eq!(verdict(3.5, &found(1.1)), SpeedVerdict::Open);
    }

    #[test]
    fn the_paragraph_says_what_the_rows_say() {
        let rows = |topk| {
            [
                row("cpu", "fc", Some(2.0)),
                row("cpu", "topk", Some(topk)),
                row("model", "fc-kernel", Some(0.25)),
                row("cpu", "fc-kernel", Some(1.0)),
            ]
        };
        let slower = markdown(&rows(1.0));
        assert!(
            slower
                .contains("3.5 times as fast as Top-k (printed averages), 1 thread: does not hold: FC is slower; 0.50")
        );
        assert!(
            slower.contains("32 times as fast as Top-k, a device (modelled)") && slower.contains("cannot be reached")
        );
        let faster = markdown(&rows(20.0));
        assert!(faster.contains("1 thread: holds; 10.00 ± 0.14 at D 2048"), "{faster}");
        assert!(faster.contains("not excluded by the model's bound") && faster.contains("80.0"), "{faster}");
        let mut checked = rows(1.0).to_vec();
        checked[2].device = "one thread of this processor".into();
        assert!(markdown(&checked).contains("predicted over measured is 0.25 at D 2048"));
        let simulated = |total| markdown(&[row("cpu", "topk", Some(20.0)), row("fpga", "fc-kernel", Some(total))]);
        assert!(simulated(2.0).contains("a device (simulated) against Top-k on 1 thread of this CPU: does not hold"));
        assert!(simulated(0.1).contains("holds in simulation, if the stated clock is met; 200.0"));
        let gpu = ReplayRow { variant: "faster, copies apart".into(), ..row("cuda", "fc-kernel", Some(0.5)) };
        let model = ReplayRow { variant: "faster".into(), device: "G, by the model".into(), ..checked[2].clone() };
        assert_eq!(model_check(&[gpu, model]), [("G, by the model".to_string(), 2048, 0.5)]);
    }
}
