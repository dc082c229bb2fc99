//! The experiment file: what to run, as data.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::report_spec::ReportSpec;
use super::scope::Scope;
use crate::data::{self, DatasetRef};
use crate::embedded::{self, experiment_text};
use crate::model::source;
use crate::repeats::refuse_repeats;
use splitbench_codec::{Accounting, Budget, CodecSpec};

/// An experiment file as written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// What the experiment is about and what would count as agreement with the paper.
    pub analysis: String,
    /// Models: names or folders.
    #[serde(default = "default_models")]
    pub models: Vec<String>,
    /// Data sets by name or by the path of a definition, or `"all"` ten.
    pub datasets: AllOrSome<DatasetRef>,
    /// Split layers l, 1..=N, or `"all"`.
    #[serde(default = "first_layer")]
    pub split_layers: AllOrSome<usize>,
    /// What is compressed.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<Scope>,
    /// Codecs with their options.
    pub codecs: Vec<String>,
    /// Compression ratios, or `"paper"`: the data set's ratio of the paper's Table III. Codecs of fixed rate ignore them.
    pub ratios: Ratios,
    /// What a ratio counts: one way or several.
    #[serde(default = "default_accounting", with = "accounting_text")]
    pub accounting: Vec<Accounting>,
    /// Training rows a codec is calibrated on, a data set.
    #[serde(default = "default_calibration_rows")]
    pub calibration_rows: usize,
    /// First questions of each data set; all where absent.
    pub limit: Option<usize>,
    /// What to make of the rows.
    #[serde(default)]
    pub report: ReportSpec,
}

/// A list, or the word `all`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AllOrSome<T> {
    /// These.
    Some(Vec<T>),
    /// The word; only `all` is allowed.
    Word(String),
}

/// Ratios of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a list of ratios, such as [4.0, 8.0], or \"paper\"")]
pub enum Ratios {
    /// These, for every data set.
    Some(Vec<f64>),
    /// The word; only `paper` is allowed: one ratio a data set, from its registry file.
    Word(String),
}

fn default_models() -> Vec<String> {
    vec![source::POCKET.to_string()]
}

fn first_layer() -> AllOrSome<usize> {
    AllOrSome::Some(vec![1])
}

fn default_scopes() -> Vec<Scope> {
    vec![Scope::PromptAndChoice]
}

fn default_accounting() -> Vec<Accounting> {
    vec![Accounting::Elements]
}

fn default_calibration_rows() -> usize {
    128
}

mod accounting_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use splitbench_codec::Accounting;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected \"elements\", \"wire\", or a list of them")]
    enum Words {
        One(String),
        Several(Vec<String>),
    }

    pub fn serialize<S: Serializer>(values: &[Accounting], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(Accounting::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Accounting>, D::Error> {
        let words = match Words::deserialize(from)? {
            Words::One(word) => vec![word],
            Words::Several(words) => words,
        };
        let parse = |word: &String| word.parse().map_err(|e: anyhow::Error| D::Error::custom(format!("{e:#}")));
        words.iter().map(parse).collect()
    }
}

/// An experiment by name or file, with the name it goes by.
pub struct Experiment {
    /// Name of the embedded experiment, or the file's stem.
    pub name: String,
    /// What it asks for.
    pub spec: Spec,
    /// Its file, where it is not part of the program.
    pub file: Option<PathBuf>,
}

/// What an embedded experiment is about; a simulation has that too.
pub fn analysis(name: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct AnalysisText {
        analysis: String,
    }
    let about: AnalysisText = toml::from_str(experiment_text(name).unwrap_or_default())
        .with_context(|| format!("experiments/{name}.toml"))?;
    Ok(about.analysis)
}

/// Reads an experiment: a name of [`crate::embedded::experiments`], or a path that ends in `.toml`.
pub fn find(name: &str) -> Result<Experiment> {
    if let Some(text) = experiment_text(name) {
        return parse(name, text, &format!("experiments/{name}.toml"));
    }
    let path = Path::new(name);
    if path.extension().is_none_or(|e| e != "toml") {
        return Err(splitbench_codec::suggest::unknown("experiment", name, embedded::experiments())
            .context("an experiment is a known name or a path that ends in .toml"));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading experiment {name}"))?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("experiment");
    Ok(Experiment { file: Some(path.to_path_buf()), ..parse(stem, &text, name)? })
}

fn parse(name: &str, text: &str, origin: &str) -> Result<Experiment> {
    let table: toml::Table = toml::from_str(text).with_context(|| origin.to_string())?;
    ensure!(!table.contains_key("trace"), "{origin} is a replay over a trace: `splitbench replay {name}` runs it");
    if table.contains_key("simulate") {
        bail!("{origin} is a simulation, which runs no model: `splitbench simulate {name} --from results/figure6/RUN`");
    }
    let mut spec: Spec = toml::from_str(text).with_context(|| origin.to_string())?;
    spec.models.iter_mut().for_each(|model| *model = crate::model::source::canonical(model));
    // Paths of data sets begin where the experiment lies.
    let folder = Path::new(origin).parent().unwrap_or(Path::new(""));
    spec.resolve_datasets(folder).and_then(|()| spec.check()).with_context(|| origin.to_string())?;
    Ok(Experiment { name: name.to_string(), spec, file: None })
}

impl Spec {
    /// Fails on a name, option or number that no run could use.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.report.table4, "report.table4: Table IV is a replay over a trace: `splitbench replay table4`");
        ensure!(!self.models.is_empty(), "models is empty");
        ensure!(!self.codecs.is_empty(), "codecs is empty");
        ensure!(!self.scopes.is_empty(), "scopes is empty; give \"prompt+choice\", \"prompt\" or both");
        ensure!(!self.accounting.is_empty(), "accounting is empty; give \"elements\", \"wire\" or both");
        refuse_repeats("model", &self.models, |name| source::identity(name))?;
        refuse_repeats("scope", &self.scopes, |scope| *scope)?;
        refuse_repeats("accounting", &self.accounting, |accounting| *accounting)?;
        ensure!(self.calibration_rows > 0, "calibration_rows is 0");
        ensure!(self.limit != Some(0), "limit is 0; leave it out for all questions");
        let datasets = self.dataset_infos()?;
        ensure!(!datasets.is_empty(), "datasets is empty");
        data::refuse_namesakes(&datasets)?;
        self.codec_specs()?;
        match &self.split_layers {
            AllOrSome::Word(word) => {
                ensure!(word == "all", "split_layers is {word:?}; expected \"all\" or a list of layers")
            }
            AllOrSome::Some(list) => refuse_repeats("split layer", list, |layer| *layer)?,
        }
        match &self.ratios {
            Ratios::Word(word) => {
                ensure!(word == "paper", "ratios is {word:?}; expected \"paper\" or a list of numbers");
                let without = datasets.iter().find(|info| info.paper_ratio.is_none());
                if let Some(info) = without {
                    bail!("ratios is \"paper\", which has none for data set {}; give a list of numbers", info.given());
                }
            }
            Ratios::Some(list) => {
                ensure!(!list.is_empty(), "ratios is empty");
                for &ratio in list {
                    ensure!(ratio.is_finite() && ratio >= 1.0, "ratio {ratio} is not a number of at least 1");
                }
                refuse_repeats("ratio", list, |ratio| *ratio)?;
            }
        }
        Ok(())
    }

    /// Reads the definitions of the data sets that are given by paths, which begin in `folder`.
    pub fn resolve_datasets(&mut self, folder: &Path) -> Result<()> {
        let AllOrSome::Some(sets) = &mut self.datasets else { return Ok(()) };
        sets.iter_mut().try_for_each(|set| set.resolve(folder))
    }

    /// The data sets, in order.
    pub fn dataset_infos(&self) -> Result<Vec<&'static data::DatasetInfo>> {
        match &self.datasets {
            AllOrSome::Some(sets) => sets.iter().map(DatasetRef::info).collect(),
            AllOrSome::Word(word) if word == "all" => Ok(data::registry().iter().filter(|d| !d.mini).collect()),
            AllOrSome::Word(word) => bail!("datasets is {word:?}; expected \"all\" or a list of names"),
        }
    }

    /// The data sets that a model is asked: the embedded model knows the small world of the mini sets, so it gets these unless
    /// the user brings rows. Fails where two of them become one.
    pub fn datasets_for(&self, model: &str, rows_given: bool) -> Result<Vec<&'static data::DatasetInfo>> {
        let own = |info: &data::DatasetInfo| info.mini || info.origin.is_some();
        let resolve = |info: &&'static data::DatasetInfo| match own(info) || model != source::POCKET || rows_given {
            true => Ok(*info),
            false => data::find(&format!("{}-mini", info.name)),
        };
        let infos = self.dataset_infos()?;
        let resolved: Vec<_> = infos.iter().map(resolve).collect::<Result<_>>()?;
        let names: Vec<&str> = infos.iter().map(|info| info.name.as_str()).collect();
        let asked_for = |name: &&str| names.iter().position(|other| other == name).map(|at| &resolved[at].name);
        refuse_repeats("data set", &names, asked_for)
            .with_context(|| format!("model {model} is asked the mini set of each data set"))?;
        Ok(resolved)
    }

    /// The codecs, in order; twice the same is an error.
    pub fn codec_specs(&self) -> Result<Vec<CodecSpec>> {
        let specs: Vec<CodecSpec> = self.codecs.iter().map(|c| CodecSpec::parse(c)).collect::<Result<_>>()?;
        refuse_repeats("codec", &self.codecs, |name| CodecSpec::parse(name).ok())?;
        Ok(specs)
    }

    /// Split layers of a model of `layers` layers, ascending.
    pub fn splits(&self, layers: usize) -> Result<Vec<usize>> {
        let AllOrSome::Some(list) = &self.split_layers else { return Ok((1..=layers).collect()) };
        let mut list = list.clone();
        list.sort_unstable();
        ensure!(!list.is_empty(), "split_layers is empty");
        for &layer in &list {
            ensure!((1..=layers).contains(&layer), "split layer {layer} is outside 1..={layers} of this model");
        }
        Ok(list)
    }

    /// Budgets for a data set: each ratio by each accounting.
    pub fn budgets_for(&self, dataset: &data::DatasetInfo) -> Vec<Budget> {
        let ratios = match &self.ratios {
            Ratios::Some(list) => list.clone(),
            Ratios::Word(_) => dataset.paper_ratio.map(f64::from).into_iter().collect(),
        };
        let budgets = |&accounting| ratios.iter().map(move |&ratio| Budget { ratio, accounting });
        self.accounting.iter().flat_map(budgets).collect()
    }
}
