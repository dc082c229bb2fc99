//! Data sets: registry, rows, prompts and where they come from.

mod prompt;
mod registry;
mod rows;
mod source;

pub use prompt::{Choice, Question, is_blank};
pub use registry::{DatasetInfo, Metric, TrainInfo, find, registry};
pub use rows::{Schema, read_rows};
pub use source::{Dataset, Source, is_prepared, load, load_train};
