//! Calibrations kept on disk, each in a file named by the hash of everything it is made of.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use super::machine::simd;
use crate::codec::{Calibration, CalibrationNeed};
use crate::model::source::Model;
use crate::model::{Placement, SplitPoint, device_name};
use crate::save;
use crate::score::Request;

/// Where one calibration is kept.
pub struct Entry {
    path: PathBuf,
    key: String,
    hidden: usize,
}

/// What tells apart programs made of code that was not committed: when this one was written.
pub(super) fn unnamed_build() -> Option<String> {
    let written = || std::env::current_exe().and_then(fs::metadata).and_then(|file| file.modified()).ok();
    let since = || written()?.duration_since(std::time::UNIX_EPOCH).ok();
    crate::VERSION.ends_with("-dirty").then(since).flatten().map(|since| format!(" of {}", since.as_millis()))
}

impl Entry {
    /// The entry, in `folder`, of what `requests` give `needs` (sorted) at the split.
    pub fn new(
        folder: &Path,
        model: &Model,
        requests: &[Request],
        split: SplitPoint,
        needs: &[CalibrationNeed],
    ) -> Result<Self> {
        let Placement { device, dtype } = &model.placement;
        let made_by = (
            ("splitbench calibration", crate::VERSION, unnamed_build()),
            // Sums are ordered by what the processor has.
            (device_name(device), dtype.as_str(), std::env::consts::ARCH, simd()),
        );
        let made_of = (
            (&model.sha256, &model.tokenizer_sha256, split.after_layer, format!("{needs:?}")),
            requests.iter().map(|request| (&request.tokens, &request.targets)).collect::<Vec<_>>(),
        );
        let digest = Sha256::digest(serde_json::to_string(&(made_by, made_of))?);
        let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = folder.join(format!("{key}.safetensors"));
        Ok(Self { path, key, hidden: model.config.hidden_size })
    }

    /// What is kept; where that is nothing, or damaged, what `make` gives, which is kept. A folder that cannot be written to
    /// costs time, not the run.
    pub fn or_make(&self, make: impl FnOnce() -> Result<Calibration>) -> Result<Calibration> {
        // What cannot be read, for whatever reason, is as good as not there; writing tells what the reason was.
        if let Ok(bytes) = fs::read(&self.path) {
            match self.read(&bytes) {
                Ok(kept) => return Ok(kept),
                Err(error) => tell!("note: {} is damaged and made again: {error:#}", self.path.display()),
            }
        }
        let made = make()?;
        if let Err(error) = self.write(&made) {
            tell!("note: the calibration is not kept for the next run: {error:#}");
        }
        Ok(made)
    }

    fn read(&self, bytes: &[u8]) -> Result<Calibration> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let told = |name| {
            let found = header.metadata().as_ref().and_then(|metadata| metadata.get(name));
            found.with_context(|| format!("its header has no {name}"))
        };
        ensure!(*told("key")? == self.key, "it is of other inputs");
        let rows = told("rows")?.parse().context("its number of rows")?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let parts = Calibration::PARTS.map(|name| -> Result<Option<Vec<f64>>> {
            let Ok(tensor) = tensors.tensor(name) else { return Ok(None) };
            ensure!(tensor.dtype() == Dtype::F64, "{name} is {}, not F64", tensor.dtype());
            Ok(Some(tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()))
        });
        let [mean_abs, covariance, fisher, next_weights] = parts;
        let found = Calibration::from_parts(self.hidden, rows, [mean_abs?, covariance?, fisher?, next_weights?])?;
        ensure!(found.sha256() == told("sha256")?, "its contents do not have the SHA-256 it states");
        Ok(found)
    }

    fn write(&self, calibration: &Calibration) -> Result<()> {
        let hidden = calibration.hidden();
        let parts = Calibration::PARTS.into_iter().zip(calibration.parts());
        let tensors = parts.filter_map(|(name, part)| {
            part.map(|numbers| (name, Part { numbers, shape: [numbers.len() / hidden, hidden] }))
        });
        let rows = calibration.rows().to_string();
        let header = [("key", self.key.as_str()), ("rows", &rows), ("sha256", calibration.sha256())];
        let header: HashMap<String, String> = header.map(|(name, value)| (name.into(), value.into())).into();
        let bytes = safetensors::serialize(tensors, Some(header))?;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        save::replace(&self.path, &bytes)
    }
}

/// Bytes of a part are made when it is written: one part twice in memory, not all.
struct Part<'a> {
    numbers: &'a [f64],
    shape: [usize; 2],
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F64
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.numbers)
    }
}

#[cfg(test)]
#[path = "calibration_cache_tests.rs"]
mod tests;
