//! Comparisons of two runs as tables for the terminal.

use super::compare::{CellComparison, ComparedCell, Comparison, Difference, FlippedQuestion, Nearness};
use super::number::{self, MISSING};
use super::table::{Notes, Table, TableSection};
use super::{fidelity, names};

/// The two cells, by as much of their models' names as tells all of them apart.
fn pair(one: &Comparison, all: &[Comparison]) -> String {
    let models: Vec<&str> = all.iter().flat_map(|one| [&one.a, &one.b]).map(|cell| cell.model.as_str()).collect();
    let label = |cell: &ComparedCell| cell.labelled(&crate::model::short_name(&cell.model, models.iter().copied()));
    format!("A: {}\nB: {}", label(&one.a), label(&one.b))
}

/// What a line's data set is called.
fn shown(line: &CellComparison) -> String {
    line.title.clone().unwrap_or_else(|| line.dataset.as_deref().map_or("mean".into(), names::title))
}

/// As a table for the terminal.
pub fn text(comparisons: &[Comparison], by_norm: bool, width: usize) -> String {
    let metric = if by_norm { "acc_norm" } else { "acc" };
    let near = comparisons.iter().flat_map(|one| &one.lines).any(|line| line.kl.is_some());
    let mut columns = vec![
        "pair",
        "data set",
        "questions",
        "A %",
        "B %",
        "B - A points",
        "lost",
        "gained",
        "McNemar p",
        "gold nats",
        "bytes B/A",
    ];
    let mut caption = vec![
        "± half of the 95 % interval of the mean paired difference (Student's t over questions); of the mean, sets weigh alike and are independent.".to_string(),
        "lost: right in A, wrong in B; gained: the other way; McNemar p: exact, two-sided, not corrected for the number of lines; in the line of the mean over all questions.".into(),
    ];
    if near {
        columns.extend(["KL A", "KL B", "KL B - A", "top-1 A %", "top-1 B %", "top-1 B - A"]);
        caption.push(
            "KL: nats a scored position from each run's own unsplit model, top-1: positions with its most likely token; B is the nearer \
             where KL B - A is below 0 and top-1 B - A above."
                .into(),
        );
    }
    let mut notes = Notes::default();
    let with_interval = |found: Difference, digits: usize| match found.half {
        Some(half) => format!("{:+.digits$} ± {half:.digits$}", found.mean),
        None => format!("{:+.digits$}", found.mean),
    };
    let measure = |found: Option<Nearness>, show: &dyn Fn(f64) -> String| match found {
        Some(Nearness { a, b, difference: Difference { mean, half } }) => {
            let sign = if mean < 0.0 { "-" } else { "+" };
            let half = half.map(|half| format!(" ± {}", show(half))).unwrap_or_default();
            [show(a), show(b), format!("{sign}{}{half}", show(mean.abs()))]
        }
        None => [MISSING; 3].map(String::from),
    };
    let row = |line: &CellComparison| {
        let mut cells = vec![
            shown(line),
            line.questions.to_string(),
            number::tenths(line.a),
            number::tenths(line.b),
            with_interval(line.accuracy, 1),
            line.lost.to_string(),
            line.gained.to_string(),
            number::p_value(line.mcnemar_p),
            line.gold_loglik.map_or(MISSING.into(), |found| with_interval(found, 3)),
            line.bytes.map_or(MISSING.into(), |ratio| format!("{ratio:.2}")),
        ];
        if near {
            cells.extend(measure(line.kl, &fidelity::digits));
            cells.extend(measure(line.top1, &number::tenths));
        }
        cells
    };
    let mut sections = Vec::new();
    for one in comparisons {
        let marks: Vec<String> = one.notes.iter().map(|note| notes.mark(note)).collect();
        let name = format!("{} {}", pair(one, comparisons), marks.join(" "));
        sections.push(TableSection { name: name.trim_end().to_string(), rows: one.lines.iter().map(row).collect() });
    }
    let table = Table {
        title: format!("Paired comparison, {metric}, B minus A on the same questions"),
        caption,
        columns: columns.into_iter().map(String::from).collect(),
        sections,
        notes,
        ..Table::default()
    };
    table.text(width, &mut Vec::new())
}

/// The questions that were lost or gained as a table for the terminal.
pub fn flips_text(comparisons: &[Comparison], by_norm: bool, width: usize) -> String {
    let row = |one: &Comparison, flip: &FlippedQuestion| {
        let line = one.lines.iter().find(|line| line.dataset.as_ref() == Some(&flip.dataset));
        let margin = |value: f64| format!("{value:+.3}");
        let what = if flip.a == flip.gold { "lost" } else { "gained" };
        let choices = [flip.gold, flip.a, flip.b].map(|choice| choice.to_string());
        let mut cells =
            vec![format!("{} {}", line.map_or(String::new(), shown), flip.id), flip.index.to_string(), what.into()];
        cells.extend(choices);
        cells.extend([flip.margin_a, flip.margin_b].map(margin));
        cells
    };
    let section = |one: &Comparison| TableSection {
        name: pair(one, comparisons),
        rows: one.flips.iter().map(|flip| row(one, flip)).collect(),
    };
    let unit = if by_norm { "nats per character" } else { "nats" };
    let table = Table {
        title: "Questions lost and gained".into(),
        caption: vec![
            "row: its number in the file, from 0; right, A, B: the right choice and what each chose, from 0.".into(),
            format!(
                "margin: log-likelihood of the right choice less the best other one, {unit}; below 0 the answer is wrong."
            ),
            "Those whose margin moved most come first.".into(),
        ],
        columns: ["pair", "question", "row", "", "right", "A", "B", "margin A", "margin B"].map(String::from).to_vec(),
        sections: comparisons.iter().filter(|one| !one.flips.is_empty()).map(section).collect(),
        ..Table::default()
    };
    if table.sections.is_empty() {
        "No question was lost or gained.\n".into()
    } else {
        table.text(width, &mut Vec::new())
    }
}
