//! The pocket world: hand-written everyday facts, the training text made from them, and the ten mini data sets.
//!
//! All facts are stated in the training text. A fixed part of them (`Fact::asked`) is never put as a question there;
//! the mini sets' `eval.jsonl` ask about just these, `train.jsonl` about the others.

mod corpus;
mod logic;
mod mini;
mod questions;
mod rows;
mod text;
pub mod tokenizer;
mod train;
mod world;

pub use corpus::{Corpus, Document};
pub use mini::{EVAL_ROWS, MiniRows, TRAIN_ROWS, mini_sets, write_mini};
pub use text::normalise;
pub use train::{Part, Progress, Recipe, Stage, train_stage};
pub use world::{Fact, Relation, World, WorldStats};

/// The ten mini data sets, named as the real ones they are shaped after.
pub const MINI_SETS: [&str; 10] = [
    "openbookqa",
    "arc_easy",
    "arc_challenge",
    "piqa",
    "siqa",
    "winogrande",
    "commonsense_qa",
    "qasc",
    "logiqa",
    "cosmos_qa",
];

#[cfg(test)]
mod tests;
