//! One activation to look at: as it is, as each codec leaves it, and its spectrum.

use std::path::Path;

use anyhow::{Context, Result};

use super::cell::Cell;
use super::energy::spectrum;
use crate::file_name::file_name;
use crate::record::{Heat, HeatKind};
use splitbench_codec::npy;
use splitbench_codec::{Activation, Calibration, Delivery, build, round_trip};

/// Rows and columns of an activation that are kept to be looked at.
const SHOWN: (usize, usize) = (48, 192);

/// Writes A, its spectrum and what each cell leaves of it to files in `folder`, and returns their lines. `blank` says which
/// model, data set, question and cut.
pub fn draw(
    folder: &Path,
    blank: &Heat,
    a: &Activation,
    cells: &[&Cell],
    calibration: Option<&Calibration>,
) -> Result<Vec<Heat>> {
    std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let stem = format!("{}-l{}", file_name(&blank.model), blank.split_layer);
    let put = |name: &str, matrix: &Activation| -> Result<String> {
        let file = format!("{stem}-{name}.npy");
        crate::save::replace(&folder.join(&file), &npy::to_bytes(matrix))?;
        Ok(format!("heat/{file}"))
    };
    let mut out = vec![
        Heat { kind: HeatKind::Activation, file: put("activation", &shown(a)?)?, ..blank.clone() },
        Heat { kind: HeatKind::Spectrum, file: put("spectrum", &spectrum(a)?)?, ..blank.clone() },
    ];
    for (nth, cell) in cells.iter().enumerate() {
        let line = Heat {
            kind: HeatKind::Received,
            codec: cell.codec.to_string(),
            ratio: cell.budget.map(|budget| budget.ratio),
            accounting: cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
            ..blank.clone()
        };
        let received =
            build(&cell.codec, calibration).and_then(|codec| Ok(round_trip(codec.as_ref(), a, cell.budget)?.received));
        out.push(match received {
            Ok(Delivery::Activation(received)) => Heat {
                rel_error: Some(a.rel_error(&received)),
                file: put(&format!("{nth}-{}", cell.codec.name()), &shown(&received)?)?,
                ..line
            },
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
