//! One activation to look at: as it is, as each codec leaves it, and its spectrum.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::energy::spectrum;
use crate::file_name::file_name;
use splitbench_codec::npy;
use splitbench_codec::{Activation, Calibration, Received, build};

/// A line of `heat.csv`: one matrix in a file of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The question's id.
    pub question: String,
    /// The cut: after this layer, 1..=N.
    pub split_layer: u32,
    /// What it is.
    pub kind: Kind,
    /// Codec with its options; empty where there is none.
    pub codec: String,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// What the ratio counts; empty where none was asked for.
    pub accounting: String,
    /// Rows of the whole matrix, S.
    pub tokens: u64,
    /// Columns of the whole matrix.
    pub hidden: u64,
    /// `||A - A'||_F / ||A||_F` of the whole matrix.
    pub rel_error: Option<f64>,
    /// The file, a NumPy array, beside this one; of an activation its first rows and columns.
    pub file: String,
    /// Why there is none.
    pub err: Option<String>,
}

/// What a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The activation A.
    Activation,
    /// A' as received.
    Received,
    /// log10 of the coefficients' shares of the energy.
    Spectrum,
}

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
        Heat { kind: Kind::Activation, file: put("activation", &shown(a)?)?, ..blank.clone() },
        Heat { kind: Kind::Spectrum, file: put("spectrum", &spectrum(a)?)?, ..blank.clone() },
    ];
    for (nth, cell) in cells.iter().enumerate() {
        let line = Heat {
            kind: Kind::Received,
            codec: cell.codec.to_string(),
            ratio: cell.budget.map(|budget| budget.ratio),
            accounting: cell.budget.map(|budget| budget.accounting.to_string()).unwrap_or_default(),
            ..blank.clone()
        };
        let received = build(&cell.codec, calibration).and_then(|codec| codec.receive(&codec.encode(a, cell.budget)?));
        out.push(match received {
            Ok(Received::Activation(received)) => Heat {
                rel_error: Some(a.rel_error(&received)),
                file: put(&format!("{nth}-{}", cell.codec.name()), &shown(&received)?)?,
                ..line
            },
            // The server makes the same A itself.
            Ok(Received::TokenIds(_)) => continue,
            Err(error) => Heat { err: Some(format!("{error:#}")), ..line },
        });
    }
    Ok(out)
}

fn shown(a: &Activation) -> Result<Activation> {
    let (rows, columns) = (a.tokens().min(SHOWN.0), a.hidden().min(SHOWN.1));
    Activation::new(rows, columns, (0..rows).flat_map(|s| &a.row(s)[..columns]).copied().collect())
}
