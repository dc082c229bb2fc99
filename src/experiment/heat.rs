//! One activation to look at: as it is, as each codec leaves it, and its spectrum.

use std::path::Path;

use anyhow::Result;

use super::cell::Cell;
use super::energy::spectrum;
use crate::record::{Heat, HeatKind};
use splitbench_codec::{Activation, Calibration, Delivery, build, round_trip};

/// Rows and columns of an activation that are kept to be looked at.
const SHOWN: (usize, usize) = (48, 192);

/// Writes A, its spectrum and what each cell leaves of it to the run's folder, and returns their lines. `blank` says which
/// model, data set, question and cut.
pub fn draw(
    results: &Path,
    blank: &Heat,
    a: &Activation,
    cells: &[&Cell],
    calibration: Option<&Calibration>,
) -> Result<Vec<Heat>> {
    let line = |kind| Heat { kind, ..blank.clone() };
    let mut out = vec![
        line(HeatKind::Activation).with_matrix(results, "activation", &shown(a)?)?,
        line(HeatKind::Spectrum).with_matrix(results, "spectrum", &spectrum(a)?)?,
    ];
    for (nth, cell) in cells.iter().enumerate() {
        let line = Heat {
            codec: cell.codec.to_string(),
            ratio: cell.budget.map(|budget| budget.ratio),
            accounting: cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
            ..line(HeatKind::Received)
        };
        let received =
            build(&cell.codec, calibration).and_then(|codec| Ok(round_trip(codec.as_ref(), a, cell.budget)?.received));
        out.push(match received {
            Ok(Delivery::Activation(received)) => Heat { rel_error: Some(a.rel_error(&received)), ..line }
                .with_matrix(results, &format!("{nth}-{}", cell.codec.name()), &shown(&received)?)?,
            // The server makes the same A itself.
            Ok(Delivery::TokenIds(_)) => continue,
            Err(error) => Heat { err: Some(format!("{error:#}")), ..line },
        });
    }
    Ok(out)
}

fn shown(a: &Activation) -> Result<Activation> {
    let (rows, columns) = (a.tokens().min(SHOWN.0), a.hidden().min(SHOWN.1));
    Activation::new(rows, columns, (0..rows).flat_map(|s| &a.row(s)[..columns]).copied().collect())
}
