//! `splitbench trace`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::selection::split_list;
use crate::data::{self, Dataset, DatasetInfo, RowSource};
use crate::experiment::check_memory;
use crate::model::{Placement, SpecialTokens, SplitPoint, place, source};
use crate::output::{self, Output};
use crate::replay::record::{self, TraceOrigin};
use crate::replay::trace::{self, TokenizerId, Trace, activations_path};
use crate::save;

/// Record what a pass over data sets sends: every activation, or only how many tokens each has.
///
/// With activations FILE.npy is written beside FILE.json. `splitbench replay FILE.json` times codecs on it. Examples:
///   splitbench trace --datasets piqa-mini --split 1 --limit 20 --output piqa.json
///   splitbench trace --shapes --tokenizer tokenizer.json --data-dir DIR --output shapes.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Model: a name (`splitbench list models`), a folder or a GGUF file; `pocket` if not given.
    #[arg(long)]
    model: Option<String>,
    /// Data sets, separated by commas: names, or TOML files that define your own; all ten if not given.
    #[arg(long, visible_alias = "dataset", value_name = "NAME")]
    datasets: Vec<String>,
    /// Split layer, 1 up to the number of layers.
    #[arg(long, visible_alias = "layer", value_name = "LAYER", default_value_t = 1)]
    split: usize,
    /// Only the number of tokens of each request: no weights are needed.
    #[arg(long)]
    shapes: bool,
    /// With --shapes and no model: a tokenizer.json to count tokens with. With a GGUF model: one in place of its own.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
    /// What to call the tokenizer in the trace, and where it is from.
    #[arg(long, value_name = "TEXT", requires = "tokenizer")]
    tokenizer_origin: Option<String>,
    /// First questions of each data set only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder with the rows of the real data sets.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Most rows of the residual stream per batch; no value depends on it.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    batch_tokens: usize,
    /// Type the weight matrices are kept in: f32 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: String,
    /// The trace, a .json file.
    #[arg(long, visible_alias = "out", value_name = "FILE.json")]
    output: PathBuf,
    /// Print the trace as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Records.
    pub fn run(self) -> Result<()> {
        ensure!(
            self.tokenizer.is_none() || self.shapes || self.model.is_some(),
            "--tokenizer alone gives no activations: add --shapes for the number of tokens only, or --model FILE.gguf"
        );
        ensure!(self.batch_tokens > 0, "--batch-tokens is 0; give 1 or more");
        ensure!(
            self.output.extension().is_some_and(|e| e == "json"),
            "--output {}: a trace is a .json file, its activations a .npy file of the same name",
            self.output.display()
        );
        let source = RowSource::new(self.data_dir.as_deref());
        let infos: Vec<&'static DatasetInfo> = match self.datasets.is_empty() {
            true => data::registry().iter().filter(|d| !d.mini).collect(),
            false => {
                let names = split_list("--datasets", &self.datasets, ',')?;
                names.iter().map(|name| data::find(name)).collect::<Result<_>>()?
            }
        };
        data::refuse_namesakes(&infos)?;
        self.check_places(&source, &infos)?;
        let datasets: Vec<Dataset> = infos.iter().map(|info| info.load(&source, self.limit)).collect::<Result<_>>()?;
        datasets.iter().filter_map(Dataset::note).for_each(|note| tell!("note: {note}"));
        let (trace, activations) = match self.shapes {
            true => (self.shapes(&datasets)?, None),
            false => self.activations(&datasets).map(|(trace, activations)| (trace, Some(activations)))?,
        };
        let npy = activations.map_or(Ok(()), |bytes| save::replace(&activations_path(&self.output), &bytes));
        let saved = npy.and_then(|()| trace.save(&self.output));
        if self.json {
            say!("{}", serde_json::to_string_pretty(&trace)?)?;
            return saved;
        }
        for set in &trace.datasets {
            say!("{:<20} {:>6} sequences {:>9} tokens", set.dataset, set.sequences, set.tokens)?;
        }
        saved?;
        say!("wrote {}: {} sequences of {} tokens", self.output.display(), trace.sequences(), trace.tokens())
    }

    /// Fails where the trace and what lies beside it cannot be written, or would take the place of a file that is read or is of
    /// something else.
    fn check_places(&self, source: &RowSource, infos: &[&DatasetInfo]) -> Result<()> {
        let mut read = source.files(infos.iter().copied());
        match (&self.tokenizer, &self.model) {
            (Some(path), None) => read.push(path.clone()),
            _ => read.extend(source::locate(&self.model())?.paths()),
        }
        let mut outputs = vec![Output::file("--output", &self.output)];
        if !self.shapes {
            let npy = activations_path(&self.output);
            outputs.push(Output::file("--output: the activations beside it,", &npy));
            ensure!(
                !npy.exists() || trace::is_of(&self.output, &npy),
                "--output {}: the activations would go to {}, where there is a file of no trace of this name; give another \
                 name, or move it away",
                self.output.display(),
                npy.display()
            );
        }
        output::check(&read, &outputs)
    }

    fn shapes(&self, datasets: &[Dataset]) -> Result<Trace> {
        let alone = self.tokenizer.as_ref().filter(|_| self.model.is_none());
        let (tokenizer, sha256) = match alone {
            Some(path) => source::tokenizer_file(path)?,
            None => source::tokenizer_of(&self.model())?,
        };
        SpecialTokens::new(&tokenizer)?.note().iter().for_each(|note| tell!("note: {note}"));
        // A tokenizer.json is told from others by its folder.
        let folder =
            |path: &PathBuf| path.parent().and_then(|p| p.file_name()).and_then(|n| n.to_str()).map(String::from);
        let name = match alone {
            Some(path) => folder(path).unwrap_or_else(|| path.display().to_string()),
            None => source::canonical(&self.model()),
        };
        let origin = self.tokenizer_origin.clone().unwrap_or_else(|| format!("tokenizer.json of {name}"));
        let about = TraceOrigin { tokenizer: TokenizerId { name, origin, sha256 }, limit: self.limit };
        record::shapes(about, &tokenizer, datasets)
    }

    /// The model, with the tokenizer that takes its own's place.
    fn model(&self) -> String {
        let model = self.model.as_deref().unwrap_or(source::POCKET);
        self.tokenizer.as_ref().map_or_else(|| model.to_string(), |tokenizer| place::with_tokenizer(model, tokenizer))
    }

    fn activations(&self, datasets: &[Dataset]) -> Result<(Trace, Vec<u8>)> {
        let placement = Placement::open("cpu", &self.dtype)?;
        let name = self.model();
        check_memory(&name, &placement, self.batch_tokens)?;
        let model = source::load(&name, &placement)?;
        model.notes.iter().for_each(|note| tell!("note: {note}"));
        let tokenizer = TokenizerId {
            name: model.name.clone(),
            origin: format!("tokenizer.json of {}", model.title),
            sha256: model.tokenizer_sha256.clone(),
        };
        let about = TraceOrigin { tokenizer, limit: self.limit };
        let split = SplitPoint { after_layer: self.split };
        record::activations(about, &model, split, datasets, self.batch_tokens, &self.output)
            .with_context(|| format!("model {name}"))
    }
}
