//! Opens the files of a GGUF model and checks that they belong together.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::header::{GgufHeader, TensorInfo};
use super::metadata::Metadata;

/// A GGUF model, of which only the headers were read.
pub struct GgufModel {
    /// What messages call it: its first file.
    pub(super) origin: String,
    /// Keys and values of the first file.
    pub(super) metadata: Metadata,
    /// Tensors by name, each with the number of its file.
    pub(super) tensors: HashMap<String, (usize, TensorInfo)>,
    pub(super) files: Vec<(PathBuf, File)>,
}

impl GgufModel {
    /// Reads the headers of one file, or of all parts of a split one in their order.
    pub fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut model = Self {
            origin: paths.first().map(|path| path.display().to_string()).unwrap_or_default(),
            metadata: Metadata::default(),
            tensors: HashMap::new(),
            files: Vec::new(),
        };
        for (number, path) in paths.iter().enumerate() {
            model.add(number, paths.len(), path).with_context(|| path.display().to_string())?;
        }
        let claimed = model.metadata.count("split.tensors.count")?;
        ensure!(
            paths.len() == 1 || claimed.is_none_or(|claimed| claimed == model.tensors.len() as u64),
            "{}: its {} parts hold {} tensors, and split.tensors.count says {}; fetch all parts again",
            model.origin,
            paths.len(),
            model.tensors.len(),
            claimed.unwrap_or_default()
        );
        Ok(model)
    }

    fn add(&mut self, number: usize, count: usize, path: &Path) -> Result<()> {
        let file = File::open(path).context("cannot open it")?;
        let length = file.metadata().context("cannot ask for its length")?.len();
        let header = GgufHeader::read(BufReader::new(&file), length)?;
        let claimed = header.metadata.count("split.count")?.unwrap_or(1).max(1);
        ensure!(
            claimed == count as u64,
            "it is a part of {claimed} (split.count), and {count} are at hand; keep the names NAME-00001-of-0000N.gguf that the parts \
             were published with, all in one folder"
        );
        let part = header.metadata.count("split.no")?.unwrap_or(0);
        ensure!(part == number as u64, "it says that it is part {} (split.no), not {}", part + 1, number + 1);
        for tensor in header.tensors {
            if let Some((other, tensor)) = self.tensors.insert(tensor.name.clone(), (number, tensor)) {
                bail!("tensor {} is in part {} as well", tensor.name, other + 1);
            }
        }
        if number == 0 {
            self.metadata = header.metadata;
        }
        self.files.push((path.to_path_buf(), file));
        Ok(())
    }

    /// What messages call it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its vocabulary.
    pub(super) fn tokens(&self) -> Result<&[String]> {
        self.metadata
            .texts("tokenizer.ggml.tokens")?
            .filter(|tokens| !tokens.is_empty())
            .with_context(|| format!("{}: no vocabulary (tokenizer.ggml.tokens)", self.origin))
    }
}
