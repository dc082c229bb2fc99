//! Data sets: definitions, registry, rows, prompts and where they come from.

mod definition;
mod prompt;
mod registry;
mod rows;
mod source;
mod template;

pub use definition::{Choices, DatasetInfo, Labels, Metric, Scored, TrainInfo};
pub use prompt::{PromptChoice, Question, is_blank};
pub use registry::{DatasetRef, find, refuse_namesakes, registry};
pub use rows::read_rows;
pub use source::{Dataset, RowSource, is_prepared};
pub use template::Template;
