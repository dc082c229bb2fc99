//! Advice as text, as Markdown and as a picture.

use anyhow::Result;

use super::figure::{Axis, Figure, FigurePoint, Panel, PanelBand, Scale};
use super::number::{self, MISSING};
use super::picture::TextPlace;
use super::table::{Table, TableSection};
use crate::advise::setting::{CutTimes, SplitSetting};
use crate::advise::{Advice, AdvisedCut, LinkBreakEven, PAIR, PlannerChoice};
use crate::score::Verdict;
use splitbench_planner::{CutObjective, LossLimit};

const GIB: f64 = (1u64 << 30) as f64;

/// Stands with every plan.
const FACT: &str = "all layers of a decoder send the same number of channels: but for memory, layers that must stay, loss by layer, embedding and \
    head, the best cut is an end";

fn ms(seconds: f64) -> String {
    number::significant(1e3 * seconds)
}

fn mbps(rate: f64) -> String {
    match rate {
        rate if rate >= 1000.0 => format!("{} Gbit/s", number::significant(rate / 1000.0)),
        rate => format!("{} Mbit/s", number::significant(rate)),
    }
}

/// Losses below a thousandth of a limit's unit are written as such.
fn loss(value: Option<f64>) -> String {
    match value {
        None => MISSING.into(),
        Some(0.0) => "0".into(),
        Some(value) if value.abs() < 0.00005 => format!("{value:.0e}"),
        Some(value) => number::significant(value),
    }
}

fn row(label: &str, cut: &AdvisedCut) -> Vec<String> {
    let sent = |sent: &Option<crate::advise::loss::SentAs>| sent.as_ref().map_or(MISSING.into(), ToString::to_string);
    let kept = match cut.verdict {
        Some(Verdict::Passed) => "yes".to_string(),
        Some(Verdict::CannotTell) => "cannot tell".into(),
        Some(Verdict::Failed) => "no".into(),
        None => MISSING.into(),
    };
    // At an end nothing is cut and nothing sent.
    let [layer, prompt, step] = match &cut.prompt {
        Some(_) => [cut.after_layer.to_string(), sent(&cut.prompt), sent(&cut.step)],
        None => [MISSING.into(), cut.name(), MISSING.into()],
    };
    vec![
        label.to_string(),
        layer,
        prompt,
        step,
        loss(cut.kl_nats),
        cut.drop_points.map_or(MISSING.into(), number::tenths),
        kept,
        ms(cut.cost.ttft_s),
        ms(cut.cost.step_s),
        number::significant(cut.cost.response_s),
        number::significant(cut.cost.client_memory_bytes as f64 / GIB),
    ]
}

fn table(advice: &Advice) -> Table {
    let limits = &advice.goal.limits;
    let mut caption = vec![
        format!("{}.", advice.setting),
        format!("Client: {}. Server: {}.", advice.client, advice.server),
        format!("Least {}.", advice.objective()),
    ];
    match limits.loss {
        Some(LossLimit::KlNats(most)) => caption.push(format!("KL at most {most} nats per token.")),
        Some(LossLimit::DropPoints(most)) => caption.push(format!("At most {most} points of accuracy lost.")),
        None => caption.push("No limit on the loss.".into()),
    }
    if limits.min_layer > 0 {
        caption.push(format!("Layers that stay on the client: at least {}.", limits.min_layer));
    }
    for (device, memory) in [("client", limits.client_memory_bytes), ("server", limits.server_memory_bytes)] {
        caption.extend(memory.map(|bytes| format!("At most {:.2} GiB on the {device}.", bytes as f64 / GIB)));
    }
    let columns = [
        "",
        "",
        "layer",
        "prompt",
        "steps",
        "KL",
        "points",
        "kept",
        "first, ms",
        "token, ms",
        "answer, s",
        "client GiB",
    ];
    let label = |nth: usize| if nth == 0 { "best".to_string() } else { format!("{}", nth + 1) };
    let mut rows: Vec<Vec<String>> = advice.cuts.iter().enumerate().map(|(nth, cut)| row(&label(nth), cut)).collect();
    // An end may be among the best already.
    for cut in advice.compared.iter().filter(|cut| advice.cuts.iter().all(|known| known.name() != cut.name())) {
        rows.push(row("for comparison", cut));
    }
    Table {
        title: "Where to cut and what to send".into(),
        caption,
        columns: columns.map(String::from).to_vec(),
        sections: vec![TableSection { name: String::new(), rows }],
        ..Table::default()
    }
}

fn break_even(one: &LinkBreakEven) -> String {
    let LinkBreakEven { against, below_mbps, above_mbps, always } = one;
    match (always, below_mbps, above_mbps) {
        (true, ..) => format!("quicker than {against} at every rate"),
        (_, Some(rate), _) => format!("quicker than {against} below {}", mbps(*rate)),
        (_, _, Some(rate)) => format!("quicker than {against} above {}", mbps(*rate)),
        _ => format!("slower than {against} at every rate"),
    }
}

fn planner(one: &PlannerChoice) -> String {
    let Some(plan) = &one.plan else { return format!("{}: {}", one.planner, one.err.as_deref().unwrap_or_default()) };
    let (choice, cost) = (&plan.choice, &plan.cost);
    let sent = match choice.codec.split_once(PAIR) {
        Some((prompt, step)) if prompt == step => format!("after layer {}, {prompt}", choice.after_layer),
        Some((prompt, step)) => format!("after layer {}, {prompt}; steps {step}", choice.after_layer),
        None => choice.codec.clone(),
    };
    format!("{}: {sent}, {} s, KL {}", one.planner, number::significant(cost.response_s), loss(choice.loss.kl_nats))
}

/// What stands below the table, a line each, by heading.
fn sections(advice: &Advice) -> Vec<(&'static str, Vec<String>)> {
    let steps = advice.steps.iter().skip(1).filter_map(|cut| {
        Some(format!("{}: {} ms per token, KL {}", cut.step.as_ref()?, ms(cut.cost.step_s), loss(cut.kl_nats)))
    });
    let ranges = advice
        .ranges
        .iter()
        .map(|range| format!("{} to {}: {}", mbps(range.from_mbps), mbps(range.to_mbps), range.cut));
    let energy = (advice.goal.objective == CutObjective::ClientEnergy).then(|| {
        advice.cuts.iter().map(|cut| format!("{}: {} J", cut.name(), number::significant(cut.cost.client_joules)))
    });
    let throughput = (advice.goal.objective == CutObjective::Throughput).then(|| {
        let rate = |cut: &AdvisedCut| {
            format!("{}: {} answers per second", cut.name(), number::significant(1.0 / cut.cost.busiest_s))
        };
        advice.cuts.iter().map(rate)
    });
    let assumed: Vec<String> = (advice.cuts.iter().filter(|cut| cut.assumed_times))
        .map(|cut| format!("{}: one machine's codec times stand for the other's", cut.name()))
        .collect();
    let behind = match advice.datasets.len() {
        0 => vec![],
        _ => vec![format!("losses are of {}", advice.datasets.join(", "))],
    };
    vec![
        ("What decides", vec![FACT.into(), advice.decided_by.clone()]),
        ("Other codecs for the steps", steps.collect()),
        ("Energy of the client per answer", energy.into_iter().flatten().collect()),
        ("Throughput with many clients", throughput.into_iter().flatten().collect()),
        ("What cannot be told", advice.unsure.clone()),
        (
            "On other links (the way up; everything else as it is) the best is",
            advice.break_even.iter().map(break_even).collect(),
        ),
        ("Who wins at which rate of the way up", ranges.collect()),
        ("What published planners choose from the same tables", advice.planners.iter().map(planner).collect()),
        ("Notes", [advice.notes.clone(), assumed, behind].concat()),
    ]
}

/// For a terminal this wide.
pub fn text(advice: &Advice, width: usize) -> String {
    let mut out = table(advice).text(width, &mut Vec::new());
    for (heading, lines) in sections(advice) {
        if !lines.is_empty() {
            out += &format!("\n{heading}:\n");
            lines.iter().for_each(|line| out += &format!("  {line}\n"));
        }
    }
    out
}

/// What codecs take over a link, for a terminal.
pub fn plan_text(setting: &SplitSetting, times: &[CutTimes]) -> String {
    let row = |one: &CutTimes| {
        vec![
            one.sent.to_string() + if one.assumed { " (times of one machine for both)" } else { "" },
            one.after_layer.to_string(),
            number::significant(one.prompt_bytes / 1024.0),
            ms(one.ttft_s),
            one.step_bytes.map_or(MISSING.into(), |bytes| format!("{bytes:.0}")),
            one.step_s.map_or(MISSING.into(), ms),
        ]
    };
    let columns = ["", "codec", "cut after", "prompt, KiB", "first token, ms", "a step, bytes", "per token, ms"];
    let table = Table {
        title: "What each codec takes over the link".into(),
        caption: vec![
            format!("{}.", setting.describe()),
            format!("Client: {}. Server: {}.", setting.client.describe(), setting.server.describe()),
            "Computed from the profiles. A codec that mixes the rows of a packet sends no steps.".into(),
        ],
        columns: columns.map(String::from).to_vec(),
        sections: vec![TableSection { name: String::new(), rows: times.iter().map(row).collect() }],
        ..Table::default()
    };
    table.text(160, &mut Vec::new())
}

/// For a page.
pub fn markdown(advice: &Advice) -> String {
    let mut out = table(advice).markdown();
    for (heading, lines) in sections(advice) {
        if !lines.is_empty() {
            out += &format!("\n{heading}:\n\n");
            lines.iter().for_each(|line| out += &format!("- {line}\n"));
        }
    }
    out
}

/// Response time against the rate of the way up, in the colours of who wins.
pub fn svg(advice: &Advice) -> Result<String> {
    let series: Vec<String> = advice.curves.iter().map(|curve| curve.cut.clone()).collect();
    let values = || advice.curves.iter().flat_map(|curve| &curve.points).map(|(_, seconds)| *seconds);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let bands = advice.ranges.iter().filter_map(|range| {
        let series = series.iter().position(|name| *name == range.cut)?;
        Some(PanelBand { from: range.from_mbps, to: range.to_mbps, series })
    });
    let panel = Panel {
        title: String::new(),
        scale: Scale::log(low, high),
        baseline: None,
        chance: None,
        bands: bands.collect(),
        series: (advice.curves.iter())
            .map(|curve| curve.points.iter().map(|&(x, y)| FigurePoint { x, y, stderr: 0.0 }).collect())
            .collect(),
        front: Vec::new(),
        named: Vec::new(),
    };
    let figure = Figure {
        title: "Time of the whole answer by the rate of the way up".into(),
        subtitle: format!(
            "{}. Client: {}. Server: {}. The background has the colour of the quickest that keeps all limits. Times are computed from the profiles.",
            advice.setting, advice.client, advice.server
        ),
        x_label: "rate of the way up, Mbit/s (log scale)".into(),
        y_label: "time of the whole answer, s (log scale)".into(),
        axis: Axis::LogLines,
        series,
        panels: vec![panel],
    };
    figure.svg(TextPlace::Inside)
}
