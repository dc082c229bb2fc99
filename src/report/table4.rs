//! Table IV and the list of everything a replay timed.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::number::{MISSING, field, tenths};
use super::paper::NumberPlace;
use super::table::{Notes, Table, TableSection};
use super::{number, paper, speed};
use crate::record::replay::{Provenance, ReplayRow, ReplayTimes};
use crate::record::table_file;

/// First line of generated Markdown.
const GENERATED: &str = "<!-- Written by splitbench from replay.jsonl: change the experiment, not this file. -->\n\n";

/// Columns of the table: the paper's methods, then ours that it does not have. The paper's name of a column, ours of a row,
/// and the heading.
pub(super) const COLUMNS: [(Option<&str>, Option<&str>, &str); 9] = [
    (Some("fwsvd"), Some("fwsvd"), "FWSVD"),
    (Some("asvd"), Some("asvd"), "ASVD"),
    (Some("svd-llm"), Some("svd-llm"), "SVD-LLM"),
    (Some("qr"), Some("qr"), "QR"),
    (Some("topk"), Some("topk"), "Top-k"),
    (Some("fc-software"), Some("fc"), "FC, software"),
    (Some("fc-hardware"), None, "FC, hardware"),
    (None, Some("svd"), "SVD"),
    (None, Some("fc-kernel"), "FC transform alone"),
];

/// Column of the accelerators.
const HARDWARE: usize = 6;

/// Writes the tables of a replay's rows; gives the files.
pub fn write(results: &Path, rows: &[ReplayRow], table4: bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut put = |name: &str, text: String| -> Result<()> {
        let path = results.join(name);
        crate::save::replace(&path, text.as_bytes())?;
        files.push(path);
        Ok(())
    };
    put("replay.md", format!("{GENERATED}{}", list(rows).markdown()))?;
    if table4 {
        let table = self::table4(rows, NumberPlace::Below);
        put("table4.md", format!("{GENERATED}{}\n{}", table.markdown(), speed::markdown(rows)))?;
        put("table4.csv", csv(rows))?;
    }
    Ok(files)
}

/// The tables as text for the terminal.
pub fn terminal(rows: &[ReplayRow], table4: bool) -> String {
    let mut said = Vec::new();
    let mut text = list(rows).text(160, &mut said);
    if table4 {
        let table = self::table4(rows, NumberPlace::Below).text(160, &mut said);
        text += &format!("\n{table}\n{}", speed::markdown(rows));
    }
    text
}

/// How a row was run: `1 thread`, `cuFFT, transfers included`.
fn way(row: &ReplayRow) -> String {
    let threads = row.threads.map(|n| if n == 1 { "1 thread".to_string() } else { format!("{n} threads") });
    let parts: Vec<String> =
        threads.into_iter().chain((!row.variant.is_empty()).then(|| row.variant.clone())).collect();
    parts.join(", ")
}

/// Seconds with three digits that count, and what sampling leaves uncertain.
fn seconds(times: ReplayTimes) -> String {
    let digits = (2.0 - times.total_s.log10().floor()).clamp(1.0, 9.0) as usize;
    match times.stderr_s {
        0.0 => format!("{:.digits$}", times.total_s),
        error => format!("{:.digits$} ± {error:.digits$}", times.total_s),
    }
}

/// Every row.
pub(super) fn list(rows: &[ReplayRow]) -> Table {
    let mut notes = Notes::default();
    let columns = [
        "device",
        "method",
        "D",
        "compress s",
        "decompress s",
        "both s",
        "median µs",
        "p99 µs",
        "first µs",
        "error f64",
    ];
    let mut sections: Vec<TableSection> = Vec::new();
    for row in rows {
        let name = match row.device.as_str() {
            "" => format!("{}: not run", row.backend),
            device => format!("{}: {device}, {}", row.backend, row.provenance),
        };
        let label = [row.method.clone(), way(row)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        let mut cells = vec![label.join(", "), row.hidden.to_string()];
        match (row.encode, row.decode, row.both) {
            (Some(encode), Some(decode), Some(both)) => {
                cells.extend([encode, decode, both].map(seconds));
                cells.extend([both.median_s, both.p99_s].map(|s| format!("{:.0}", 1e6 * s)));
            }
            _ => {
                cells.push(notes.missing(row.err.as_deref()));
                cells.extend([(); 4].map(|()| MISSING.to_string()));
            }
        }
        cells.push(row.first_s.map_or(MISSING.to_string(), |s| format!("{:.0}", 1e6 * s)));
        cells.push(row.error_f64.map_or(MISSING.to_string(), |error| format!("{error:.1e}")));
        if let (Some(note), Some(last)) = (&row.note, cells.first_mut()) {
            *last += &format!(" {}", notes.mark(note));
        }
        match sections.iter_mut().find(|section| section.name == name) {
            Some(section) => section.rows.push(cells),
            None => sections.push(TableSection { name, rows: vec![cells] }),
        }
    }
    let caption = rows.first().map(about).unwrap_or_default();
    let more = [
        "compress, decompress, both: seconds over all sequences, ± one standard error of sampling where a sample was run.",
        "median, p99: of one sequence, both directions.",
        "first: the first call of both, plans included.",
        "error f64: largest relative difference from the method in f64 arithmetic with numbers sent as they are.",
        "On several threads a sequence's time is that of a batch over the sequences in it.",
    ];
    Table {
        title: "Replay".into(),
        caption: caption.into_iter().chain(more.map(String::from)).collect(),
        columns: columns.map(String::from).to_vec(),
        sections,
        notes,
        ..Table::default()
    }
}

/// What was replayed.
fn about(row: &ReplayRow) -> Vec<String> {
    let ratio = match row.ratio.as_str() {
        "paper" => "each data set's ratio of the paper's Table III".to_string(),
        ratio => format!("ratio {ratio}"),
    };
    vec![
        format!("{} sequences of the trace {}, {ratio} in elements.", row.sequences, row.trace),
        format!("splitbench {}, {}.", row.version, row.date.split('T').next().unwrap_or_default()),
    ]
}

/// Back end and label of each line, in the order of the rows.
fn ways(rows: &[ReplayRow]) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for row in rows {
        let key = (row.backend.clone(), source(row));
        if !out.contains(&key) {
            out.push(key);
        }
    }
    out
}

/// The label of a line of Table IV.
fn source(row: &ReplayRow) -> String {
    let mark = row.provenance.to_string();
    let way = way(row);
    match row.backend.as_str() {
        "cpu" => format!("this CPU, {way}: {mark}"),
        "model" if row.device.starts_with("one thread") => "this CPU, 1 thread, by the model: modelled".to_string(),
        "model" => format!("{}: {mark}", row.device),
        other if row.err.is_some() && row.device.is_empty() => format!("{other}: not run"),
        other if way.is_empty() => format!("{other}: {mark}"),
        other => format!("{other}, {way}: {mark}"),
    }
}

/// The column that a row's method has on its back end.
fn column(row: &ReplayRow) -> Option<usize> {
    if row.backend != "cpu" && !row.device.starts_with("one thread") {
        return Some(HARDWARE);
    }
    COLUMNS.iter().position(|(_, ours, _)| *ours == Some(row.method.as_str()))
}

/// The mean over models of D as listed; those of one D share a measurement and its error.
fn mean(times: &[(usize, ReplayTimes)]) -> ReplayTimes {
    let count = times.len() as f64;
    let mean = |value: fn(ReplayTimes) -> f64| times.iter().map(|(_, t)| value(*t)).sum::<f64>() / count;
    // The sum over all pairs that share: n errors of one D add up to n times it.
    let shared = |(hidden, t): &(usize, ReplayTimes)| {
        t.stderr_s * times.iter().filter(|(other, _)| other == hidden).map(|(_, t)| t.stderr_s).sum::<f64>()
    };
    ReplayTimes {
        total_s: mean(|t| t.total_s),
        stderr_s: times.iter().map(shared).sum::<f64>().sqrt() / count,
        median_s: mean(|t| t.median_s),
        p99_s: mean(|t| t.p99_s),
    }
}

/// The lines of one model, or of the mean over several: D of each, and the paper's name of the line.
fn section(
    rows: &[ReplayRow],
    hidden: &[usize],
    printed_as: &str,
    name: String,
    notes: &mut Notes,
    place: NumberPlace,
) -> TableSection {
    let line = |label: &str, cell: &mut dyn FnMut(usize) -> String| -> Vec<String> {
        std::iter::once(label.to_string()).chain((0..COLUMNS.len()).map(cell)).collect()
    };
    let printed = |at: usize| COLUMNS[at].0.and_then(|method| paper::table4(printed_as, method));
    let text = |value: Option<f64>| value.map_or(MISSING.to_string(), tenths);
    let fc = printed(COLUMNS.iter().position(|(name, ..)| *name == Some("fc-software")).unwrap_or_default());
    let factor = |at: usize| printed(at).zip(fc).map(|(value, fc)| value / fc);
    let under = |ours: Option<f64>, paper: Option<f64>, digits: usize| match (place, ours, paper) {
        (NumberPlace::Inside, Some(ours), Some(paper)) => {
            format!("\npaper {paper:.digits$} ({})", number::signed_to(ours - paper, digits))
        }
        _ => String::new(),
    };
    let mut lines = vec![
        line("paper: printed", &mut |at| text(printed(at))),
        line("paper: over FC in software", &mut |at| {
            factor(at).map_or(MISSING.to_string(), |value| format!("{value:.2}"))
        }),
    ];
    for (backend, label) in ways(rows) {
        let find = |wanted: &dyn Fn(&ReplayRow) -> bool| -> Vec<&ReplayRow> {
            let find_at = |hidden: &usize| {
                rows.iter().find(|row| {
                    (row.hidden, &row.backend) == (*hidden, &backend) && source(row) == label && wanted(row)
                })
            };
            hidden.iter().filter_map(find_at).collect()
        };
        // A number where every D has one.
        let total = |found: &[&ReplayRow]| -> Option<ReplayTimes> {
            let times: Option<Vec<(usize, ReplayTimes)>> =
                found.iter().map(|row| Some((row.hidden, row.both?))).collect();
            times.filter(|times| times.len() == hidden.len()).map(|times| mean(&times))
        };
        let of_column = |at: usize| find(&|row| column(row) == Some(at));
        lines.push(line(&label, &mut |at| {
            let cells = of_column(at);
            let error = cells.iter().find_map(|row| row.err.as_deref());
            let text = total(&cells).map_or_else(|| notes.missing(error), seconds);
            text + &under(total(&cells).map(|both| both.total_s), printed(at), 1)
        }));
        if let Some(fc) = total(&find(&|row| row.backend == "cpu" && row.method == "fc")) {
            let label = format!("{}: over its FC", label.split(':').next().unwrap_or_default());
            lines.push(line(&label, &mut |at| {
                let ratio = total(&of_column(at)).map(|both| speed::over(both, fc));
                let text = ratio.map_or(MISSING.to_string(), |(ratio, error)| format!("{ratio:.2} ± {error:.2}"));
                text + &under(ratio.map(|(ratio, _)| ratio), factor(at), 2)
            }));
        }
    }
    TableSection { name, rows: lines }
}

/// Table IV; `place` is where the paper's numbers stand beside their rows of their own.
pub(super) fn table4(rows: &[ReplayRow], place: NumberPlace) -> Table {
    let mut notes = Notes::default();
    let mut sections = Vec::new();
    let measured = |hidden: &usize| rows.iter().any(|row| row.hidden == *hidden);
    let sizes: Vec<(&str, usize)> =
        paper::models().into_iter().filter_map(|model| Some((model, paper::hidden(model)?))).collect();
    for (model, hidden) in sizes.iter().filter(|(_, hidden)| measured(hidden)) {
        sections.push(section(rows, &[*hidden], model, format!("{model} (D {hidden})"), &mut notes, place));
    }
    if sections.len() == sizes.len() {
        let all: Vec<usize> = sizes.iter().map(|(_, hidden)| *hidden).collect();
        sections.push(section(rows, &all, "Avg.", "Average of the four".to_string(), &mut notes, place));
    }
    let mut caption = rows.first().map(about).unwrap_or_default();
    caption.extend(
        [
            "Seconds to compress and decompress, ± one standard error of sampling; below them the same over FC's, errors taken \
             as independent.",
            "measured: run on the device named; modelled: counted operations, bytes and launches at a data sheet's best, a lower \
             bound for one activation at a time; simulated: cycles of a circuit over a clock that is stated, not achieved.",
            "FC, software is the whole codec (f16 packets), as all others are; hardware is the transform alone.",
            "SVD and the transform alone are not in the paper's table.",
            "Ours depend on D alone: models of one D share a measurement.",
        ]
        .map(String::from),
    );
    if place == NumberPlace::Inside {
        caption.push("Under a number of ours: the paper's, and in brackets ours minus the paper's. The machines differ, so factors over FC say more than seconds.".into());
    }
    caption.extend(machine(rows));
    caption.extend(circuit(rows));
    Table {
        title: "Table IV: total time for activation compression and decompression (s)".into(),
        caption,
        columns: ["model", "from"].into_iter().chain(COLUMNS.map(|(.., title)| title)).map(String::from).collect(),
        sections,
        notes,
        ..Table::default()
    }
}

/// What the processor was, and how busy.
fn machine(rows: &[ReplayRow]) -> Vec<String> {
    let Some(row) = rows.iter().find(|row| row.backend == "cpu") else { return Vec::new() };
    let clock = row.clock_mhz.map_or(String::new(), |mhz| format!(", {mhz:.0} MHz"));
    let busy: Vec<f64> = rows.iter().filter_map(|row| row.wall_over_cpu).collect();
    let mut out = vec![format!("CPU: {}{clock}; {}; activations {}.", row.device, row.libraries, row.activations)];
    if !busy.is_empty() {
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        out.push(format!(
            "One thread's times are processor time, during which the clock went on {mean:.2} times as far: {}; those of several \
             threads are the clock's{}.",
            if mean < 1.1 { "the machine was idle" } else { "other programs were busy" },
            row.load.map_or(String::new(), |load| format!(" (load average {load:.1} on the way)"))
        ));
    }
    out
}

/// What a simulation leaves out.
fn circuit(rows: &[ReplayRow]) -> Option<String> {
    let row = rows.iter().find(|row| row.provenance == Provenance::Simulated && row.both.is_some())?;
    let clock = row.clock_mhz.map_or(String::new(), |mhz| format!(" at an assumed {mhz:.0} MHz"));
    Some(format!(
        "FPGA: {}, by {},{clock}. One at a time: from an activation's first beat in to its last beat out; one behind another: from the \
         last beat of one to that of the next of its shape. Not simulated: the board's links and DRAM, what brings numbers into \
         the ports' format; not checked by place and route: the clock.",
        row.device, row.libraries
    ))
}

/// A line a row, unrounded.
fn csv(rows: &[ReplayRow]) -> String {
    let mut out = table_file::fields(
        "hidden,backend,device,provenance,method,variant,threads,sequences,run,\
         encode_s,encode_stderr_s,encode_median_s,encode_p99_s,decode_s,decode_stderr_s,decode_median_s,decode_p99_s,\
         both_s,both_stderr_s,both_median_s,both_p99_s,first_s,setup_s,error_f64,err",
    );
    for row in rows {
        let mut fields = vec![
            row.hidden.to_string(),
            row.backend.clone(),
            row.device.clone(),
            row.provenance.to_string(),
            row.method.clone(),
            row.variant.clone(),
            field(row.threads),
            row.sequences.to_string(),
            row.run.to_string(),
        ];
        for times in [row.encode, row.decode, row.both] {
            let each: [fn(ReplayTimes) -> f64; 4] = [|t| t.total_s, |t| t.stderr_s, |t| t.median_s, |t| t.p99_s];
            fields.extend(each.map(|of| field(times.map(of))));
        }
        fields.extend([row.first_s, row.setup_s, row.error_f64].map(field));
        fields.push(field(row.err.as_deref()));
        out.push(fields);
    }
    table_file::text(&out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::replay::backend::provenance;

    /// A row of `method` at D = 2048 that takes `total` seconds.
    pub fn row(backend: &str, method: &str, total: Option<f64>) -> ReplayRow {
        let times = total.map(|total_s| ReplayTimes { total_s, stderr_s: 0.01 * total_s, median_s: 1e-4, p99_s: 1e-3 });
        ReplayRow {
            experiment: "table4".into(),
            trace: "ten-sets".into(),
            trace_sha256: String::new(),
            hidden: 2048,
            ratio: "paper".into(),
            backend: backend.into(),
            device: if backend == "cuda" { String::new() } else { "a device".into() },
            provenance: if backend == "model" { Provenance::Modelled } else { provenance(backend) },
            clock_mhz: None,
            libraries: String::new(),
            method: method.into(),
            variant: String::new(),
            threads: (backend == "cpu").then_some(1),
            activations: "seeded".into(),
            calibration: None,
            sequences: 10,
            run: 10,
            seed: 0,
            setup_s: None,
            first_s: None,
            encode: times,
            decode: times,
            both: times,
            error_f64: None,
            checked: Vec::new(),
            wall_over_cpu: None,
            load: None,
            note: None,
            date: "2026-01-01T00:00:00".into(),
            version: "0".into(),
            err: total.is_none().then(|| "no driver".to_string()),
        }
    }

    #[test]
    fn the_papers_layout_with_marks() {
        let rows = [
            row("cuda", "fc-kernel", None),
            row("cpu", "fc", Some(2.0)),
            row("cpu", "topk", Some(5.0)),
            row("cpu", "fc-kernel", Some(1.0)),
            row("model", "fc-kernel", Some(0.5)),
            ReplayRow { variant: "300 MHz".into(), clock_mhz: Some(300.0), ..row("fpga", "fc-kernel", Some(4.0)) },
        ];
        let text = table4(&rows, NumberPlace::Below).markdown();
        for expected in [
            "| **Llama 3-1B (D 2048)** | paper: printed | 90.4 | 197.8 | 94.2 | 2354.0 | 22.8 | 6.9 | 1.0 | – | – |",
            "| paper: over FC in software | 13.10 | 28.67 | 13.65 | 341.16 | 3.30 | 1.00 | 0.14 | – | – |",
            "| cuda: not run | – | – | – | – | – | – | – [1] | – | – |",
            "| this CPU, 1 thread: measured | – | – | – | – | 5.00 ± 0.05 | 2.00 ± 0.02 | – | – | 1.00 ± 0.01 |",
            "| this CPU, 1 thread: over its FC | – | – | – | – | 2.50 ± 0.04 | 1.00 ± 0.00 | – | – | 0.50 ± 0.01 |",
            "| a device: modelled | – | – | – | – | – | – | 0.500 ± 0.005 | – | – |",
            "| fpga, 300 MHz: simulated | – | – | – | – | – | – | 4.00 ± 0.04 | – | – |",
            "at an assumed 300 MHz. One at a time: from",
            "Not simulated: the board's links and DRAM",
            "- [1] no driver",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(text.contains("Qwen2.5-3B (D 2048)") && !text.contains("Llama 3-3B"), "{text}");
        let of = |hidden, total_s| (hidden, ReplayTimes { total_s, stderr_s: 0.5, median_s: 0.0, p99_s: 0.0 });
        let averaged = mean(&[of(1536, 1.0), of(2048, 2.0), of(2048, 2.0), of(3072, 3.0)]);
        // Errors of 0.5, twice 0.5 as one, and 0.5: the root of 0.25 + 1 + 0.25 over four.
        assert!(averaged.total_s == 2.0 && (averaged.stderr_s - 1.5f64.sqrt() / 4.0).abs() < 1e-12);
        let list = list(&rows).text(200, &mut Vec::new());
        assert!(list.contains("topk, 1 thread") && list.contains("no driver"), "{list}");
        let csv = csv(&rows);
        let columns = |line: &str| line.split(',').count();
        assert!(csv.lines().count() == 7 && csv.lines().all(|line| columns(line) == 25), "{csv}");
        assert!(csv.lines().nth(1).unwrap().ends_with(",no driver"));
    }
}
