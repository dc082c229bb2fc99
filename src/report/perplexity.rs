//! Perplexity of a text and fidelity of codecs on it, for the terminal and as JSON.

use serde::Serialize;

use super::fidelity::{FidelityMean, KL, TOP1, digits, text};
use super::number::{self, MISSING};
use super::table::{Notes, Table, TableSection};
use crate::experiment::{Perplexity, TextCell};

/// All that was measured on a text.
#[derive(Serialize)]
pub struct TextReport {
    /// Model name as given.
    pub model: String,
    /// SHA-256 over config.json and the weight files.
    pub model_sha256: String,
    /// SHA-256 of tokenizer.json.
    pub tokenizer_sha256: String,
    /// The text's file.
    pub text: String,
    /// SHA-256 of it.
    pub text_sha256: String,
    /// Token ids of the whole text.
    pub tokens: usize,
    /// Token ids of a window.
    pub window: usize,
    /// Windows that were scored.
    pub windows: usize,
    /// Whole windows of the text.
    pub whole_windows: usize,
    /// Tokens scored in each window.
    pub scored_per_window: usize,
    /// Text that codecs were calibrated on; empty where none was.
    pub calibration: Option<String>,
    /// The cut of the cells: after this layer; empty where there are none.
    pub split_layer: Option<usize>,
    /// The unsplit model.
    #[serde(flatten)]
    pub unsplit: Perplexity,
    /// The cells.
    pub cells: Vec<TextCell>,
    /// Type of the weights.
    pub dtype: String,
    /// Device of the decoder.
    pub device: String,
    /// Version of the program.
    pub version: String,
}

/// The report in at most `width` columns.
pub fn perplexity(report: &TextReport, width: usize) -> String {
    let TextReport { model, text: file, tokens, window, windows, whole_windows, scored_per_window, unsplit, .. } =
        report;
    let ppl = text(Some(FidelityMean { value: unsplit.ppl, stderr: unsplit.ppl_stderr }), 1.0);
    let count =
        if windows < whole_windows { format!("the first {windows} of {whole_windows}") } else { windows.to_string() };
    let mut out = format!(
        "{model} on {file} ({tokens} tokens): perplexity {ppl} over {count} windows of {window} tokens, the last {scored_per_window} of \
         each scored\n"
    );
    if let Some(layer) = report.split_layer {
        out += &format!("\n{}", table(report, layer).text(width, &mut Vec::new()));
    }
    out
}

fn table(report: &TextReport, layer: usize) -> Table {
    let mut notes = Notes::default();
    let mut rows = Vec::new();
    for cell in &report.cells {
        let asked = cell.ratio_requested.map(|ratio| format!(", {} {}", number::ratio(ratio), cell.accounting));
        let mut label = cell.codec.clone() + &asked.unwrap_or_default();
        if let Some(reached) = cell.ratio_missed {
            label += " ";
            label += &notes.mark(&format!("its smallest packets reach a ratio of {reached:.1}"));
        }
        let mut row = vec![label];
        match &cell.measured {
            Some(measured) => {
                let fidelity = &measured.fidelity;
                row.extend([
                    format!("{:.1}", measured.wire_bytes_per_token),
                    format!("{:.2}", measured.ratio_wire),
                    digits(measured.rel_error),
                    digits(measured.ppl),
                    text(
                        Some(FidelityMean { value: measured.ln_ppl_ratio, stderr: measured.ln_ppl_ratio_stderr }),
                        1.0,
                    ),
                    text(Some(FidelityMean { value: fidelity.kl_mean, stderr: fidelity.kl_stderr }), 1.0),
                    digits(fidelity.kl_median),
                    digits(fidelity.kl_p90),
                    digits(fidelity.kl_p99),
                    digits(fidelity.kl_max),
                    text(Some(FidelityMean { value: fidelity.top1, stderr: fidelity.top1_stderr }), 100.0),
                    digits(100.0 * fidelity.acceptance),
                ]);
            }
            None => {
                row.push(notes.missing(cell.err.as_deref()));
                row.extend(vec![MISSING.to_string(); 11]);
            }
        }
        rows.push(row);
    }
    let columns = [
        "model",
        "codec",
        "bytes/token",
        "wire ratio",
        "rel. error",
        "PPL",
        "ln PPL ratio",
        "KL",
        "median",
        "90 %",
        "99 %",
        "largest",
        "top-1 %",
        "accepted %",
    ];
    let caption = [
        "Each codec's next-token distribution beside the unsplit model's, at every scored token; ± 1 standard error over windows.",
        KL,
        TOP1,
    ];
    Table {
        title: format!("Fidelity of {} on {}, split after layer {layer}", report.model, report.text),
        caption: caption.map(String::from).to_vec(),
        columns: columns.map(String::from).to_vec(),
        sections: vec![TableSection { name: report.model.clone(), rows }],
        notes,
        ..Table::default()
    }
}
