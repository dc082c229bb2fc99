//! What a model is read from: the program itself, a folder of config.json, tokenizer.json and safetensors, or GGUF files.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use candle_core::DType;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::gguf::GgufModel;
pub use super::place::locate;
use super::weights::{Weights, weight_files};
use super::{Config, Decoder, DecoderPart, GenerationFacts, Placement, SpecialTokens, checkpoint};
use crate::caught::caught;
use crate::repeats::real_path;

/// Name of the embedded model.
pub const POCKET: &str = "pocket";

static POCKET_CONFIG: &str = include_str!("../../models/pocket/config.json");
static POCKET_TOKENIZER: &str = include_str!("../../models/pocket/tokenizer.json");
static POCKET_WEIGHTS: &[u8] = include_bytes!("../../models/pocket/model.safetensors");

/// A model known by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// Name on the command line.
    pub name: String,
    /// Name in the paper's tables.
    pub title: String,
    /// Repository on the Hugging Face hub.
    pub hub: String,
    /// Whether its licence must be accepted there first.
    pub gated: bool,
    /// Whether its tokenizer puts a token before every text.
    pub bos: bool,
    /// Whether it is one of the paper's four.
    pub paper: bool,
}

#[derive(Deserialize)]
struct Registry {
    model: Vec<ModelInfo>,
}

/// All models known by name, beside the embedded one.
pub fn registry() -> &'static [ModelInfo] {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
        toml::from_str(include_str!("../../models/registry.toml")).expect("models/registry.toml is part of the program")
    });
    &REGISTRY.model
}

/// A model of the registry, by its name there or its id on the hub; a folder of that id comes first.
pub fn known(name: &str) -> Option<&'static ModelInfo> {
    let is_id = |m: &&ModelInfo| m.hub.eq_ignore_ascii_case(name) && !Path::new(name).is_dir();
    registry().iter().find(|m| m.name == name || is_id(m))
}

/// The name that results go by: the registry's where the model is known by its id on the hub.
pub fn canonical(name: &str) -> String {
    known(name).map_or(name, |info| &info.name).to_string()
}

/// A model with what identifies it.
pub struct Model {
    /// As it was asked for: `pocket`, a name of the registry, a folder, or a GGUF file.
    pub name: String,
    /// As a table prints it.
    pub title: String,
    /// Where its files are: `embedded`, a folder, a GGUF file or the hub's cache.
    pub origin: String,
    /// SHA-256 over config.json and the weight files; of a GGUF file, that of the file.
    pub sha256: String,
    /// SHA-256 of tokenizer.json; of a GGUF file, of the tokenizer.json written for it.
    pub tokenizer_sha256: String,
    /// Tokens that the tokenizer puts around every text, as tokenizer.json decides.
    pub special: SpecialTokens,
    /// What a reader of its files would not expect.
    pub notes: Vec<String>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Shape and constants.
    pub config: Config,
    /// Where its weights are to lie.
    pub placement: Placement,
    weights: WeightSource,
    decoder: OnceLock<Decoder>,
}

/// What the decoder is read from.
enum WeightSource {
    Embedded,
    /// Files of weights, and the folder of what stands beside them.
    Safetensors(Vec<PathBuf>, PathBuf),
    Gguf(GgufModel),
}

impl Model {
    /// The decoder. Its weights are read when it is first asked for: a run that has all its scores already needs none.
    pub fn decoder(&self) -> Result<&Decoder> {
        if let Some(decoder) = self.decoder.get() {
            return Ok(decoder);
        }
        let decoder = self.part(DecoderPart::Whole)?;
        Ok(self.decoder.get_or_init(|| decoder))
    }

    /// Reads the weights of one part of the decoder.
    pub fn part(&self, part: DecoderPart) -> Result<Decoder> {
        let load = |files| checkpoint::decoder(&self.config, &open(files)?, &self.placement, part);
        match &self.weights {
            WeightSource::Embedded => load(None),
            WeightSource::Safetensors(files, _) => load(Some(files)),
            WeightSource::Gguf(model) => {
                let Placement { device, dtype, .. } = &self.placement;
                Decoder::new(&self.config, device, part, |tensor, shape| {
                    let dtype = if shape.len() > 1 { *dtype } else { DType::F32 };
                    model.tensor(&self.config, tensor, shape, dtype, device)
                })
            }
        }
        .with_context(|| format!("loading model {}", self.name))
    }

    /// What its files say about generation. They are read when it is asked for: no score depends on them.
    pub fn generation(&self) -> Result<GenerationFacts> {
        match &self.weights {
            WeightSource::Embedded => Ok(GenerationFacts::default()),
            WeightSource::Safetensors(_, folder) => GenerationFacts::of_folder(folder),
            WeightSource::Gguf(model) => model.generation(),
        }
    }
}

/// The files of a model, found but not read.
pub enum ModelFiles {
    /// Part of the program.
    Embedded,
    /// On disk.
    Folder {
        /// config.json.
        config: PathBuf,
        /// tokenizer.json.
        tokenizer: PathBuf,
        /// One file or several shards.
        weights: Vec<PathBuf>,
        /// The folder, for messages.
        place: String,
    },
    /// GGUF, with shape, tokenizer and weights in one.
    Gguf {
        /// One file or all parts.
        files: Vec<PathBuf>,
        /// A tokenizer.json in place of its own.
        tokenizer: Option<PathBuf>,
        /// File, folder or repository, for messages.
        place: String,
    },
}

impl ModelFiles {
    /// Of GGUF, with its own tokenizer.
    pub(super) fn gguf(files: Vec<PathBuf>, place: String) -> Self {
        Self::Gguf { files, tokenizer: None, place }
    }

    /// All that are read.
    pub fn paths(self) -> Vec<PathBuf> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Folder { config, tokenizer, weights, .. } => [vec![config, tokenizer], weights].concat(),
            Self::Gguf { files, tokenizer, .. } => files.into_iter().chain(tokenizer).collect(),
        }
    }
}

/// What tells a model from others however it is spelled: the files that it is read from, or its name where they are not found.
pub fn identity(name: &str) -> Vec<PathBuf> {
    match locate(name) {
        Ok(ModelFiles::Embedded) | Err(_) => vec![name.into()],
        Ok(files) => files.paths().iter().map(|file| real_path(file)).collect(),
    }
}

/// The files of a model whose config.json, tokenizer.json and weights stand side by side.
pub(super) fn folder(find: impl Fn(&str) -> Option<PathBuf>, place: &str) -> Result<ModelFiles> {
    let need = |file: &str| find(file).ok_or_else(|| anyhow!("{place}: no {file}"));
    Ok(ModelFiles::Folder {
        config: need("config.json")?,
        tokenizer: need("tokenizer.json")?,
        weights: weight_files(&find, place)?,
        place: place.to_string(),
    })
}

fn open(files: Option<&[PathBuf]>) -> Result<Weights> {
    files.map_or_else(|| Weights::embedded(POCKET_WEIGHTS), Weights::open)
}

/// Reads config.json, and of the weights no more than which of them there are.
pub fn load_config(name: &str) -> Result<Config> {
    match locate(name)? {
        ModelFiles::Embedded => Config::parse(POCKET_CONFIG, POCKET),
        ModelFiles::Folder { config, weights, .. } => {
            let config = Config::parse(&read(&config)?, &config.display().to_string())?;
            Ok(checkpoint::settle(config, &Weights::open(&weights)?)?.0)
        }
        ModelFiles::Gguf { files, .. } => GgufModel::open(&files)?.config(),
    }
}

/// Reads only the tokenizer.
pub fn load_tokenizer(name: &str) -> Result<Tokenizer> {
    Ok(tokenizer_of(name)?.0)
}

/// Reads only the tokenizer; also gives the SHA-256 of its tokenizer.json.
pub fn tokenizer_of(name: &str) -> Result<(Tokenizer, String)> {
    let (text, origin) = match locate(name)? {
        ModelFiles::Embedded => (POCKET_TOKENIZER.to_string(), POCKET.to_string()),
        ModelFiles::Folder { tokenizer, .. } => return tokenizer_file(&tokenizer),
        ModelFiles::Gguf { files, tokenizer, .. } => gguf_tokenizer(&GgufModel::open(&files)?, tokenizer.as_deref())?,
    };
    Ok((parse_tokenizer(&text, &origin)?, hex(Sha256::new().chain_update(&text))))
}

/// Text and origin of the tokenizer.json of a GGUF model: its own, or one that fits it.
fn gguf_tokenizer(model: &GgufModel, given: Option<&Path>) -> Result<(String, String)> {
    let Some(path) = given else { return Ok((model.tokenizer_json()?, format!("{}: its tokenizer", model.origin()))) };
    let (text, origin) = (read(path)?, path.display().to_string());
    model.check_tokenizer(&parse_tokenizer(&text, &origin)?, &origin)?;
    Ok((text, origin))
}

/// A tokenizer.json of its own, and its SHA-256.
pub fn tokenizer_file(path: &Path) -> Result<(Tokenizer, String)> {
    let text = read(path)?;
    Ok((parse_tokenizer(&text, &path.display().to_string())?, hex(Sha256::new().chain_update(&text))))
}

/// Finds a model as [`locate`] does, and reads all of it but its weights, which are hashed.
pub fn load(name: &str, placement: &Placement) -> Result<Model> {
    let (mut digest, mut notes) = (Sha256::new(), Vec::new());
    let (config, tokenizer_text, weights, origin, tokenizer_origin) = match locate(name)? {
        ModelFiles::Embedded => {
            digest.update(POCKET_CONFIG);
            digest.update(POCKET_WEIGHTS);
            let config = Config::parse(POCKET_CONFIG, "embedded: config.json")?;
            let origins = ("embedded".to_string(), "the embedded tokenizer".to_string());
            (config, POCKET_TOKENIZER.to_string(), WeightSource::Embedded, origins.0, origins.1)
        }
        ModelFiles::Folder { config: config_file, tokenizer, weights, place } => {
            let config_text = read(&config_file)?;
            digest.update(&config_text);
            weights.iter().try_for_each(|file| hash(file, &mut digest))?;
            let config = Config::parse(&config_text, &format!("{place}: config.json"))?;
            let (config, found) = checkpoint::settle(config, &open(Some(&weights))?)?;
            notes.extend(found.into_iter().chain(checkpoint::second_weights(&weights)));
            let unread = Config::unread_keys(&config_text);
            if !unread.is_empty() {
                notes.push(format!(
                    "config.json has keys that nothing here reads: {}",
                    checkpoint::first_names(&unread)
                ));
            }
            let (origin, folder) = (tokenizer.display().to_string(), config_file.with_file_name(""));
            (config, read(&tokenizer)?, WeightSource::Safetensors(weights, folder), place, origin)
        }
        ModelFiles::Gguf { files, tokenizer, place } => {
            let model = GgufModel::open(&files)?;
            let config = model.config()?;
            let (text, origin) = gguf_tokenizer(&model, tokenizer.as_deref())?;
            files.iter().try_for_each(|file| hash(file, &mut digest))?;
            (config, text, WeightSource::Gguf(model), place, origin)
        }
    };
    let tokenizer = parse_tokenizer(&tokenizer_text, &tokenizer_origin)?;
    let special = SpecialTokens::new(&tokenizer).with_context(|| tokenizer_origin.clone())?;
    notes.extend(special.note());
    if origin != name && Path::new(name).join("config.json").is_file() {
        notes.push(format!("the model known by that name, not the folder {name}; for the folder write ./{name}"));
    }
    notes.iter_mut().for_each(|note| *note = format!("model {name}: {note}"));
    let known = known(name);
    if let Some(info) = known {
        ensure!(
            info.bos != special.before.is_empty(),
            "{tokenizer_origin}: puts {} before a text, but on record for {name} is {}; every score depends on it: fetch \
             the file again, or pass its folder as --model to score it as it is",
            if special.before.is_empty() { "nothing".to_string() } else { special.before.join(" ") },
            if info.bos { "a BOS token" } else { "nothing" }
        );
    }
    let title = known.map_or(name, |m| m.title.as_str()).to_string();
    Ok(Model {
        name: canonical(name),
        title,
        origin,
        sha256: hex(digest),
        tokenizer_sha256: hex(Sha256::new().chain_update(&tokenizer_text)),
        special,
        notes,
        tokenizer,
        config,
        placement: placement.clone(),
        weights,
        decoder: OnceLock::new(),
    })
}

fn parse_tokenizer(text: &str, origin: &str) -> Result<Tokenizer> {
    // The library panics at some that contradict themselves, a few only when they are used.
    let parse = || {
        let tokenizer: Tokenizer = text.parse().map_err(|e| anyhow!("not a tokenizer.json: {e}"))?;
        // What these words give is no matter: not every tokenizer knows them.
        if let Ok(tried) = tokenizer.encode("A word, 1.", true) {
            let _ = tokenizer.decode(tried.get_ids(), false);
        }
        Ok(tokenizer)
    };
    let mut tokenizer = caught(parse).map_err(|e| anyhow!("{origin}: {e:#}"))?;
    // Some files ship with truncation or padding switched on; scoring needs the whole text and nothing else.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| anyhow!("{origin}: {e}"))?;
    Ok(tokenizer)
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn hash(file: &Path, digest: &mut Sha256) -> Result<()> {
    let mut reader = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    std::io::copy(&mut reader, &mut HashWriter(digest)).with_context(|| format!("reading {}", file.display()))?;
    Ok(())
}

fn hex(digest: Sha256) -> String {
    hex::encode(digest.finalize())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
