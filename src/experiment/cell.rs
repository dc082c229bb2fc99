//! A cell: one way to send the activation of one data set.

use std::fmt;

use super::scope::Scope;
use crate::codec::{Budget, CodecSpec, Rate};
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
