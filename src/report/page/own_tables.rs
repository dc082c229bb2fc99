//! The paper against its own tables: what its text says, computed again from `results/paper/*.csv`.

use super::super::near_lossless::near_lossless;
use super::super::number::signed;
use super::super::table::{Table, TableSection};
use super::super::{names, paper};
use super::verdict::ClaimState;

/// Something the text says, and what the tables say of it.
pub(super) struct Check {
    /// The statement, in our words.
    pub says: &'static str,
    /// Where it stands.
    pub section: &'static str,
    pub verdict: ClaimState,
    /// The numbers.
    pub found: String,
}

/// The paper's loss that is still near-lossless, points.
const LIMIT: f64 = 0.3;
/// Numbers are printed to a tenth: a mean may differ from the mean of printed numbers by half of one, and a little for arithmetic.
const ROUNDING: f64 = 0.05 + 1e-9;
const METHODS: [&str; 5] = ["fwsvd", "asvd", "svd-llm", "qr", "topk"];

fn check(says: &'static str, section: &'static str, holds: bool, found: String) -> Check {
    Check { says, section, verdict: ClaimState::judge(holds, !holds), found }
}

/// A model's accuracy in Table III, by data set.
fn table3(model: &str, codec: &str) -> Vec<f64> {
    names::DATASETS.iter().filter_map(|(dataset, _)| paper::table3(model, codec, dataset)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean loss of a codec over the data sets and models of Table III, points.
fn mean_loss(codec: &str) -> f64 {
    let loss = |model| mean(&table3(model, "baseline")) - mean(&table3(model, codec));
    mean(&paper::models().map(loss))
}

/// Seconds of a method in Table IV, averaged over the models again.
fn seconds(method: &str) -> f64 {
    let each: Vec<f64> = paper::models().iter().filter_map(|model| paper::table4(model, method)).collect();
    mean(&each)
}

/// Everything that can be checked.
pub(super) fn checks() -> Vec<Check> {
    vec![
        averages(),
        seconds_averages(),
        check(
            "FC loses less than 0.3 points on average at 7.6 times",
            "Abstract, I-B",
            mean_loss("fc") < LIMIT,
            format!("Table III: FC loses {:.2} points on average over four models and ten sets", mean_loss("fc")),
        ),
        every_cell(),
        every_model(),
        best_everywhere(),
        exceeds(),
        commonsense(),
        collapse(),
        mean_ratio(),
        near_lossless_row(),
        same_cells(),
        factor("FC in software is 3.5 times as fast as Top-k", "topk", "fc-software", 3.45),
        factor("FC in software is more than 15 times as fast as SVD-LLM", "svd-llm", "fc-software", 15.0),
        factor("FC in hardware is 32 times as fast as Top-k", "topk", "fc-hardware", 31.5),
        orders_of_magnitude(),
        outlier(),
        shares(),
        clients(),
    ]
}

fn averages() -> Check {
    let rows = paper::models()
        .into_iter()
        .flat_map(|model| METHODS.into_iter().chain(["fc", "baseline"]).map(move |codec| (model, codec)));
    let off: Vec<(String, f64)> = rows
        .filter_map(|(model, codec)| {
            let away = paper::table3(model, codec, "avg")? - mean(&table3(model, codec));
            Some((format!("{codec} of {model}"), away))
        })
        .collect();
    let wrong: Vec<String> =
        off.iter().filter(|(_, away)| away.abs() > ROUNDING).map(|(row, away)| format!("{row} {away:+.2}")).collect();
    let listed =
        if wrong.is_empty() { String::new() } else { format!(" (printed minus computed: {})", wrong.join(", ")) };
    check(
        "Average accuracies of Table III",
        "Table III",
        wrong.is_empty(),
        format!(
            "{} of {} printed averages are the mean of their row to a tenth{listed}",
            off.len() - wrong.len(),
            off.len()
        ),
    )
}

fn seconds_averages() -> Check {
    let methods = METHODS.into_iter().chain(["fc-software", "fc-hardware"]);
    let off: Vec<(&str, f64)> =
        methods.filter_map(|method| Some((method, paper::table4("Avg.", method)? - seconds(method)))).collect();
    let wrong: Vec<String> = off
        .iter()
        .filter(|(_, away)| away.abs() > ROUNDING)
        .map(|(method, away)| format!("{method} {away:+.2} s"))
        .collect();
    let listed =
        if wrong.is_empty() { String::new() } else { format!(" (printed minus computed: {})", wrong.join(", ")) };
    check(
        "Average times of Table IV",
        "Table IV",
        wrong.is_empty(),
        format!(
            "{} of {} printed averages are the mean of their column to a tenth{listed}",
            off.len() - wrong.len(),
            off.len()
        ),
    )
}

/// Loss of FC in each cell of Table III, with the cell's name.
fn cells() -> Vec<(String, f64)> {
    let of = |model: &'static str| {
        names::DATASETS.into_iter().filter_map(move |(dataset, title)| {
            let loss = paper::table3(model, "baseline", dataset)? - paper::table3(model, "fc", dataset)?;
            Some((format!("{title} of {model}"), loss))
        })
    };
    paper::models().into_iter().flat_map(of).collect()
}

fn every_cell() -> Check {
    let cells = cells();
    // Differences of tenths are not quite tenths.
    let beyond = cells.iter().filter(|(_, loss)| *loss > LIMIT + 1e-9).count();
    let worst = cells.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let worst = worst.map(|(cell, loss)| format!("; worst: {cell}, {loss:.1}")).unwrap_or_default();
    check(
        "FC stays within 0.3 points of the baseline on all four models and ten data sets",
        "IV-B(3)",
        beyond == 0,
        format!("Table III: {beyond} of {} cells lose more than 0.3 points{worst}", cells.len()),
    )
}

fn every_model() -> Check {
    let losses = paper::models().map(|model| (model, mean(&table3(model, "baseline")) - mean(&table3(model, "fc"))));
    let list: Vec<String> = losses.iter().map(|(model, loss)| format!("{model} {loss:.2}")).collect();
    check(
        "FC's average drop is no more than 0.3 points on any model (printed: 0.0, 0.3, 0.3, and 0.1 up)",
        "Table III",
        losses.iter().all(|(_, loss)| *loss < LIMIT + ROUNDING),
        format!("Table III, mean of the ten sets: {}", list.join(", ")),
    )
}

fn best_everywhere() -> Check {
    let mut beaten = Vec::new();
    for model in paper::models() {
        for (dataset, title) in names::DATASETS {
            let fc = paper::table3(model, "fc", dataset);
            let better = METHODS.into_iter().filter(|codec| paper::table3(model, codec, dataset) > fc);
            let better: Vec<&str> = better.collect();
            if !better.is_empty() {
                beaten.push(format!("{title} of {model} ({})", better.join(", ")));
            }
        }
    }
    let list = if beaten.is_empty() { String::new() } else { format!(": {}", beaten.join("; ")) };
    check(
        "FC consistently beats Top-k, QR and the SVD methods",
        "I-B, IV-B(3)",
        beaten.is_empty(),
        format!("Table III: in {} of 40 cells another method stands above FC{list}", beaten.len()),
    )
}

fn exceeds() -> Check {
    let (fc, baseline) = (mean(&table3("Qwen2.5-3B", "fc")), mean(&table3("Qwen2.5-3B", "baseline")));
    check(
        "On Qwen2.5-3B FC's average (46.4) is above the baseline's (46.3)",
        "IV-B(3)",
        fc > baseline,
        format!("Table III, mean of the row: {fc:.2} against {baseline:.2}; no standard error is given"),
    )
}

fn commonsense() -> Check {
    let loss = |codec| {
        let of = |codec| paper::table3("Llama 3-1B", codec, "commonsense_qa").unwrap_or(f64::NAN);
        of("baseline") - of(codec)
    };
    let [fc, svd, topk] = ["fc", "svd-llm", "topk"].map(loss);
    check(
        "Llama 3-1B on CommonsenseQA: FC loses 0.2 points, SVD-LLM and Top-k over 9",
        "IV-B(3)",
        (fc - 0.2).abs() < ROUNDING && svd > 9.0 && topk > 9.0,
        format!("Table III: FC {fc:.1}, SVD-LLM {svd:.1}, Top-k {topk:.1}"),
    )
}

fn collapse() -> Check {
    let losses =
        ["Llama 3-1B", "Llama 3-3B"].map(|model| mean(&table3(model, "baseline")) - mean(&table3(model, "svd-llm")));
    check(
        "On Llama 3 SVD-LLM drops by more than 8 points at the same ratio",
        "IV-B(4)",
        losses.iter().all(|loss| *loss > 8.0),
        format!(
            "Table III, averages: {:.1} points on 1B, {:.1} on 3B; single sets of Figure 5 may lose more, its numbers are not printed",
            losses[0], losses[1]
        ),
    )
}

fn mean_ratio() -> Check {
    let ratios: Vec<f64> = names::DATASETS.iter().filter_map(|(dataset, _)| paper::near_lossless(dataset)).collect();
    let of_table3: Vec<f64> = names::DATASETS.iter().filter_map(|(dataset, _)| paper::table3_ratio(dataset)).collect();
    check(
        "The near-lossless ratio is 7.6 on average over the ten sets",
        "IV-B(2), Table II",
        (mean(&ratios) - 7.6).abs() < ROUNDING,
        format!(
            "Table II, last row: {:.2}; whole ratios that Table III turns out to use: {:.2}",
            mean(&ratios),
            mean(&of_table3)
        ),
    )
}

/// The last row of Table II by its own rule, over the ratios it lists.
fn near_lossless_row() -> Check {
    let by_rule = |dataset: &str| -> Option<f64> {
        let of = |model: &str| {
            let tried = [10.0, 9.0, 8.0, 7.0, 6.0]
                .into_iter()
                .filter_map(|ratio| Some((ratio, paper::table2(model, Some(ratio), dataset)?)));
            near_lossless(paper::table2(model, None, dataset)?, &tried.collect::<Vec<_>>(), LIMIT)?.holds
        };
        paper::models().iter().map(|model| of(model)).sum::<Option<f64>>().map(|sum| sum / paper::models().len() as f64)
    };
    let mut same = 0;
    let mut list = Vec::new();
    for (dataset, title) in names::DATASETS {
        let Some(printed) = paper::near_lossless(dataset) else { continue };
        match by_rule(dataset) {
            Some(found) if (found - printed).abs() <= ROUNDING => same += 1,
            Some(found) => list.push(format!("{title} {printed} ({found:.2})")),
            None => list.push(format!("{title} {printed} (below 6 on some model)")),
        }
    }
    check(
        "Last row of Table II: the largest ratio that loses at most 0.3 points, averaged over the models",
        "IV-B(2), Table II",
        list.is_empty(),
        format!(
            "{same} of {} follow from the rows above; printed, and in brackets by that rule: {}. The table tries 6 to 10, so neither 10.3 nor 5.8 can come from it",
            same + list.len(),
            list.join(", ")
        ),
    )
}

fn same_cells() -> Check {
    let same = |model: &str, dataset: &str| {
        paper::table3(model, "fc", dataset) == paper::table2(model, paper::table3_ratio(dataset), dataset)
    };
    let all = paper::models().into_iter().flat_map(|model| names::DATASETS.map(|(dataset, _)| same(model, dataset)));
    let (same, all) = all.fold((0, 0), |(same, all), one| (same + usize::from(one), all + 1));
    check(
        "Table III evaluates FC at one ratio per data set, that of Table II",
        "IV-B(3)",
        same == all,
        format!(
            "{same} of {all} FC cells equal Table II at one whole ratio per set (9, 8, 8, 10, 6, 6, 7, 7, 8, 7); the others are better values of another ratio"
        ),
    )
}

/// A stated factor between two printed averages of Table IV, at least `least` to round to it.
fn factor(says: &'static str, slow: &str, fast: &str, least: f64) -> Check {
    let of = |method| paper::table4("Avg.", method).unwrap_or(f64::NAN);
    let each: Vec<String> = paper::models()
        .iter()
        .filter_map(|model| Some(format!("{:.1}", paper::table4(model, slow)? / paper::table4(model, fast)?)))
        .collect();
    let ratio = of(slow) / of(fast);
    check(
        says,
        "IV-C, Table IV",
        ratio >= least,
        format!("printed averages: {} / {} = {ratio:.1}; model by model {}", of(slow), of(fast), each.join(", ")),
    )
}

fn orders_of_magnitude() -> Check {
    let hardware = seconds("fc-hardware");
    let factors = ["fwsvd", "asvd", "svd-llm"].map(|method| (method, seconds(method) / hardware));
    let list: Vec<String> = factors.iter().map(|(method, factor)| format!("{method} {factor:.0}")).collect();
    check(
        "FC in hardware is over two orders of magnitude faster than the SVD methods",
        "IV-C",
        factors.iter().all(|(_, factor)| *factor > 100.0),
        format!("Table IV, means over the models: {}", list.join(", ")),
    )
}

/// Two models of one hidden size should take alike.
fn outlier() -> Check {
    let of = |method: &'static str| {
        let of = |model| paper::table4(model, method).unwrap_or(f64::NAN);
        (method, of("Llama 3-1B"), of("Qwen2.5-3B"))
    };
    let pairs = ["fwsvd", "asvd", "svd-llm", "qr", "topk", "fc-software"].map(of);
    let far: Vec<String> = pairs
        .iter()
        .filter(|(_, a, b)| a.max(*b) / a.min(*b) > 2.0)
        .map(|(method, a, b)| format!("{method} {a} and {b} s, {:.1} times", a.max(*b) / a.min(*b)))
        .collect();
    let close: Vec<String> = pairs
        .iter()
        .filter(|(_, a, b)| a.max(*b) / a.min(*b) <= 2.0)
        .map(|(method, a, b)| format!("{method} {:.1}", a.max(*b) / a.min(*b)))
        .collect();
    check(
        "Times are listed by hidden size: Llama 3-1B and Qwen2.5-3B, both 2048, should take alike",
        "Table IV",
        far.is_empty(),
        format!(
            "apart by more than twice: {}; others: {} times",
            if far.is_empty() { "none".into() } else { far.join(", ") },
            close.join(", ")
        ),
    )
}

/// Shares of the response time follow from Table IV's times where the rest is the same for all methods: share of another method when
/// FC in software has `share`.
fn implied(share: f64, method: &str) -> f64 {
    let of = |method| paper::table4("Avg.", method).unwrap_or(f64::NAN);
    let fc = of("fc-software");
    let rest = fc / share - fc;
    of(method) / (of(method) + rest)
}

fn shares() -> Check {
    let stated = [("topk", 3.0), ("svd-llm", 53.0), ("qr", 66.0), ("fc-hardware", 0.3)];
    let list: Vec<String> = stated
        .iter()
        .map(|(method, stated)| {
            format!("{method} {stated} % stated, {:.1} % by Table IV", 100.0 * implied(0.04, method))
        })
        .collect();
    // More time cannot be a smaller share of the same request.
    let slower = paper::table4("Avg.", "topk") > paper::table4("Avg.", "fc-software");
    check(
        "Shares of the response time: Top-k 3 %, FC in software 4 %, SVD-LLM 53 %, QR 66 %, FC in hardware 0.3 %",
        "IV-C, Figure 6",
        !slower,
        format!(
            "Table IV has Top-k take {:.1} times FC's time, and here the smaller share. If all else takes as long as FC's 4 % says: {}",
            paper::table4("Avg.", "topk").unwrap_or(f64::NAN)
                / paper::table4("Avg.", "fc-software").unwrap_or(f64::NAN),
            list.join("; ")
        ),
    )
}

fn clients() -> Check {
    let (ratio, sent) = (1500.0 / 150.0, paper::near_lossless("piqa").unwrap_or(f64::NAN));
    check(
        "At 10 Gbit/s and eight GPUs 1,500 clients instead of 150, near 10 times; payloads shrink by 10.3",
        "IV-D, Figure 7(b)",
        ratio <= sent,
        format!(
            "{ratio:.0} is at most PIQA's {sent} in elements ({} from it); a complex coefficient is two numbers, so bytes shrink by half that factor",
            signed(ratio - sent)
        ),
    )
}

/// As a table of words.
pub(super) fn table() -> Table {
    let rows = checks()
        .into_iter()
        .map(|check| vec![check.says.into(), check.section.into(), check.verdict.to_string(), check.found])
        .collect();
    Table {
        title: "The paper against its own tables".into(),
        caption: vec!["Computed from the paper's Tables II to IV as printed (results/paper/*.csv), whatever the run. ✓: the tables bear the statement out.".into()],
        columns: ["", "the paper says", "where", "verdict", "what its tables give"].map(String::from).to_vec(),
        sections: vec![TableSection { name: String::new(), rows }],
        ..Table::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_tables_comes_out() {
        let all = checks();
        let of = |part: &str| all.iter().find(|check| check.says.contains(part)).unwrap();
        let cells = of("on all four models");
        assert_eq!(cells.verdict, ClaimState::Fails);
        assert!(
            cells.found.contains("13 of 40") && cells.found.contains("ARC-Challenge of Qwen2.5-1.5B, 1.4"),
            "{}",
            cells.found
        );
        assert!(of("one ratio per data set").found.starts_with("35 of 40"));
        let row = of("Last row of Table II");
        assert!(row.verdict == ClaimState::Fails && row.found.contains("ARC-Easy 8.4 (7.50)"), "{}", row.found);
        assert_eq!(of("7.6 on average over").verdict, ClaimState::Holds);
        assert!(of("3.5 times").found.contains("22.4 / 6.4 = 3.5"), "{}", of("3.5 times").found);
        assert!(of("32 times").found.contains("= 32.0") && of("32 times").verdict == ClaimState::Holds);
        assert!(
            of("by hidden size").found.contains("fwsvd 90.4 and 11.5 s, 7.9 times"),
            "{}",
            of("by hidden size").found
        );
        assert!(of("Shares").verdict == ClaimState::Fails && of("Shares").found.contains("topk 3 % stated, 12.7 % by"));
        assert!(all.iter().all(|check| !check.found.contains("NaN")), "a number is missing");
        for check in &all {
            assert_ne!(check.verdict, ClaimState::Open, "{}", check.says);
        }
    }

    #[test]
    fn a_share_follows_from_a_time() {
        assert!((implied(0.04, "fc-software") - 0.04).abs() < 1e-12);
    }
}
