//! `splitbench train-pocket`: remakes models/pocket and datasets/mini from their recipe.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::pocket::{self, Corpus, Document, Recipe, Text, World};

/// Train the embedded pocket model from its recipe: tokenizer, mini data sets and weights.
///
/// Example: splitbench train-pocket --out /tmp/pocket
#[derive(clap::Args)]
pub struct Args {
    /// Folder that gets config.json, tokenizer.json and model.safetensors.
    #[arg(long, value_name = "DIR", default_value = "models/pocket")]
    out: PathBuf,
    /// Also write the ten mini data sets to this folder.
    #[arg(long, value_name = "DIR")]
    mini: Option<PathBuf>,
    /// Optimiser steps.
    #[arg(long, default_value_t = Recipe::default().steps)]
    steps: usize,
    /// Seed of corpus and weights.
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    #[arg(long, default_value_t = Recipe::default().learning_rate)]
    lr: f64,
    #[arg(long, default_value_t = Recipe::default().batch)]
    batch: usize,
    #[arg(long, default_value_t = Recipe::default().intermediate)]
    intermediate: usize,
}

impl Args {
    /// Trains and writes.
    pub fn run(self) -> Result<()> {
        let recipe = Recipe {
            steps: self.steps,
            seed: self.seed,
            learning_rate: self.lr,
            batch: self.batch,
            intermediate: self.intermediate,
            ..Recipe::default()
        };
        let world = World::embedded()?;
        if let Some(mini) = &self.mini {
            pocket::write_mini(&world, mini)?;
        }
        let mut corpus = Corpus::new(&world, recipe.seed)?;
        let mut texts = std::iter::from_fn(move || Some(render(corpus.next_document())));
        let sample: Vec<String> = texts
            .by_ref()
            .take(recipe.tokenizer_documents)
            .map(|t| t.map(|t| t.prompt + &t.answer))
            .collect::<Result<_>>()?;
        let tokenizer = pocket::tokenizer::train(&sample, recipe.vocabulary)?;
        let bar = ProgressBar::new(recipe.steps as u64);
        bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} steps, {msg}, {eta} left")?);
        pocket::train(&recipe, &tokenizer, texts, &self.out, |p| {
            let rate = p.tokens as f64 / p.elapsed.as_secs_f64();
            bar.set_message(format!("loss {:.3}, {rate:.0} tokens/s", p.loss));
            bar.inc(1);
            if p.step % 25 == 0 || p.step == recipe.steps {
                println!("step {} loss {:.4} tokens {} {rate:.0}/s", p.step, p.loss, p.tokens);
            }
        })?;
        bar.finish();
        println!("wrote {}", self.out.display());
        Ok(())
    }
}

fn render(document: Document) -> Result<Text> {
    let (dataset, row) = match document {
        Document::Text(text) => return Ok(Text { prompt: text, answer: String::new() }),
        Document::Row { dataset, row } => (dataset, row),
    };
    let s = |k: &str| row[k].as_str().unwrap_or_default().to_string();
    let list = |v: &serde_json::Value| -> Vec<String> {
        v.as_array().map(|a| a.iter().map(|x| x.as_str().unwrap_or_default().to_string()).collect()).unwrap_or_default()
    };
    let gold = |key: &str| {
        let labels = list(&row["choices"]["label"]);
        labels.iter().position(|l| *l == s(key)).unwrap()
    };
    let (prompt, answer) = match dataset {
        "openbookqa" => (s("question_stem"), list(&row["choices"]["text"])[gold("answerKey")].clone()),
        "arc_easy" | "arc_challenge" | "qasc" => {
            (format!("Question: {}\nAnswer:", s("question")), list(&row["choices"]["text"])[gold("answerKey")].clone())
        }
        "piqa" => (
            format!("Question: {}\nAnswer:", s("goal")),
            if row["label"].as_i64() == Some(0) { s("sol1") } else { s("sol2") },
        ),
        "siqa" => (
            format!("Q: {} {}\nA:", s("context"), s("question")),
            s(["answerA", "answerB", "answerC"][s("label").parse::<usize>()? - 1]),
        ),
        "winogrande" => {
            let sentence = s("sentence");
            let (before, after) = sentence.split_once('_').unwrap();
            (format!("{before}{}", s(if s("answer") == "1" { "option1" } else { "option2" })), after.trim().to_string())
        }
        "commonsense_qa" => {
            let t = list(&row["choices"]["text"]);
            (
                format!(
                    "Question: {}\nA. {}\nB. {}\nC. {}\nD. {}\nE. {}\nAnswer:",
                    s("question"),
                    t[0],
                    t[1],
                    t[2],
                    t[3],
                    t[4]
                ),
                s("answerKey"),
            )
        }
        "logiqa" => {
            let t = list(&row["options"]);
            let g = (s("label").as_bytes()[0] - b'a') as usize;
            (
                format!(
                    "Passage: {}\nQuestion: {}\nChoices:\nA. {}\nB. {}\nC. {}\nD. {}\nAnswer:",
                    s("context"),
                    s("question"),
                    t[0],
                    t[1],
                    t[2],
                    t[3]
                ),
                t[g].clone(),
            )
        }
        "cosmos_qa" => {
            (format!("{}\nQuestion: {}\nAnswer:", s("context"), s("question")), s(&format!("answer{}", row["label"])))
        }
        other => anyhow::bail!("no text for {other}"),
    };
    Ok(Text { prompt, answer: format!(" {answer}") })
}
