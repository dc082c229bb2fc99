//! A machine's profile as tables: parts with their fits, codecs with bytes and times.

use super::number::{MISSING, ratio, significant};
use super::table::{Table, TableSection};
use crate::advise::profile::{MachineProfile, PartFit, TimeFit};

/// Tokens at which fits and codecs are shown.
const TOKENS: [f64; 3] = [1.0, 64.0, 256.0];

/// The tables for a terminal.
pub fn text(profile: &MachineProfile, width: usize) -> String {
    let mut said = Vec::new();
    let tables: Vec<Table> = std::iter::once(parts(profile)).chain(codecs(profile)).collect();
    tables.iter().map(|table| table.text(width, &mut said)).collect::<Vec<_>>().join("\n")
}

fn parts(profile: &MachineProfile) -> Table {
    let mut table = Table {
        title: format!("{} on {}", profile.model.name, profile.machine),
        caption: vec![
            profile.about.clone(),
            "Prompt: n tokens at once; step: one token after n others; head: of one row.".into(),
            format!(
                "A layer takes the mean of {}; their standard deviation is {:.1} % of it.",
                profile.model.layers,
                100.0 * profile.layer_spread
            ),
        ],
        columns: ["", "part", "fixed us", "per token", "per token^2", "at least", "worst residual"]
            .map(String::from)
            .into_iter()
            .chain(TOKENS.map(|n| format!("at {n}, us")))
            .collect(),
        ..Table::default()
    };
    let mut rows = Vec::new();
    for (name, PartFit { prompt, step }) in
        [("embedding", &profile.embedding), ("layer", &profile.layer), ("head", &profile.head)]
    {
        for (phase, fit) in [("prompt", prompt), ("step", step)] {
            rows.push(part(format!("{name}, {phase}"), fit));
        }
    }
    table.sections.push(TableSection { name: String::new(), rows });
    table
}

fn part(name: String, fit: &TimeFit) -> Vec<String> {
    let [at_least, more] = fit.at_least_us;
    let bound = match (at_least, more) {
        (0.0, 0.0) => MISSING.to_string(),
        (fixed, 0.0) => significant(fixed),
        (fixed, more) => format!("{} + {} n", significant(fixed), significant(more)),
    };
    let residual = match fit.samples.len() {
        0 => MISSING.to_string(),
        _ => format!("{:.1} %", 100.0 * fit.worst_residual),
    };
    let mut cells = vec![
        name,
        significant(fit.fixed_us),
        significant(fit.per_token_us),
        significant(fit.per_token_squared_us),
        bound,
        residual,
    ];
    cells.extend(TOKENS.map(|tokens| significant(1e6 * fit.seconds(tokens))));
    cells
}

fn codecs(profile: &MachineProfile) -> Option<Table> {
    let mut columns = vec![String::new(), "codec".into(), "ratio".into()];
    for what in ["bytes", "encode us", "decode us"] {
        columns.extend(TOKENS.map(|rows| format!("{what}, {rows}")));
    }
    let mut rows = Vec::new();
    for fit in &profile.codecs {
        let asked = match (&fit.ratio, &fit.accounting) {
            (Some(value), Some(accounting)) => format!("{} {accounting}", ratio(*value)),
            (Some(value), None) => ratio(*value),
            (None, _) => MISSING.to_string(),
        };
        let at = TOKENS.map(|tokens| fit.at(tokens));
        let mut cells = vec![fit.codec.clone(), asked];
        cells.extend(at.map(|one| format!("{:.0}", one.bytes)));
        cells.extend(at.map(|one| significant(one.encode_us)));
        cells.extend(at.map(|one| significant(one.decode_us)));
        rows.push(cells);
    }
    (!rows.is_empty()).then(|| Table {
        title: format!("Codecs on rows of {}", profile.model.name),
        caption: vec!["Packets of 1, 64 and 256 rows; a median, one thread.".into()],
        columns,
        sections: vec![TableSection { name: String::new(), rows }],
        ..Table::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advise::profile::tests::profile;

    #[test]
    fn parts_and_codecs_are_told() {
        let mut profile = profile(1.0);
        profile.layer.prompt.samples = vec![(64.0, 700.0)];
        profile.layer.prompt.worst_residual = 0.0571;
        profile.head.step.at_least_us = [300.0, 0.5];
        let text = text(&profile, 200);
        let line = |label: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(label));
            line.unwrap_or_else(|| panic!("no {label} in\n{text}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("layer, prompt"), format!("layer, prompt 100 10.0 0 {MISSING} 5.7 % 110 740 2660"));
        assert_eq!(line("head, step"), format!("head, step 200 0 0 300 + 0.500 n {MISSING} 300 332 428"));
        assert_eq!(line("fc"), "fc 8 wire 25 1600 6400 1.00 64.0 256 1.00 64.0 256");
        assert_eq!(line("int8"), format!("int8 {MISSING} 104 6656 26624 1.00 64.0 256 1.00 64.0 256"));
        profile.codecs.clear();
        assert!(!super::text(&profile, 200).contains("Codecs on rows"));
    }
}
