//! Options that `perplexity` and `gate` share: the model and where it is cut, the text and its windows.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::experiment::{Cell, ModelInput, Scope, cells, check_memory};
use crate::model::source::Model;
use crate::model::{Placement, SplitPoint, place, source};
use crate::score::{Request, SMALLEST_WINDOW, TextWindows, WINDOW, read_text};
use splitbench_codec::{Accounting, Budget, CodecSpec, Rate};

/// A model, and how it runs.
#[derive(clap::Args)]
pub(super) struct ModelArgs {
    /// Model: a name (`splitbench list models`), a folder, a GGUF file, or `DIR:FILE` or `owner/name:FILE` of the hub with a file's name
    /// or a part of it.
    #[arg(long, default_value = source::POCKET)]
    model: String,
    /// A tokenizer.json in place of a GGUF model's own, which it must fit token by token.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
    /// Most rows of the residual stream per batch, which has one window or question at least; no score depends on it.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = at_least_one)]
    pub batch_tokens: usize,
    /// Where the decoder runs: cpu, cuda or cuda:N (the latter in a build with --features cuda-model).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory. Arithmetic is f32 in both; on a GPU tf32 and bf16-gemm
    /// round the factors of products with weights (docs/gpu.md).
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: String,
}

impl ModelArgs {
    /// The model's name, its tokenizer included.
    pub fn name(&self) -> String {
        match &self.tokenizer {
            Some(tokenizer) => place::with_tokenizer(&self.model, tokenizer),
            None => self.model.clone(),
        }
    }

    /// Opens the model; its weights are not read yet.
    pub fn load(&self, split: SplitPoint) -> Result<Model> {
        let placement = Placement::open(&self.device, &self.dtype)?;
        check_memory(&self.name(), &placement, self.batch_tokens)?;
        let model = source::load(&self.name(), &placement)?;
        model.notes.iter().for_each(|note| tell!("note: {note}"));
        model.config.check_split(split)?;
        Ok(model)
    }

    /// The same weights on the CPU, whose products are f32.
    pub fn on_cpu(&self, model: &Model) -> Result<Model> {
        source::load(&self.name(), &Placement::open("cpu", model.placement.dtype.as_str())?)
    }

    /// Type of the weights.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }
}

/// How a text is cut, and what codecs are calibrated on.
#[derive(clap::Args)]
pub(super) struct WindowArgs {
    /// Tokens of a window, as the model counts them; 512 if not given, or as many as the model takes.
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Another text, for codecs that learn from activations: it is cut into the same windows.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// First windows of that text that codecs are calibrated on.
    #[arg(long, value_name = "N", default_value = "128", value_parser = at_least_one)]
    calibration_windows: usize,
}

/// A text in windows, and the one that codecs are calibrated on.
pub(super) struct TextInput {
    pub windows: TextWindows,
    /// Of the text's bytes.
    pub sha256: String,
    /// Empty where no codec asks for it.
    pub calibration: Vec<Request>,
}

impl WindowArgs {
    /// Whether the user gave any of them.
    pub fn are_given(&self) -> bool {
        self.window.is_some() || self.calibration.is_some()
    }

    /// Files that are read.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.calibration.iter().cloned()
    }

    /// Path of the text that these codecs are calibrated on.
    pub fn calibration(&self, cells: &[Cell]) -> Option<String> {
        let calibrated = cells.iter().any(|cell| cell.codec.calibration().is_some());
        self.calibration.as_ref().filter(|_| calibrated).map(|path| path.display().to_string())
    }

    /// Reads and cuts the text, and the other one where a codec asks for it.
    pub fn read(&self, model: &ModelInput, text: &Path, limit: Option<usize>, cells: &[Cell]) -> Result<TextInput> {
        let most = model.config.most_tokens();
        let window = self.window.unwrap_or(WINDOW.min(most));
        ensure!(
            (SMALLEST_WINDOW..=most).contains(&window),
            "--window {window}: give {SMALLEST_WINDOW} to {most}, as many as model {} takes",
            model.name
        );
        let cut = |option: &str, text: &str, path: &Path, limit| -> Result<TextWindows> {
            let named = || format!("{option} {}", path.display());
            let windows = TextWindows::new(model.tokenizer, text, window, limit).with_context(named)?;
            windows.check(model.config.vocab_size).with_context(|| format!("model {}", model.name))?;
            Ok(windows)
        };
        let content = read_text(text).context("--text")?;
        let needing = cells.iter().find(|cell| cell.codec.calibration().is_some());
        let calibration = match (needing, &self.calibration) {
            (None, None) => Vec::new(),
            (None, Some(path)) => {
                tell!("note: --calibration {}: no codec here learns from a text, so it is not read", path.display());
                Vec::new()
            }
            (Some(cell), None) => bail!(
                "codec {} learns from activations: give --calibration FILE, a text like --text but not the same",
                cell.codec
            ),
            (Some(_), Some(path)) => {
                let other = read_text(path).context("--calibration")?;
                ensure!(
                    other != content,
                    "--calibration {} is the text that is scored; a codec must not learn from it: give another text",
                    path.display()
                );
                cut("--calibration", &other, path, Some(self.calibration_windows))?.requests
            }
        };
        let sha256 = hex(&Sha256::digest(content.as_bytes()));
        Ok(TextInput { windows: cut("--text", &content, text, limit)?, sha256, calibration })
    }
}

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

/// A whole number from 1 on.
pub(super) fn at_least_one(text: &str) -> Result<usize> {
    let number: usize = text.parse()?;
    ensure!(number > 0, "give 1 or more");
    Ok(number)
}

/// A compression ratio.
pub(super) fn parse_ratio(text: &str) -> Result<f64> {
    let ratio = text.parse().with_context(|| format!("{text:?} is no number"))?;
    Ok(Budget::elements(ratio)?.ratio)
}

/// Those of some codecs that take no ratio, as they are written.
pub(super) fn fixed_rate(codecs: &[CodecSpec]) -> Vec<String> {
    codecs.iter().filter(|codec| codec.info().rate == Rate::Fixed).map(CodecSpec::to_string).collect()
}

/// Each codec at each ratio, 8 where none is given. Fails where ratios are given and no codec has any.
pub(super) fn text_cells(
    split: SplitPoint,
    codecs: &[CodecSpec],
    ratios: &[f64],
    accounting: Option<Accounting>,
) -> Result<Vec<Cell>> {
    let given = !ratios.is_empty() || accounting.is_some();
    let fixed = fixed_rate(codecs);
    ensure!(
        !given || fixed.len() < codecs.len(),
        "--ratio and --accounting are for codecs that take a ratio, and {} has a rate of its own: leave them out",
        fixed.join(", ")
    );
    let ratios = if ratios.is_empty() { &[8.0] } else { ratios };
    let accounting = accounting.unwrap_or(Accounting::Elements);
    let budgets: Vec<Budget> = ratios.iter().map(|&ratio| Budget::new(ratio, accounting)).collect::<Result<_>>()?;
    let cells = cells(&[split.after_layer], &[Scope::PromptAndChoice], codecs, &budgets);
    let twice = cells.iter().enumerate().find(|(nth, cell)| cells[..*nth].contains(cell));
    ensure!(twice.is_none(), "{} is asked for twice", twice.map(|(_, cell)| cell.to_string()).unwrap_or_default());
    Ok(cells)
}
