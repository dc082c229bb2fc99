//! A cell: one way to send the activation of one data set.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::model::SplitPoint;
use splitbench_codec::{Budget, CodecSpec, Rate};

/// Split layer, scope, codec and ratio; model and data set are those of the surrounding run.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Where the model is cut.
    pub split: SplitPoint,
    /// What is compressed.
    pub scope: Scope,
    /// By which codec.
    pub codec: CodecSpec,
    /// What it may keep; none for a codec of fixed rate.
    pub budget: Option<Budget>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} after layer {}, {}", self.codec, self.split.after_layer, self.scope)?;
        self.budget.map_or(Ok(()), |b| write!(f, ", ratio {} in {}", b.ratio, b.accounting))
    }
}

/// All cells of one data set: split layers outermost, then scopes, codecs, budgets. A codec of fixed rate has one cell,
/// however many budgets there are.
pub fn cells(splits: &[usize], scopes: &[Scope], codecs: &[CodecSpec], budgets: &[Budget]) -> Vec<Cell> {
    let mut out = Vec::new();
    for &after_layer in splits {
        for &scope in scopes {
            for codec in codecs {
                let budgets: Vec<Option<Budget>> = match codec.info().rate {
                    Rate::Fixed => vec![None],
                    Rate::Budget => budgets.iter().copied().map(Some).collect(),
                };
                out.extend(budgets.into_iter().map(|budget| Cell {
                    split: SplitPoint { after_layer },
                    scope,
                    codec: codec.clone(),
                    budget,
                }));
            }
        }
    }
    out
}

/// What a cell is called in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CellKey {
    /// The cut: after this layer.
    pub split_layer: usize,
    /// What is compressed.
    pub scope: String,
    /// Codec with its options.
    pub codec: String,
    /// Compression ratio asked for.
    pub ratio: Option<String>,
    /// What it counts.
    pub accounting: Option<String>,
    /// Hash of what the codec was calibrated with.
    pub calibration: Option<String>,
    /// Whether indicators were taken.
    pub probed: bool,
}

impl CellKey {
    /// Of a cell.
    pub fn new(cell: &Cell, calibration: Option<&str>, probed: bool) -> Self {
        Self {
            split_layer: cell.split.after_layer,
            scope: cell.scope.to_string(),
            codec: cell.codec.to_string(),
            ratio: cell.budget.map(|b| b.ratio.to_string()),
            accounting: cell.budget.map(|b| b.accounting.to_string()),
            calibration: calibration.map(str::to_string),
            probed,
        }
    }

    /// Compression ratio asked for.
    pub fn ratio(&self) -> Option<f64> {
        self.ratio.as_ref()?.parse().ok()
    }
}

impl fmt::Display for CellKey {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} after layer {}, {}", self.codec, self.split_layer, self.scope)?;
        match (&self.ratio, &self.accounting) {
            (Some(ratio), Some(accounting)) => write!(f, ", ratio {ratio} in {accounting}"),
            _ => Ok(()),
        }
    }
}
