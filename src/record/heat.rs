//! Activations to look at: `heat.csv`, and the matrices it names.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::table_file::TableLine;
use crate::file_name::file_name;
use splitbench_codec::{Activation, npy};

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
    pub kind: HeatKind,
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

impl TableLine for Heat {
    const FILE: &'static str = "heat.csv";
}

impl Heat {
    /// The line with its matrix, which is written to the run's folder.
    pub fn with_matrix(self, results: &Path, name: &str, matrix: &Activation) -> Result<Self> {
        let file = format!("heat/{}-l{}-{name}.npy", file_name(&self.model), self.split_layer);
        let folder = results.join("heat");
        fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
        crate::save::replace(&results.join(&file), &npy::to_bytes(matrix))?;
        Ok(Self { file, ..self })
    }

    /// Its matrix; none where there is no file, as of a codec that failed. One that cannot be read is an error.
    pub fn matrix(&self, results: &Path) -> Result<Option<Activation>> {
        let path = results.join(&self.file);
        (self.err.is_none() && path.is_file()).then(|| npy::read(&path)).transpose()
    }
}

/// What a matrix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeatKind {
    /// The activation A.
    Activation,
    /// A' as received.
    Received,
    /// log10 of the coefficients' shares of the energy.
    Spectrum,
}
