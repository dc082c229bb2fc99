//! Remakes `models/pocket` and `datasets/mini` from their recipe: hand-written everyday facts, the training text made from
//! them, and the ten mini data sets.
//!
//! All facts are stated in the training text. A fixed part of them (`Fact::asked`) is never put as a question there;
//! the mini sets' `eval.jsonl` ask about just these, `train.jsonl` about the others.

mod corpus;
mod logic;
mod mini;
mod questions;
mod rows;
mod text;
mod tokenizer;
mod train;
mod world;
#[cfg(test)]
mod world_tests;

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tokenizers::Tokenizer;

use clap::Parser;
use splitbench::data;
use splitbench::output::{self, Output};

use corpus::{Corpus, Document};
use train::{Part, Recipe};
use world::World;

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

/// Train the embedded pocket model from its recipe: tokenizer and weights, about 45 minutes on two cores.
///
/// Example: cargo run --release -p pocket-train -- --out /tmp/pocket
#[derive(Parser)]
#[command(name = "pocket-train", version)]
struct Args {
    /// Folder that gets config.json, tokenizer.json and model.safetensors.
    #[arg(long, value_name = "DIR", default_value = "models/pocket")]
    out: PathBuf,
    /// Also write the ten mini data sets to this folder.
    #[arg(long, value_name = "DIR")]
    mini: Option<PathBuf>,
    /// Begin with this stage (1 or 2); the one before must have left its weights in the folder.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_stage: usize,
    /// At most this many optimiser steps a stage, to try the recipe.
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

fn main() -> Result<()> {
    Args::parse().run()
}

impl Args {
    /// Trains and writes.
    fn run(self) -> Result<()> {
        let mut recipe = Recipe::default();
        let stages = recipe.stages.len();
        ensure!((1..=stages).contains(&self.from_stage), "--from-stage {} is outside 1..={stages}", self.from_stage);
        for stage in &mut recipe.stages {
            stage.steps = self.steps.unwrap_or(usize::MAX).min(stage.steps);
        }
        let mut outputs = vec![Output::files_in("--out", &self.out, |path| path.ends_with("config.json"))];
        outputs.extend(self.mini.iter().map(|folder| {
            Output::files_in("--mini", folder, |path| path.extension().is_some_and(|kind| kind == "jsonl"))
        }));
        // Those of the stage before are replaced by better ones.
        output::check(&[self.out.join("tokenizer.json")], &outputs)?;
        let world = World::embedded()?;
        if let Some(mini) = &self.mini {
            mini::write_mini(&world, mini)?;
        }
        let mut first = stream(&world, 0, recipe.seed)?;
        let tokenizer = if self.from_stage == 1 {
            let sample = first.by_ref().take(recipe.tokenizer_documents);
            let texts: Vec<String> =
                sample.map(|parts| Ok(parts?.iter().map(|p| p.text.as_str()).collect())).collect::<Result<_>>()?;
            tokenizer::train(&texts, recipe.vocabulary)?
        } else {
            let path = self.out.join("tokenizer.json");
            Tokenizer::from_file(&path).map_err(|e| anyhow!("reading {}: {e}", path.display()))?
        };
        for stage in self.from_stage - 1..stages {
            let texts = if stage == 0 { &mut first } else { &mut stream(&world, stage, recipe.seed)? };
            train(&recipe, stage, &tokenizer, texts, &self.out)?;
        }
        println!("wrote {}", self.out.display());
        Ok(())
    }
}

type Texts<'w> = Box<dyn Iterator<Item = Result<Vec<Part>>> + 'w>;

fn train(recipe: &Recipe, stage: usize, tokenizer: &Tokenizer, texts: &mut Texts, out: &std::path::Path) -> Result<()> {
    let steps = recipe.stages[stage].steps;
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {msg}, {eta} left")?);
    train::train_stage(recipe, stage, tokenizer, texts, out, |p| {
        let rate = p.tokens as f64 / p.elapsed.as_secs_f64();
        let state = format!("loss {:.3}, {rate:.0} tokens/s", p.loss);
        bar.inc(1);
        if p.step % 100 == 0 || p.step == steps {
            bar.suspend(|| println!("stage {} step {} of {steps}: {state}", stage + 1, p.step));
        }
        bar.set_message(state);
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// The documents of a stage; rows become the text that scoring would make of them.
fn stream(world: &World, stage: usize, seed: u64) -> Result<Texts<'_>> {
    let mut corpus = Corpus::new(world, stage, seed)?;
    Ok(Box::new(std::iter::from_fn(move || Some(text(corpus.next_document())))))
}

fn text(document: Document) -> Result<Vec<Part>> {
    match document {
        Document::Text(text) => Ok(vec![Part::plain(text)]),
        Document::Row { dataset, row } => {
            let info = data::find(dataset)?;
            let line = serde_json::to_string(&row)?;
            let mut read = data::read_rows(info, "training row", line.as_bytes(), None)
                .with_context(|| format!("a {dataset} row of the corpus: {line}"))?;
            let question = read.remove(0);
            let choice = question.choices.into_iter().nth(question.gold).context("no gold choice")?;
            let mut parts = options(&choice.context, question.gold);
            parts.push(Part::answer(choice.continuation));
            Ok(parts)
        }
    }
}

/// The context cut after each line of a lettered list (`A. text`): there the early exit is to say the letter of the
/// right option, and a line's end after a wrong one.
fn options(context: &str, gold: usize) -> Vec<Part> {
    let mut parts = vec![String::new()];
    let mut letters = vec![None];
    for line in context.split_inclusive('\n') {
        let letter = line.split_once(". ").map(|(letter, _)| letter).filter(|l| matches!(l.as_bytes(), [b'A'..=b'H']));
        if let (Some(letter), Some(text)) = (letter, line.strip_suffix('\n')) {
            let nth = usize::from(letter.as_bytes()[0] - b'A');
            let last = parts.len() - 1;
            parts[last].push_str(text);
            letters[last] = Some(if nth == gold { format!(" {letter}") } else { "\n".to_owned() });
            parts.push("\n".to_owned());
            letters.push(None);
        } else {
            let last = parts.len() - 1;
            parts[last].push_str(line);
        }
    }
    parts.into_iter().zip(letters).map(|(text, early)| Part { text, answer: false, early }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_list_are_marked_and_nothing_else() {
        let context = "Passage: A dog. It ran\nQuestion: Who?\nChoices:\nA. Tom\nB. a red cat\nC. Ann\nAnswer:";
        let parts = options(context, 1);
        assert_eq!(parts.iter().map(|p| p.text.as_str()).collect::<String>(), context);
        let marked: Vec<_> = parts
            .iter()
            .filter_map(|p| Some((p.text.rsplit('\n').next().unwrap_or_default(), p.early.as_deref()?)))
            .collect();
        assert_eq!(marked, [("A. Tom", "\n"), ("B. a red cat", " B"), ("C. Ann", "\n")]);
        assert_eq!(options("Question: Who?\nAnswer:", 0).len(), 1);
    }
}
