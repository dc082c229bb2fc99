//! Live runs as tables: what was measured, what the simulation said, and from which link on a codec pays.

use super::number;
use super::table::{Table, TableSection};
use crate::record::{LOOPBACK, LiveRow, UNSPLIT};

fn ms(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn codecs(row: &LiveRow) -> String {
    let codec =
        |text: &str| if text == row.prompt_codec { text.to_string() } else { format!("{}, {text}", row.prompt_codec) };
    let ratio = row.ratio.map_or_else(String::new, |ratio| {
        let accounting = row.accounting.as_ref().map_or(String::new(), |accounting| format!(" {accounting}"));
        format!(" at {ratio}{accounting}")
    });
    format!("{}{ratio}", codec(&row.step_codec))
}

/// A measured time and the simulated one, as `123 / 120`.
fn measured_and_simulated(measured: f64, simulated: Option<f64>) -> String {
    simulated.map_or_else(|| ms(measured), |simulated| format!("{} / {}", ms(measured), ms(simulated)))
}

/// All rows, sections by number of clients and prompt.
fn times(rows: &[LiveRow]) -> Table {
    let columns = [
        "clients, prompt",
        "link, codecs",
        "TTFT ms",
        "client",
        "encode",
        "link",
        "queue",
        "decode",
        "server",
        "step ms",
        "p95",
        "p99",
        "its link",
        "tokens/s",
        "all",
        "response s",
        "prompt kB",
        "step B",
        "same",
        "KL",
    ];
    let mut table = Table {
        title: "Live runs: measured / simulated".into(),
        caption: vec![
            "Two processes on one machine over a relay that emulates the link.".into(),
            "TTFT: from the prompt to its token; then its parts, of which link is what is left beside the others.".into(),
            "Step: time per later token, the median; its link: the median of what is left of it.".into(),
            "Behind the stroke: predicted from the times on loopback, the link's numbers and the bytes.".into(),
            "Same: share of tokens that are the unsplit model's; KL: of the next token along the unsplit model's answer, nats."
                .into(),
        ],
        columns: columns.map(String::from).to_vec(),
        ..Table::default()
    };
    for row in rows {
        let name = match row.clients {
            1 => format!("1 client, {} tokens", row.prompt_tokens),
            clients => format!("{clients} clients, {} tokens", row.prompt_tokens),
        };
        let known = table.sections.iter().position(|section| section.name == name);
        let section = known.unwrap_or_else(|| {
            table.sections.push(TableSection { name, rows: Vec::new() });
            table.sections.len() - 1
        });
        let optional =
            |value: Option<f64>, show: &dyn Fn(f64) -> String| value.map_or(number::MISSING.to_string(), show);
        let cells = vec![
            if row.link == UNSPLIT { UNSPLIT.into() } else { format!("{}: {}", row.link, codecs(row)) },
            measured_and_simulated(row.ttft_ms, row.simulated_ttft_ms),
            ms(row.ttft_client_ms),
            ms(row.ttft_encode_ms),
            ms(row.ttft_link_ms),
            ms(row.ttft_queue_ms),
            ms(row.ttft_decode_ms),
            ms(row.ttft_server_ms),
            measured_and_simulated(row.step_ms_p50, row.simulated_step_ms),
            ms(row.step_ms_p95),
            ms(row.step_ms_p99),
            ms(row.step_link_ms_p50),
            format!("{:.1}", row.tokens_per_s),
            format!("{:.1}", row.total_tokens_per_s),
            row.simulated_response_s.map_or_else(
                || format!("{:.2}", row.response_s),
                |simulated| format!("{:.2} / {simulated:.2}", row.response_s),
            ),
            format!("{:.1}", row.prompt_bytes / 1e3),
            format!("{:.0}", row.step_bytes),
            optional(row.same_tokens, &|share| format!("{:.0} %", 100.0 * share)),
            optional(row.kl, &|kl| format!("{kl:.2e}")),
        ];
        table.sections[section].rows.push(cells);
    }
    table
}

/// The rows as they are, in half the bytes of f32: what a codec has to beat.
const F16: &str = "noop:values=f16";

/// Up to which rate of the link a codec saves time: where its bytes take as long less as its work takes more.
fn break_even(rows: &[LiveRow]) -> Option<Table> {
    let alone = |row: &&LiveRow| row.link == LOOPBACK && row.clients == 1;
    let sends = |row: &LiveRow, codec: &str| row.prompt_codec == codec && row.step_codec == codec;
    let mut section = TableSection::default();
    for row in rows.iter().filter(alone).filter(|row| !sends(row, "noop") && !sends(row, F16)) {
        let of_prompt = || rows.iter().filter(alone).filter(|raw| raw.prompt_tokens == row.prompt_tokens);
        let Some(raw) = of_prompt().find(|raw| sends(raw, F16)) else { continue };
        let rate = |saved_bytes: f64, more_ms: f64| match (saved_bytes > 0.0, more_ms > 0.0) {
            (false, _) => "never".to_string(),
            (true, false) => "always".to_string(),
            (true, true) => number::significant(8.0 * saved_bytes / (more_ms * 1e3)),
        };
        section.rows.push(vec![
            format!("{}, {} tokens", codecs(row), row.prompt_tokens),
            rate(
                raw.prompt_bytes - row.prompt_bytes,
                row.ttft_encode_ms + row.ttft_decode_ms - raw.ttft_encode_ms - raw.ttft_decode_ms,
            ),
            rate(
                raw.step_bytes - row.step_bytes,
                row.step_encode_ms + row.step_decode_ms - raw.step_encode_ms - raw.step_decode_ms,
            ),
        ]);
    }
    (!section.rows.is_empty()).then(|| Table {
        title: "Up to which rate a codec pays, Mbit/s to the server".into(),
        caption: vec![
            "Below this rate the bytes that a codec saves against f16 take longer than encoding and decoding take beyond f16's. From the times on loopback; no row over a link is in it.".into(),
        ],
        columns: ["", "codecs, prompt", "for the prompt", "for a step"].map(String::from).to_vec(),
        sections: vec![section],
        ..Table::default()
    })
}

/// The tables as Markdown.
pub fn markdown(rows: &[LiveRow]) -> String {
    tables(rows).iter().map(Table::markdown).collect::<Vec<_>>().join("\n")
}

/// The tables for a terminal.
pub fn text(rows: &[LiveRow], width: usize) -> String {
    let mut said = Vec::new();
    tables(rows).iter().map(|table| table.text(width, &mut said)).collect::<Vec<_>>().join("\n")
}

fn tables(rows: &[LiveRow]) -> Vec<Table> {
    std::iter::once(times(rows)).chain(break_even(rows)).collect()
}
