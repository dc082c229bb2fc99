//! Where a model comes from: the embedded one, a folder, or the hub's cache.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, OnceLock};

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_core::DType;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::weights::{Weights, weight_files};
use super::{Config, Decoder, Placement};

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

/// A model with what identifies it.
pub struct Model {
    /// As it was asked for: `pocket`, a name of the registry, or a folder.
    pub name: String,
    /// As a table prints it.
    pub title: String,
    /// Where its files are: `embedded` or a folder.
    pub origin: String,
    /// SHA-256 over config.json and the weight files.
    pub sha256: String,
    /// SHA-256 of tokenizer.json.
    pub tokenizer_sha256: String,
    /// Tokens that the tokenizer puts before every text, as tokenizer.json decides: BOS or nothing.
    pub prefix: Vec<String>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Shape and constants.
    pub config: Config,
    /// Where its weights are to lie.
    pub placement: Placement,
    /// Its files; none of the embedded model.
    weights: Option<Vec<PathBuf>>,
    decoder: OnceLock<Decoder>,
}

impl Model {
    /// The decoder. Its weights are read when it is first asked for: a run that has all its scores already needs none.
    pub fn decoder(&self) -> Result<&Decoder> {
        if let Some(decoder) = self.decoder.get() {
            return Ok(decoder);
        }
        let weights = match &self.weights {
            Some(files) => Weights::open(files)?,
            None => Weights::embedded(POCKET_WEIGHTS)?,
        };
        let Placement { device, dtype } = &self.placement;
        let decoder = Decoder::new(&self.config, device, |tensor, shape| {
            let dtype = if shape.len() > 1 { *dtype } else { DType::F32 };
            weights.get(tensor, shape, dtype, device)
        })
        .with_context(|| format!("loading model {}", self.name))?;
        Ok(self.decoder.get_or_init(|| decoder))
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
}

impl ModelFiles {
    /// All that are read.
    pub fn paths(self) -> Vec<PathBuf> {
        match self {
            Self::Embedded => Vec::new(),
            Self::Folder { config, tokenizer, weights, .. } => [vec![config, tokenizer], weights].concat(),
        }
    }
}

/// Finds the files of a model by name or folder.
pub fn locate(name: &str) -> Result<ModelFiles> {
    if name == POCKET {
        return Ok(ModelFiles::Embedded);
    }
    if let Some(info) = registry().iter().find(|m| m.name == name) {
        let repository = crate::hub::cache()?.model(info.hub.clone());
        return folder(|file| repository.get(file), &format!("the hub cache of {}", info.hub)).with_context(|| {
            let gate = if info.gated { " after accepting its licence there," } else { "" };
            format!(
                "model {name} is not on this machine; fetch it with `splitbench prepare --model {name}`,{gate} or pass \
                 the folder of its config.json, model.safetensors and tokenizer.json as --model"
            )
        });
    }
    let path = Path::new(name);
    if path.is_dir() {
        return folder(|file| Some(path.join(file)).filter(|p| p.is_file()), name);
    }
    if name.contains(['/', '\\']) || path.exists() {
        bail!("model folder {name} does not exist or is not a folder");
    }
    let known = registry().iter().map(|m| m.name.as_str()).chain([POCKET]);
    Err(crate::suggest::unknown("model", name, known).context("a model is a known name or a folder"))
}

fn folder(find: impl Fn(&str) -> Option<PathBuf>, place: &str) -> Result<ModelFiles> {
    let need = |file: &str| find(file).ok_or_else(|| anyhow!("{place}: no {file}"));
    Ok(ModelFiles::Folder {
        config: need("config.json")?,
        tokenizer: need("tokenizer.json")?,
        weights: weight_files(&find, place)?,
        place: place.to_string(),
    })
}

/// Reads only config.json.
pub fn load_config(name: &str) -> Result<Config> {
    match locate(name)? {
        ModelFiles::Embedded => Config::parse(POCKET_CONFIG, POCKET),
        ModelFiles::Folder { config, .. } => Config::parse(&read(&config)?, &config.display().to_string()),
    }
}

/// Reads only tokenizer.json.
pub fn load_tokenizer(name: &str) -> Result<Tokenizer> {
    Ok(tokenizer_of(name)?.0)
}

/// Reads only tokenizer.json; also gives its SHA-256.
pub fn tokenizer_of(name: &str) -> Result<(Tokenizer, String)> {
    match locate(name)? {
        ModelFiles::Embedded => {
            let digest = Sha256::new().chain_update(POCKET_TOKENIZER);
            Ok((parse_tokenizer(POCKET_TOKENIZER, POCKET)?, hex(digest)))
        }
        ModelFiles::Folder { tokenizer, .. } => tokenizer_file(&tokenizer),
    }
}

/// A tokenizer.json of its own, and its SHA-256.
pub fn tokenizer_file(path: &Path) -> Result<(Tokenizer, String)> {
    let text = read(path)?;
    Ok((parse_tokenizer(&text, &path.display().to_string())?, hex(Sha256::new().chain_update(&text))))
}

/// Finds a model, `pocket`, a name of the registry that is in the hub's cache, or a folder, and reads all of it but its weights, which are
/// hashed.
pub fn load(name: &str, placement: &Placement) -> Result<Model> {
    let (config_text, tokenizer_text, weights, digest, origin, tokenizer_origin) = match locate(name)? {
        ModelFiles::Embedded => {
            let digest = Sha256::new().chain_update(POCKET_CONFIG).chain_update(POCKET_WEIGHTS);
            let names = ("embedded".to_string(), "the embedded tokenizer".to_string());
            (POCKET_CONFIG.to_string(), POCKET_TOKENIZER.to_string(), None, digest, names.0, names.1)
        }
        ModelFiles::Folder { config, tokenizer, weights, place } => {
            let config_text = read(&config)?;
            let mut digest = Sha256::new().chain_update(&config_text);
            for file in &weights {
                let mut reader = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
                std::io::copy(&mut reader, &mut HashWriter(&mut digest))
                    .with_context(|| format!("reading {}", file.display()))?;
            }
            let tokenizer_text = read(&tokenizer)?;
            (config_text, tokenizer_text, Some(weights), digest, place, tokenizer.display().to_string())
        }
    };
    let config = Config::parse(&config_text, &format!("{origin}: config.json"))?;
    let tokenizer = parse_tokenizer(&tokenizer_text, &tokenizer_origin)?;
    let prefix = tokenizer.encode("", true).map_err(|e| anyhow!("{tokenizer_origin}: {e}"))?.get_tokens().to_vec();
    let known = registry().iter().find(|m| m.name == name);
    if let Some(info) = known {
        ensure!(
            info.bos != prefix.is_empty(),
            "{tokenizer_origin}: puts {} before a text, but on record for {name} is {}; every score depends on it: fetch \
             the file again, or pass its folder as --model to score it as it is",
            if prefix.is_empty() { "nothing".to_string() } else { prefix.join(" ") },
            if info.bos { "a BOS token" } else { "nothing" }
        );
    }
    let title = known.map_or(name, |m| m.title.as_str()).to_string();
    Ok(Model {
        name: name.to_string(),
        title,
        origin,
        sha256: hex(digest),
        tokenizer_sha256: hex(Sha256::new().chain_update(&tokenizer_text)),
        prefix,
        tokenizer,
        config,
        placement: placement.clone(),
        weights,
        decoder: OnceLock::new(),
    })
}

fn parse_tokenizer(text: &str, origin: &str) -> Result<Tokenizer> {
    let mut tokenizer: Tokenizer = text.parse().map_err(|e| anyhow!("{origin}: not a tokenizer.json: {e}"))?;
    // Some files ship with truncation or padding switched on; scoring needs the whole text and nothing else.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| anyhow!("{origin}: {e}"))?;
    Ok(tokenizer)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|b| format!("{b:02x}")).collect()
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
