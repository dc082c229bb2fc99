//! `splitbench score`.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::ratio::{RatioArgs, requested};
use crate::data::Dataset;
use crate::data::{self, RowSource};
use crate::experiment::{
    Cell, ModelInput, Scope, ScoreRequest, check_memory, questions, sampled_row, score_in_memory, train,
};
use crate::live;
use crate::live::address::Address;
use crate::live::client::ServerAddress;
use crate::live::generate::{ClientHalf, SplitSession};
use crate::live::key::SharedKey;
use crate::live::sampler::Sampling;
use crate::model::source::Model;
use crate::model::{Placement, SplitPoint, place, source};
use crate::output::{self, Output};
use crate::record::{Row, Sample, json_lines};
use crate::report::{digits, p_value};
use crate::score::Request;
use splitbench_codec::{Budget, CodecSpec};

/// Score one cell: one model, data set, split layer, codec and ratio; one line.
///
/// Without --codec the model is not cut. Examples:
///   splitbench score --model pocket --dataset piqa-mini
///   splitbench score --model pocket --dataset piqa-mini --split 1 --codec fc --ratio 8
///   splitbench score --model pocket --dataset piqa-mini --connect 127.0.0.1:7077 --codec int8
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Model: a name (`splitbench list models`), a folder, a GGUF file, or `DIR:FILE` or `owner/name:FILE` of the hub with a file's name
    /// or a part of it.
    #[arg(long, default_value = source::POCKET)]
    model: String,
    /// A tokenizer.json in place of a GGUF model's own, which it must fit token by token.
    #[arg(long, value_name = "tokenizer.json")]
    tokenizer: Option<PathBuf>,
    /// Data set: a name (`splitbench list datasets`), or a TOML file that defines your own.
    #[arg(long, visible_alias = "datasets")]
    dataset: String,
    /// Split layer, 1 up to the number of layers; if not given 1, or where the server has it.
    #[arg(long, visible_alias = "layer", value_name = "LAYER")]
    split: Option<usize>,
    /// Codec with its options, such as fc:band=centered.
    #[arg(long, alias = "codecs")]
    codec: Option<String>,
    #[command(flatten)]
    ratio: RatioArgs,
    /// What is compressed: prompt+choice, prompt, or question (all choices as one matrix).
    #[arg(long, default_value = "prompt+choice", value_parser = parse_scope, requires = "codec")]
    scope: Scope,
    /// Run the layers after the cut at a `splitbench serve`: HOST:PORT or unix:PATH. The codec is noop if not given.
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<Address>,
    /// File with the key that the server has.
    #[arg(long, value_name = "FILE", requires = "connect")]
    key_file: Option<PathBuf>,
    /// Encrypt the connection with the key, where the server does (in a build with --features noise).
    #[arg(long, requires = "connect")]
    encrypt: bool,
    /// First questions only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder with the rows of the real data sets.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many training rows a codec is calibrated on.
    #[arg(long, value_name = "N", default_value_t = 128)]
    calibration_rows: usize,
    /// Write one JSON object per question to this file.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Most rows of the residual stream per batch, which has one question at least; no score depends on it.
    #[arg(long, value_name = "N", default_value_t = 2048)]
    batch_tokens: usize,
    /// Where the decoder runs: cpu, cuda or cuda:N (the latter in a build with --features cuda-model).
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Type the weight matrices are kept in: f32, or bf16 in half the memory. Arithmetic is f32 in both; on a GPU tf32 and bf16-gemm
    /// round the factors of products with weights (docs/gpu.md).
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: String,
    /// Leave out questions longer than the model takes, which are an error otherwise.
    #[arg(long)]
    skip_long: bool,
    /// Print the row as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_scope(text: &str) -> Result<Scope> {
    match text {
        "prompt+choice" => Ok(Scope::PromptAndChoice),
        "prompt" => Ok(Scope::Prompt),
        "question" => Ok(Scope::Question),
        other => Err(splitbench_codec::suggest::unknown("scope", other, ["prompt+choice", "prompt", "question"])),
    }
}

impl Args {
    /// Scores.
    pub fn run(mut self) -> Result<()> {
        if let Some(tokenizer) = &self.tokenizer {
            self.model = place::with_tokenizer(&self.model, tokenizer);
        }
        let codec = self.codec.as_deref().map(CodecSpec::parse).transpose()?;
        let budget = self.ratio.budget()?;
        ensure!(
            codec.is_some() || !self.ratio.are_given(),
            "--ratio and --accounting are a codec's, and without --codec nothing is compressed: give --codec, or leave them out"
        );
        ensure!(
            codec.is_some() || self.connect.is_some() || self.split.is_none(),
            "--split is where the model is cut, and without --codec it is not: give --codec, or leave --split out"
        );
        ensure!(self.batch_tokens > 0, "--batch-tokens is 0; give 1 or more");
        let source = RowSource::new(self.data_dir.as_deref());
        let info = data::find(&self.dataset)?;
        if let Some(path) = &self.samples {
            let mut read = source.files([info]);
            read.extend(source::locate(&self.model)?.paths());
            read.extend(codec.iter().flat_map(CodecSpec::files));
            output::check(&read, &[Output::file("--samples", path)])?;
        }
        let dataset = info.load(&source, self.limit)?;
        if let Some(note) = dataset.note() {
            tell!("note: {note}");
        }
        let placement = Placement::open(&self.device, &self.dtype)?;
        check_memory(&self.model, &placement, self.batch_tokens)?;
        let model = source::load(&self.model, &placement)?;
        model.notes.iter().for_each(|note| tell!("note: {note}"));
        let input = ModelInput { name: &self.model, config: &model.config, tokenizer: &model.tokenizer };
        let (dataset, requests) = questions(&input, dataset, self.skip_long)?;
        if let Some(address) = &self.connect {
            let codec = codec.unwrap_or(CodecSpec::parse("noop")?);
            let (row, samples) = self.score_connected(&model, address, codec, budget, &dataset, &requests)?;
            return self.show(&row, Some(&samples));
        }
        let split = SplitPoint { after_layer: self.split.unwrap_or(1) };
        model.config.check_split(split)?;
        let train = match codec.as_ref().and_then(CodecSpec::calibration) {
            Some(_) => train(&input, info, &source, self.calibration_rows, self.skip_long)?,
            None => Vec::new(),
        };
        let cells: Vec<Cell> = codec
            .map(|codec| Cell { split, scope: self.scope, budget: requested(&codec, budget), codec })
            .into_iter()
            .collect();
        let request = ScoreRequest {
            experiment: "score",
            model: &model,
            dataset: &dataset,
            requests: &requests,
            train: &train,
            calibrations: None,
            cells: &cells,
            limit: self.limit,
            shard: None,
            batch_tokens: self.batch_tokens,
            predictor: None,
            probe: None,
        };
        let (collected, samples) = score_in_memory(&request)?;
        // Of the cell, or of the baseline where there is none.
        let row = &collected.rows[collected.rows.len() - 1];
        if let Some(error) = &row.err {
            anyhow::bail!("{error}");
        }
        self.show(row, samples.last().map(Vec::as_slice))
    }

    /// Prints the row and writes the samples, whichever of the two fails.
    fn show(&self, row: &Row, samples: Option<&[Sample]>) -> Result<()> {
        let mut saved = Ok(());
        if let (Some(path), Some(samples)) = (&self.samples, samples) {
            saved = json_lines::write(path, samples);
        }
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(row)?)?,
            false => say!("{}", line(row))?,
        }
        saved
    }

    /// Scores with the layers before the cut here and a server's behind it.
    fn score_connected(
        &self,
        model: &Model,
        address: &Address,
        codec: CodecSpec,
        budget: Budget,
        dataset: &Dataset,
        requests: &[Vec<Request>],
    ) -> Result<(Row, Vec<Sample>)> {
        ensure!(
            self.scope == Scope::PromptAndChoice,
            "--scope {}: a server gets the rows of prompt and choice; leave --scope out with --connect",
            self.scope
        );
        let key = SharedKey::open(self.key_file.as_deref(), self.encrypt)?;
        let server = ServerAddress { address: address.clone(), key };
        let client = ClientHalf::load(model, self.split, &server)?;
        let most_tokens = requests.iter().flatten().map(|request| request.tokens.len()).max().unwrap_or(1);
        let budget = requested(&codec, budget);
        let wish = SplitSession {
            server: &server,
            codecs: [(codec.clone(), budget), (CodecSpec::parse("noop")?, None)],
            most_tokens,
            chunk: most_tokens,
            sampling: Sampling::default(),
            joint_steps: false,
        };
        let samples = live::score::score(&client, &wish, dataset, requests)?;
        let cell = Cell { split: client.split(), scope: self.scope, codec, budget };
        Ok((sampled_row("score", model, dataset, self.limit, &cell, &samples), samples))
    }
}

fn line(row: &Row) -> String {
    let percent = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{:.1}", 100.0 * v));
    let mut text = format!(
        "{} {} {}: acc {} ± {}, acc_norm {} ± {}, chance {}, {} questions",
        row.model,
        row.dataset,
        row.codec,
        percent(row.acc),
        percent(row.acc_stderr),
        percent(row.acc_norm),
        percent(row.acc_norm_stderr),
        percent(row.chance),
        row.questions
    );
    if let (Some(layer), Some(elements), Some(wire), Some(error)) =
        (row.split_layer, row.ratio_elements, row.ratio_wire, row.rel_error)
    {
        text += &format!(
            ", after layer {layer}, ratio {elements:.2} in elements, {wire:.2} on the wire, relative error {error:.4}"
        );
    }
    if let (Some(lost), Some(gained), Some(p)) = (row.lost, row.gained, row.mcnemar_p) {
        text += &format!(", against the unsplit model {lost} lost and {gained} gained (McNemar p {})", p_value(p));
    }
    if let (Some(kl), Some(top1)) = (row.kl_mean, row.top1) {
        text += &format!(", KL {} nats a scored token, top-1 {} %", digits(kl), digits(100.0 * top1));
    }
    text
}
