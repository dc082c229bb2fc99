//! Every codec at every budget side by side: what it costs in accuracy, bytes and time, and the Pareto front.

use splitbench_codec::CodecSpec;

use super::caption::{self, Coverage};
use super::number::{self, MISSING};
use super::table::{Notes, Table, TableSection};
use super::view::{self, RowView};
use super::{TableSet, fidelity, table3};
use crate::record::{Accuracy, Row, TimingTable, table_file};

/// The rows of one model cut at one place: layer and scope.
pub(super) struct CodecPlace<'v, 'a> {
    pub view: &'v RowView<'a>,
    pub model: &'a str,
    pub split_layer: Option<u32>,
    pub scope: &'a str,
    pub rows: Vec<&'a Row>,
}

/// One codec at one budget, over the data sets.
pub(super) struct CodecLine<'a> {
    pub codec: &'a str,
    /// None of a codec of fixed rate, or where each data set has its own, as in Table III.
    pub ratio: Option<f64>,
    pub accounting: &'a str,
    pub cells: Vec<Option<&'a Row>>,
}

impl CodecLine<'_> {
    pub fn accuracy(&self) -> Option<Accuracy> {
        number::average(&view::accuracies(&self.cells))
    }

    /// Mean over the data sets, each weighing alike; none where one lacks it.
    pub fn mean(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        view::mean(&self.cells, of)
    }

    /// The same of a ratio.
    pub fn geometric_mean(&self, of: impl Fn(&Row) -> Option<f64>) -> Option<f64> {
        view::geometric_mean(&self.cells, of)
    }

    pub fn bytes(&self) -> Option<f64> {
        self.mean(|row| row.wire_bytes_per_token)
    }

    /// Whether rows are local or joint; of a name that this program does not know, nothing.
    fn rows(&self) -> String {
        CodecSpec::parse(self.codec).map_or(MISSING.into(), |spec| spec.rows().to_string())
    }

    /// What both sides learn beforehand.
    fn learns(&self) -> String {
        let need = |spec: CodecSpec| spec.calibration().map_or(String::new(), |need| need.to_string());
        CodecSpec::parse(self.codec).map_or(MISSING.into(), need)
    }

    pub fn ratio_label(&self) -> String {
        match self.ratio {
            Some(ratio) => format!("{} {}", number::ratio(ratio), self.accounting),
            None if self.accounting.is_empty() => "fixed rate".into(),
            None => format!("each set's, {}", self.accounting),
        }
    }
}

pub(super) fn places<'v, 'a>(view: &'v RowView<'a>) -> Vec<CodecPlace<'v, 'a>> {
    let rows = || view.rows.iter().filter(|row| !row.is_baseline());
    let mut out = Vec::new();
    for &model in &view.models {
        for (split_layer, scope) in view::distinct(rows().map(|row| (row.split_layer, row.scope.as_str()))) {
            let is_in =
                |row: &&Row| row.model == model && (row.split_layer, row.scope.as_str()) == (split_layer, scope);
            let rows: Vec<&Row> = rows().filter(is_in).collect();
            if !rows.is_empty() {
                out.push(CodecPlace { view, model, split_layer, scope, rows });
            }
        }
    }
    out
}

/// The codec table of every model and place.
pub(super) fn codecs(view: &RowView, times: &TimingTable) -> TableSet {
    let places = places(view);
    let mut csv = table_file::fields(
        "model,split_layer,scope,codec,ratio,accounting,accuracy,accuracy_se,drop,drop_se,bytes_per_token,ratio_wire,\
         rel_error,encode_us,decode_us,pareto",
    );
    let measured = fidelity::is_measured(view.rows);
    csv[0].extend(fidelity::CSV_COLUMNS.into_iter().filter(|_| measured).map(String::from));
    places.iter().for_each(|place| place.csv(times, measured, &mut csv));
    TableSet { tables: places.iter().map(|place| place.table(times)).collect(), csv: table_file::text(&csv) }
}

impl<'a> CodecPlace<'_, 'a> {
    pub fn lines(&self) -> Vec<CodecLine<'a>> {
        // Codecs with one ratio a set and not the same for all sets are one line, as in Table III.
        let has_own_ratios = |&(accounting, codec): &(&str, &str)| {
            let rows: Vec<&Row> = self
                .rows
                .iter()
                .copied()
                .filter(|row| (&*row.accounting, &*row.codec) == (accounting, codec))
                .collect();
            let ratios = |set: Option<&str>| {
                let of_set = rows.iter().filter(|row| set.is_none_or(|set| row.dataset == set));
                view::distinct(of_set.map(|row| row.ratio_requested)).len()
            };
            ratios(None) > 1 && self.view.datasets.iter().all(|set| ratios(Some(set)) <= 1)
        };
        let mut own_ratios = view::distinct(self.rows.iter().map(|row| (row.accounting.as_str(), row.codec.as_str())));
        own_ratios.retain(has_own_ratios);
        let key = |row: &&'a Row| {
            let (accounting, codec) = (row.accounting.as_str(), row.codec.as_str());
            let ratio = row.ratio_requested.filter(|_| !own_ratios.contains(&(accounting, codec)));
            (accounting, codec, ratio)
        };
        let mut keys = view::distinct(self.rows.iter().map(key));
        // One accounting after the other, codecs of fixed rate last, else as they came.
        let accountings = view::distinct(self.rows.iter().map(|row| row.accounting.as_str()));
        keys.sort_by_key(|(accounting, ..)| {
            (accounting.is_empty(), accountings.iter().position(|known| known == accounting))
        });
        let line = |(accounting, codec, ratio)| {
            let rows: Vec<&Row> =
                self.rows.iter().copied().filter(|row| key(row) == (accounting, codec, ratio)).collect();
            let find = |name: &&str| view::cell(&rows, self.model, name, None);
            CodecLine { codec, ratio, accounting, cells: self.view.datasets.iter().map(find).collect() }
        };
        keys.into_iter().map(line).collect()
    }

    /// The unsplit model on each data set.
    pub fn baseline(&self) -> Vec<Option<&'a Row>> {
        self.view.datasets.iter().map(|name| self.view.baseline(self.model, name)).collect()
    }

    /// What its model is called where it is shown.
    pub fn name(&self) -> String {
        self.view.name(self.model)
    }

    pub fn cut(&self) -> String {
        let layer = self.split_layer.map_or("no split".to_string(), |layer| format!("split after layer {layer}"));
        format!("{layer}, scope {}", self.scope)
    }

    fn table(&self, times: &TimingTable) -> Table {
        let lines = self.lines();
        let front = front(&lines, |line| line.accuracy().map(|cell| cell.value));
        let mut coverage = Coverage::of(self.view);
        let baseline = self.baseline();
        let measured = fidelity::is_measured(self.rows.iter().copied());
        let mut rows = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            line.cells.iter().for_each(|cell| coverage.count(*cell));
            let text = |value: Option<f64>, digits: usize| value.map_or(MISSING.into(), |v| format!("{v:.digits$}"));
            let drop = table3::drop(&line.cells, &baseline).filter(|drop| drop.sets == line.cells.len());
            let drop = drop.map_or(MISSING.into(), |drop| drop.with_interval());
            let near = [fidelity::kl(&line.cells), fidelity::top1(&line.cells)];
            let near = near.into_iter().filter(|_| measured);
            let mark = if front.contains(&at) { "†" } else { "" };
            let mut row = vec![
                format!("{}{mark}", line.codec),
                line.ratio_label(),
                line.rows(),
                line.learns(),
                line.accuracy().map_or(MISSING.into(), number::percent),
                drop,
            ];
            row.extend(near);
            row.extend([
                text(line.bytes(), 1),
                text(line.geometric_mean(|row| row.ratio_wire), 2),
                text(line.mean(|row| row.rel_error), 3),
            ]);
            if !times.is_empty() {
                row.push(text(line.mean(|row| times.find(row).map(|t| t.0)), 0));
                row.push(text(line.mean(|row| times.find(row).map(|t| t.1)), 0));
            }
            rows.push(row);
        }
        let chance =
            view::mean(&baseline, |row| row.chance).map_or(MISSING.into(), |chance| number::tenths(100.0 * chance));
        let unsplit: Vec<Option<Accuracy>> = baseline.iter().map(|row| row.and_then(view::accuracy)).collect();
        let mut columns = vec!["model", "codec", "asked for", "rows", "learns", "accuracy", "drop"];
        columns.extend(fidelity::COLUMNS.into_iter().filter(|_| measured));
        columns.extend(["bytes/token", "wire", "error"]);
        columns.extend(["encode µs", "decode µs"].into_iter().filter(|_| !times.is_empty()));
        let columns = columns.into_iter().map(String::from).collect();
        let mut caption = vec![
            "Accuracy in per cent ± 1 standard error, mean over the data sets; drop: baseline minus codec in points, with its paired 95 % interval.".to_string(),
            "rows: whether what comes back of a row depends on that row alone (local) or on others (joint); learns: from what both sides know something beforehand, calibration rows, gradients or the next layer's weights.".into(),
            "bytes/token: whole packets, mean over the sets; wire: raw f16 bytes over packet bytes; error: ||A - A'||_F / ||A||_F, mean.".into(),
            "†: on the Pareto front, no other line that sends an activation has fewer bytes and at least its accuracy.".into(),
            match number::average(&unsplit) {
                Some(cell) => format!("The unsplit model has {}, guessing {chance}.", number::percent(cell)),
                None => "The unsplit model is missing on some set.".into(),
            },
        ];
        caption.extend(measured.then(|| fidelity::SENTENCE.into()));
        let drops = lines.iter().filter_map(|line| table3::drop(&line.cells, &baseline)?.stderr);
        caption.extend(caption::power(&self.rows, &drops.collect::<Vec<_>>()));
        if !times.is_empty() {
            caption.insert(
                2,
                "Times are means of one activation on one thread beside everything else the run did.".into(),
            );
        }
        if lines.iter().any(|line| line.codec == NO_ACTIVATION) {
            let times = if times.is_empty() {
                ""
            } else {
                ", and its times leave out that the server runs the client half again"
            };
            caption.push(format!("token-ids sends no activation: no privacy{times}."));
        }
        caption.extend(coverage.sentence());
        caption.extend(caption::provenance(self.view, &self.rows));
        let what = if times.is_empty() { "accuracy and bytes" } else { "accuracy, bytes and time" };
        let title = format!("Codecs of {}: {what}, {}", self.name(), self.cut());
        let sections = vec![TableSection { name: self.name(), rows }];
        Table { title, caption, columns, keys: 1, sections, notes: Notes::default() }
    }

    fn csv(&self, times: &TimingTable, measured: bool, out: &mut Vec<Vec<String>>) {
        let lines = self.lines();
        let front = front(&lines, |line| line.accuracy().map(|cell| cell.value));
        let baseline = self.baseline();
        for (at, line) in lines.iter().enumerate() {
            let number = |value: Option<f64>| number::field_to(value, 4);
            let cell = line.accuracy();
            let drop = table3::drop(&line.cells, &baseline).filter(|drop| drop.sets == line.cells.len());
            let mut fields = vec![
                self.model.to_string(),
                number::field(self.split_layer),
                self.scope.into(),
                line.codec.into(),
                number::field(line.ratio),
                line.accounting.to_string(),
                number::csv_percent(cell.map(|cell| cell.value)),
                number::csv_percent(cell.map(|cell| cell.stderr)),
                number(drop.as_ref().map(|found| found.points)),
                number(drop.as_ref().and_then(|found| found.stderr)),
                number(line.bytes()),
                number(line.geometric_mean(|row| row.ratio_wire)),
                number(line.mean(|row| row.rel_error)),
                number(line.mean(|row| times.find(row).map(|t| t.0))),
                number(line.mean(|row| times.find(row).map(|t| t.1))),
                front.contains(&at).to_string(),
            ];
            fields.extend(fidelity::csv_fields(&line.cells).into_iter().filter(|_| measured));
            out.push(fields);
        }
    }
}

/// Sends no activation, so it competes with none that does.
pub(super) const NO_ACTIVATION: &str = "token-ids";

/// Lines that no other beats, fewest bytes first: each is better, by the larger number, than all with as many bytes or fewer.
pub(super) fn front(lines: &[CodecLine], better: impl Fn(&CodecLine) -> Option<f64>) -> Vec<usize> {
    let mut known: Vec<(f64, f64, usize)> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((line.bytes()?, better(line)?, at))).collect();
    known.retain(|(.., at)| lines[*at].codec != NO_ACTIVATION);
    known.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut best = f64::NEG_INFINITY;
    known.retain(|(_, value, _)| {
        let beats = *value > best;
        best = best.max(*value);
        beats
    });
    known.into_iter().map(|(.., at)| at).collect()
}

#[cfg(test)]
#[path = "codecs_tests.rs"]
mod tests;
