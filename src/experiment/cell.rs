//! A cell: one way to send the activation of one data set.

use std::fmt;

use super::scope::Scope;
use crate::codec::{CodecSpec, Rate};
use crate::model::SplitPoint;

/// Split layer, scope, codec and ratio; model and data set are those of the surrounding run.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Where the model is cut.
    pub split: SplitPoint,
    /// What is compressed.
    pub scope: Scope,
    /// By which codec.
    pub codec: CodecSpec,
    /// To which ratio; empty for a codec of fixed rate.
    pub ratio: Option<f64>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} after layer {}, {}", self.codec, self.split.after_layer, self.scope)?;
        self.ratio.map_or(Ok(()), |ratio| write!(f, ", ratio {ratio}"))
    }
}

/// All cells of one data set: split layers outermost, then scopes, codecs, ratios. A codec of fixed rate has one cell,
/// however many ratios there are.
pub fn cells(splits: &[usize], scopes: &[Scope], codecs: &[CodecSpec], ratios: &[f64]) -> Vec<Cell> {
    let mut out = Vec::new();
    for &after_layer in splits {
        for &scope in scopes {
            for codec in codecs {
                let ratios: Vec<Option<f64>> = match codec.info().rate {
                    Rate::Fixed => vec![None],
                    Rate::Budget => ratios.iter().copied().map(Some).collect(),
                };
                out.extend(ratios.into_iter().map(|ratio| Cell {
                    split: SplitPoint { after_layer },
                    scope,
                    codec: codec.clone(),
                    ratio,
                }));
            }
        }
    }
    out
}
