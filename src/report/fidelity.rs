//! How near each codec stays to the unsplit model: KL, top-1 agreement, acceptance and perplexity.

use super::TableSet;
use super::caption::{self, Coverage};
use super::codecs::{CodecLine, CodecPlace, places};
use super::number::{self, MISSING};
use super::table::{Notes, Table, TableSection};
use super::view::{self, RowView};
use crate::record::{Row, table_file};

/// What the columns of KL are, for captions.
pub(super) const KL: &str =
    "KL: mean of KL(unsplit || codec) per position, nats; then its median, percentiles and largest value.";

/// What the columns of agreement are, for captions.
pub(super) const TOP1: &str = "top-1: positions where the most likely token is the same. accepted: sum of min(p, q), the share of drawn \
                               tokens that speculative sampling would accept.";

/// A mean over data sets, each weighing alike, and its standard error; none where a set lacks it.
#[derive(Clone, Copy)]
pub(super) struct FidelityMean {
    pub value: f64,
    pub stderr: Option<f64>,
}

fn mean(
    cells: &[Option<&Row>],
    value: impl Fn(&Row) -> Option<f64>,
    stderr: impl Fn(&Row) -> Option<f64>,
) -> Option<FidelityMean> {
    let value = view::mean(cells, value)?;
    // Sets are independent: the variance of their mean is the sum of theirs over the square of their number.
    let variance = view::mean(cells, |row| stderr(row).map(|se| se * se));
    Some(FidelityMean { value, stderr: variance.map(|variance| (variance / cells.len() as f64).sqrt()) })
}

/// KL(unsplit || codec) a position, nats.
pub(super) fn mean_kl(cells: &[Option<&Row>]) -> Option<FidelityMean> {
    mean(cells, |row| row.kl_mean, |row| row.kl_stderr)
}

/// Share of positions with the unsplit model's most likely token.
fn mean_top1(cells: &[Option<&Row>]) -> Option<FidelityMean> {
    mean(cells, |row| row.top1, |row| row.top1_stderr)
}

/// Columns that other tables have of this: what `kl` and `top1` give, and what a caption says of them.
pub(super) const COLUMNS: [&str; 2] = ["KL", "top-1 %"];
pub(super) const SENTENCE: &str = "KL: KL(unsplit || codec) of the next token, nats a scored position; top-1: positions with the unsplit model's most likely token; means over the sets, ± 1 standard error over questions.";
pub(super) const SENTENCE_OF_KL: &str = "KL: KL(unsplit || codec) of the next token, nats a scored position, mean over the sets, ± 1 standard error over questions.";

/// A cell of the column KL.
pub(super) fn kl(cells: &[Option<&Row>]) -> String {
    text(mean_kl(cells), 1.0)
}

/// A cell of the column top-1.
pub(super) fn top1(cells: &[Option<&Row>]) -> String {
    text(mean_top1(cells), 100.0)
}

/// What other CSVs have of this, behind their columns.
pub(super) const CSV_COLUMNS: [&str; 4] = ["kl", "kl_se", "top1", "top1_se"];

/// The fields of these columns.
pub(super) fn csv_fields(cells: &[Option<&Row>]) -> [String; 4] {
    let ([kl, kl_se], [top1, top1_se]) = (csv_pair(mean_kl(cells)), csv_pair(mean_top1(cells)));
    [kl, kl_se, top1, top1_se]
}

/// A mean and its standard error.
fn csv_pair(mean: Option<FidelityMean>) -> [String; 2] {
    [mean.map(|mean| mean.value), mean.and_then(|mean| mean.stderr)].map(csv_number)
}

fn csv_number(value: Option<f64>) -> String {
    number::field(value.map(|value| format!("{value:e}")))
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 0.001 || size == 0.0 => {
            let places = if size == 0.0 { 0 } else { (2 - size.log10().floor() as i32).clamp(0, 6) as usize };
            format!("{value:.places$}")
        }
        _ => format!("{value:.1e}"),
    }
}

/// A mean and its standard error, both times `scale`.
pub(super) fn text(mean: Option<FidelityMean>, scale: f64) -> String {
    let Some(FidelityMean { value, stderr }) = mean else { return MISSING.into() };
    let stderr = stderr.map(|se| format!(" ± {}", digits(scale * se))).unwrap_or_default();
    format!("{}{stderr}", digits(scale * value))
}

/// The measures of a line, in the order of the columns.
fn measures(line: &CodecLine) -> [Option<FidelityMean>; 9] {
    let cells = line.cells.as_slice();
    let plain = |value: fn(&Row) -> Option<f64>| mean(cells, value, |_| None);
    [
        mean_kl(cells),
        plain(|row| row.kl_median),
        plain(|row| row.kl_p90),
        plain(|row| row.kl_p99),
        plain(|row| row.kl_max),
        mean_top1(cells),
        plain(|row| row.acceptance),
        mean(cells, |row| row.gold_loglik_change, |row| row.gold_loglik_change_stderr),
        mean(cells, |row| row.ln_ppl_ratio, |row| row.ln_ppl_ratio_stderr),
    ]
}

/// Whether any row has what the table shows; those of earlier versions do not.
pub(super) fn is_measured<'a>(rows: impl IntoIterator<Item = &'a Row>) -> bool {
    rows.into_iter().any(|row| row.kl_mean.is_some())
}

/// The table of every model and place.
pub(super) fn fidelity(view: &RowView) -> TableSet {
    let mut csv = table_file::fields(
        "model,split_layer,scope,codec,ratio,accounting,bytes_per_token,kl,kl_se,kl_median,kl_p90,kl_p99,kl_max,top1,top1_se,\
         acceptance,gold_loglik_change,gold_loglik_change_se,ln_ppl_ratio,ln_ppl_ratio_se",
    );
    let places = places(view);
    places.iter().for_each(|place| write_csv(place, &mut csv));
    TableSet { tables: places.iter().map(|place| table(view, place)).collect(), csv: table_file::text(&csv) }
}

fn table(view: &RowView, place: &CodecPlace) -> Table {
    let mut coverage = Coverage::of(view);
    let mut rows = Vec::new();
    for line in place.lines() {
        line.cells.iter().for_each(|cell| coverage.count(*cell));
        let [kl, median, p90, p99, max, top1, acceptance, gold, ppl] = measures(&line);
        rows.push(vec![
            line.codec.to_string(),
            line.ratio_label(),
            line.bytes().map_or(MISSING.into(), |bytes| format!("{bytes:.1}")),
            text(kl, 1.0),
            text(median, 1.0),
            text(p90, 1.0),
            text(p99, 1.0),
            text(max, 1.0),
            text(top1, 100.0),
            text(acceptance, 100.0),
            text(gold, 1.0),
            text(ppl.map(|ppl| FidelityMean { value: ppl.value.exp(), stderr: ppl.stderr }), 1.0),
        ]);
    }
    let columns = [
        "model",
        "codec",
        "asked for",
        "bytes/token",
        "KL",
        "median",
        "90 %",
        "99 %",
        "largest",
        "top-1 %",
        "accepted %",
        "gold",
        "PPL ratio",
    ];
    let mut caption = vec![
        "Each codec's next-token distribution beside the unsplit model's, at every position where a token of a choice is scored. All \
         columns are means over the data sets, each set weighing alike, ± 1 standard error over questions."
            .to_string(),
        KL.into(),
        TOP1.into(),
        "gold: mean change of the right choice's log-likelihood, nats. PPL ratio: perplexity of the right choices' tokens over the unsplit \
         model's; the error is that of its logarithm."
            .into(),
    ];
    caption.extend(coverage.sentence());
    caption.extend(caption::provenance(view, &place.rows));
    Table {
        title: format!("Fidelity of {}: distance to the unsplit model, {}", place.name(), place.cut()),
        caption,
        columns: columns.map(String::from).to_vec(),
        keys: 1,
        sections: vec![TableSection { name: place.name(), rows }],
        notes: Notes::default(),
    }
}

fn write_csv(place: &CodecPlace, out: &mut Vec<Vec<String>>) {
    for line in place.lines() {
        let mut fields = vec![
            place.model.into(),
            number::field(place.split_layer),
            place.scope.into(),
            line.codec.into(),
            number::field(line.ratio),
            line.accounting.to_string(),
            csv_number(line.bytes()),
        ];
        for (nth, measure) in measures(&line).into_iter().enumerate() {
            fields.extend(csv_pair(measure).into_iter().take(if [0, 5, 7, 8].contains(&nth) { 2 } else { 1 }));
        }
        out.push(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{failed, on, row};

    #[test]
    fn means_over_sets_with_their_errors() {
        let sized = |kl: f64, se: f64| Row {
            kl_mean: Some(kl),
            kl_stderr: Some(se),
            ln_ppl_ratio: Some(2f64.ln()),
            ..row("fc", Some(8.0), 0.5)
        };
        let rows = [
            row("baseline", None, 0.7),
            sized(0.02, 0.003),
            on("piqa", row("baseline", None, 0.7)),
            on("piqa", sized(0.04, 0.004)),
            failed(row("qr", Some(8.0), 0.5), "no"),
            on("piqa", row("qr", Some(8.0), 0.5)),
        ];
        let view = RowView::new(&rows).unwrap();
        assert!(is_measured(view.rows));
        let made = fidelity(&view);
        let text = made.markdown();
        // sqrt(0.003^2 + 0.004^2) / 2.
        assert!(text.contains("| fc | 8 elements | 48.0 | 0.0300 ± 0.00250 | 0.0100 | "), "{text}");
        assert!(text.contains("| 93.0 ± 0.424 | 95.0 | -0.250 ± 0.0354 | 2.00 ± 0.00707 |"), "{text}");
        assert!(text.contains("| qr | 8 elements | – | – |"), "{text}");
        assert!(made.csv.contains("pocket,1,prompt+choice,fc,8,elements,4.8e1,3e-2,2.5e-3,1e-2,"), "{}", made.csv);
    }

    #[test]
    fn three_digits_count() {
        let shown = [0.0, 1.0, 12.345, 0.012345, 0.00123, 1.2345e-5, -0.25].map(digits);
        assert_eq!(shown, ["0", "1.00", "12.3", "0.0123", "0.00123", "1.2e-5", "-0.250"]);
    }
}
