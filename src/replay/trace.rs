//! A trace: which activations a pass over data sets sends. Their lengths by data set, and the activations themselves where
//! they were recorded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::score::Request;
use splitbench_codec::npy;
use splitbench_codec::{Activation, MAX_ELEMENTS, MAX_SIDE};

use crate::score::lengths;
use crate::{data, save};

static EMBEDDED: Dir = include_dir!("$CARGO_MANIFEST_DIR/experiments/traces");

/// The layout that this program reads and writes.
pub(super) const FORMAT: u32 = 1;

/// Most sequences of a trace: replay keeps a few words of each.
const MAX_SEQUENCES: usize = 1 << 24;

/// A trace file, a JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// Layout of the file, 1.
    pub splitbench_trace: u32,
    /// Version and git revision of the program that made it.
    pub made_by: String,
    /// Whose tokens are counted.
    pub tokenizer: TokenizerId,
    /// The model whose activations are stored, and where it was cut; none where only shapes are.
    pub activations: Option<StoredActivations>,
    /// First questions of each data set; all where absent.
    pub limit: Option<usize>,
    /// What was sent, a data set after the other.
    pub datasets: Vec<TraceSet>,
}

/// A tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerId {
    /// What it is called.
    pub name: String,
    /// Where it came from, and which revision of it.
    pub origin: String,
    /// SHA-256 of its tokenizer.json.
    pub sha256: String,
}

/// Activations beside the trace: one `.npy` matrix, sequences one under another in the order of the data sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredActivations {
    /// The file's name, in the trace's folder.
    pub file: String,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Channels, D.
    pub hidden: usize,
    /// Model they are of.
    pub model: String,
    /// SHA-256 of its configuration and weights.
    pub model_sha256: String,
    /// Layer they were taken after.
    pub split_layer: usize,
}

/// The sequences of one data set: every request, prompt with choice, as the model is fed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSet {
    /// Name in the registry.
    pub dataset: String,
    /// SHA-256 of its rows.
    pub sha256: String,
    /// Version of its prompt.
    pub prompt_version: u32,
    /// Questions.
    pub questions: usize,
    /// Sequences: questions times choices.
    pub sequences: usize,
    /// Tokens of all sequences.
    pub tokens: usize,
    /// Number of sequences of each length, in tokens.
    pub lengths: BTreeMap<usize, usize>,
    /// The length of each sequence in turn, where activations are stored; else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<usize>,
}

/// A trace with its activations, read and checked.
pub struct TraceInput {
    /// The file.
    pub trace: Trace,
    /// Name of an embedded trace, or the file's stem.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Every row of every sequence, where activations are stored.
    pub rows: Option<Activation>,
    /// What it was read from; nothing of one that is part of the program.
    pub files: Vec<PathBuf>,
}

/// Names of the traces that are part of the program.
pub fn embedded() -> Vec<&'static str> {
    EMBEDDED.files().filter_map(|f| f.path().file_stem()?.to_str()).collect()
}

/// Reads a trace: a name of [`embedded`], or a path that ends in `.json`, with the activations beside it. Fails, naming file
/// and field, where it is cut short or contradicts itself.
pub fn load(name: &str) -> Result<TraceInput> {
    if let Some(file) = EMBEDDED.get_file(format!("{name}.json")) {
        return parse(name, file.contents(), None).with_context(|| format!("experiments/traces/{name}.json"));
    }
    check_name(name)?;
    let path = Path::new(name);
    let bytes = std::fs::read(path).with_context(|| format!("reading trace {name}"))?;
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("trace");
    let mut loaded = parse(stem, &bytes, path.parent()).with_context(|| name.to_string())?;
    loaded.files.push(path.to_path_buf());
    Ok(loaded)
}

/// Whether the file beside a trace, which need not be there, has its activations.
pub fn is_of(path: &Path, activations: &Path) -> bool {
    let read = || serde_json::from_slice::<Trace>(&std::fs::read(path).ok()?).ok();
    let named = read().and_then(|trace| trace.activations).map(|stored| stored.file);
    named.is_some_and(|file| activations.file_name() == Some(file.as_ref()))
}

/// Fails where a name can be no trace.
pub fn check_name(name: &str) -> Result<()> {
    if embedded().contains(&name) || name.ends_with(".json") {
        return Ok(());
    }
    // The replay that is part of the program may be what was meant.
    let known = embedded().into_iter().chain(["table4"]);
    Err(splitbench_codec::suggest::unknown("trace", name, known)
        .context("a trace is a known name or a path that ends in .json"))
}

fn parse(name: &str, bytes: &[u8], folder: Option<&Path>) -> Result<TraceInput> {
    let trace: Trace = serde_json::from_slice(bytes).context("not a whole trace file: is it cut short?")?;
    trace.check()?;
    let mut files = Vec::new();
    let rows = match &trace.activations {
        None => None,
        Some(stored) => {
            ensure!(
                !stored.file.contains(['/', '\\']),
                "field activations.file: {:?} is not a plain file name",
                stored.file
            );
            let path = folder.unwrap_or(Path::new("")).join(&stored.file);
            let rows = stored.read(&path, &trace);
            let rows = rows.with_context(|| format!("activations of the trace, {}", path.display()))?;
            files.push(path);
            Some(rows)
        }
    };
    Ok(TraceInput { name: name.to_string(), sha256: hex::encode(Sha256::digest(bytes)), trace, rows, files })
}

impl StoredActivations {
    fn read(&self, path: &Path, trace: &Trace) -> Result<Activation> {
        let bytes = std::fs::read(path).context("cannot be read: it belongs beside the trace file")?;
        let rows = npy::read_from(bytes.as_slice())?;
        ensure!(
            (rows.tokens(), rows.hidden()) == (trace.tokens(), self.hidden),
            "the matrix is {} x {}, the trace is of {} tokens x {} channels: one of the two is cut short or of another run",
            rows.tokens(),
            rows.hidden(),
            trace.tokens(),
            self.hidden
        );
        let found = hex::encode(Sha256::digest(&bytes));
        ensure!(found == self.sha256, "its sha256 is {found}, the trace says {}: record it again", self.sha256);
        Ok(rows)
    }
}

impl Trace {
    /// Sequences of all data sets.
    pub fn sequences(&self) -> usize {
        self.datasets.iter().map(|d| d.sequences).sum()
    }

    /// Tokens of all data sets.
    pub fn tokens(&self) -> usize {
        self.datasets.iter().map(|d| d.tokens).sum()
    }

    /// Number of sequences of each length over all data sets.
    pub fn lengths(&self) -> BTreeMap<usize, usize> {
        let mut all = BTreeMap::new();
        for (tokens, count) in self.datasets.iter().flat_map(|d| &d.lengths) {
            *all.entry(*tokens).or_default() += count;
        }
        all
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.splitbench_trace == FORMAT,
            "field splitbench_trace: this program reads layout {FORMAT}, found {}",
            self.splitbench_trace
        );
        ensure!(!self.datasets.is_empty(), "field datasets: no data set, so nothing to replay");
        for set in &self.datasets {
            set.check(self.activations.is_some()).with_context(|| format!("data set {}", set.dataset))?;
        }
        let total = self.datasets.iter().try_fold(0usize, |sum, d| sum.checked_add(d.sequences));
        ensure!(
            total.is_some_and(|n| n <= MAX_SEQUENCES),
            "field sequences: more than {MAX_SEQUENCES} sequences in one trace"
        );
        Ok(())
    }

    /// Writes the trace, a data set a line.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut fields = Vec::new();
        let whole = serde_json::to_value(self)?;
        for (key, value) in whole.as_object().context("a trace is an object")? {
            let text = match value.as_array() {
                Some(items) => {
                    let lines: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                    format!("[\n{}\n  ]", lines.join(",\n"))
                }
                None => value.to_string(),
            };
            fields.push(format!("  \"{key}\": {text}"));
        }
        save::replace(path, format!("{{\n{}\n}}\n", fields.join(",\n")).as_bytes())
    }
}

impl TraceSet {
    fn check(&self, ordered: bool) -> Result<()> {
        for (&tokens, &count) in &self.lengths {
            ensure!(
                (1..=MAX_SIDE).contains(&tokens),
                "field lengths: a sequence of {tokens} tokens is outside 1..={MAX_SIDE}"
            );
            ensure!(
                (1..=MAX_SEQUENCES).contains(&count),
                "field lengths: {count} sequences of {tokens} tokens are outside 1..={MAX_SEQUENCES}"
            );
        }
        let sequences: usize = self.lengths.values().sum();
        let tokens = self.lengths.iter().map(|(tokens, count)| tokens * count).sum::<usize>();
        ensure!(!self.lengths.is_empty(), "field lengths: no sequence");
        ensure!(
            (sequences, tokens) == (self.sequences, self.tokens),
            "field lengths: {sequences} sequences of {tokens} tokens, the trace states {} of {}: it is cut short or edited",
            self.sequences,
            self.tokens
        );
        let mut found = BTreeMap::new();
        self.order.iter().for_each(|tokens| *found.entry(*tokens).or_default() += 1);
        match ordered {
            true => ensure!(
                found == self.lengths,
                "field order: {} sequences that are not those of lengths; stored activations need the length of each",
                self.order.len()
            ),
            false => ensure!(self.order.is_empty(), "field order: given, but no activations are stored"),
        }
        Ok(())
    }

    /// What `requests` of a data set send.
    pub fn new(dataset: &data::Dataset, requests: &[Vec<Request>], ordered: bool) -> Self {
        let flat = || requests.iter().flatten();
        let order: Vec<usize> = flat().map(|r| r.tokens.len()).collect();
        Self {
            dataset: dataset.info.name.clone(),
            sha256: dataset.sha256.clone(),
            prompt_version: dataset.info.prompt_version,
            questions: requests.len(),
            sequences: order.len(),
            tokens: order.iter().sum(),
            lengths: lengths(flat()),
            order: if ordered { order } else { Vec::new() },
        }
    }
}

/// The `.npy` file of a trace at `path`: the same name.
pub fn activations_path(path: &Path) -> PathBuf {
    path.with_extension("npy")
}

/// Fails where a trace of so many tokens of D channels would not fit into one matrix.
pub(super) fn check_size(tokens: usize, hidden: usize) -> Result<()> {
    if tokens > MAX_SIDE || tokens.saturating_mul(hidden) > MAX_ELEMENTS {
        bail!(
            "{tokens} tokens of {hidden} channels are more than a trace stores ({MAX_SIDE} tokens, {MAX_ELEMENTS} numbers); \
             take fewer questions with --limit, fewer data sets, or --shapes"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Trace {
        let set = TraceSet {
            dataset: "piqa".into(),
            sha256: "0".into(),
            prompt_version: 1,
            questions: 2,
            sequences: 3,
            tokens: 9,
            lengths: [(2, 2), (5, 1)].into(),
            order: Vec::new(),
        };
        let tokenizer = TokenizerId { name: "t".into(), origin: "o".into(), sha256: "1".into() };
        let made_by = "test".into();
        Trace { splitbench_trace: FORMAT, made_by, tokenizer, activations: None, limit: None, datasets: vec![set] }
    }

    fn error(trace: &Trace) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        trace.save(&path).unwrap();
        format!("{:#}", load(path.to_str().unwrap()).err().expect("it was read"))
    }

    #[test]
    fn the_ten_sets_are_all_there() {
        let TraceInput { trace, rows, .. } = load("ten-sets").unwrap();
        assert!(rows.is_none());
        assert_eq!(trace.datasets.len(), 10);
        assert_eq!(trace.sequences(), 56_317);
        assert_eq!(trace.lengths().keys().last(), Some(&490));
        // 3.03 million with the last token of each choice, which no model is fed.
        assert_eq!(trace.tokens() + trace.sequences(), 3_033_251);
        for set in &trace.datasets {
            assert_eq!(
                data::find(&set.dataset).unwrap().sha256.as_deref(),
                Some(set.sha256.as_str()),
                "{}",
                set.dataset
            );
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        small().save(&path).unwrap();
        let read = load(path.to_str().unwrap()).unwrap();
        assert_eq!((read.trace, read.name.as_str()), (small(), "t"));
    }

    #[test]
    fn a_trace_cut_short_or_edited_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        small().save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        let found = format!("{:#}", load(path.to_str().unwrap()).err().unwrap());
        assert!(found.contains("t.json") && found.contains("cut short"), "{found}");

        let edited = |edit: fn(&mut Trace)| {
            let mut trace = small();
            edit(&mut trace);
            error(&trace)
        };
        assert!(edited(|t| t.splitbench_trace = 2).contains("layout"));
        assert!(edited(|t| t.datasets.clear()).contains("datasets"));
        assert!(edited(|t| t.datasets[0].sequences = 4).contains("lengths"));
        assert!(edited(|t| t.datasets[0].lengths = [(MAX_SIDE + 1, 1)].into()).contains("outside"));
        assert!(edited(|t| t.datasets[0].lengths = [(0, 3)].into()).contains("outside"));
        assert!(edited(|t| t.datasets[0].order = vec![2, 5, 2]).contains("order"));
        assert!(format!("{:#}", load("ten-stes").err().unwrap()).contains("\"ten-sets\""));
    }

    #[test]
    fn activations_belong_to_their_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        let rows = Activation::new(9, 2, (0..18).map(|v| v as f32).collect()).unwrap();
        let bytes = npy::to_bytes(&rows);
        let mut trace = small();
        trace.datasets[0].order = vec![2, 5, 2];
        trace.activations = Some(StoredActivations {
            file: "t.npy".into(),
            sha256: hex::encode(Sha256::digest(&bytes)),
            hidden: 2,
            model: "m".into(),
            model_sha256: "2".into(),
            split_layer: 1,
        });
        trace.save(&path).unwrap();
        let read = || load(path.to_str().unwrap()).map_err(|e| format!("{e:#}"));
        assert!(read().err().unwrap().contains("beside the trace"));
        std::fs::write(activations_path(&path), &bytes).unwrap();
        assert_eq!(read().unwrap().rows, Some(rows));
        std::fs::write(activations_path(&path), &bytes[..bytes.len() - 8]).unwrap();
        assert!(read().err().unwrap().contains("the file ends"));
        let other = Activation::new(8, 2, vec![0.0; 16]).unwrap();
        std::fs::write(activations_path(&path), npy::to_bytes(&other)).unwrap();
        assert!(read().err().unwrap().contains("8 x 2"));
        let other = Activation::new(9, 2, vec![0.0; 18]).unwrap();
        std::fs::write(activations_path(&path), npy::to_bytes(&other)).unwrap();
        assert!(read().err().unwrap().contains("sha256"));
    }
}
