//! Calibrations kept on disk, each in a file named by the hash of everything it is made of.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::model::source::Model;
use crate::model::{SplitPoint, device_name};
use crate::record::machine::simd;
use crate::save;
use crate::score::Request;
use splitbench_codec::{Calibration, CalibrationBuilder, CalibrationNeed, CalibrationSnapshot};

/// Where one calibration is kept.
pub struct CacheEntry {
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

impl CacheEntry {
    /// The entry, in `folder`, of what `requests` give `needs` (sorted) at the split.
    pub fn new(
        folder: &Path,
        model: &Model,
        requests: &[Request],
        split: SplitPoint,
        needs: &[CalibrationNeed],
    ) -> Result<Self> {
        let placement = &model.placement;
        let made_by = (
            ("splitbench calibration", crate::VERSION, unnamed_build()),
            // Sums are ordered by what the processor has.
            (device_name(&placement.device), placement.type_name(), std::env::consts::ARCH, simd()),
        );
        let made_of = (
            (&model.sha256, &model.tokenizer_sha256, split.after_layer, format!("{needs:?}")),
            requests.iter().map(|request| (&request.tokens, &request.targets)).collect::<Vec<_>>(),
        );
        let digest = Sha256::digest(serde_json::to_string(&(made_by, made_of))?);
        let key = hex::encode(digest);
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
        let calibration = make()?;
        if let Err(error) = self.write(&calibration) {
            tell!("note: the calibration is not kept for the next run: {error:#}");
        }
        Ok(calibration)
    }

    /// A collection that another process did not finish, and how many requests it has; none where there is none that can be read.
    pub fn unfinished(&self) -> Option<(usize, CalibrationBuilder)> {
        let read = |bytes: &[u8]| -> Result<(usize, CalibrationBuilder)> {
            let header = self.header(bytes)?;
            let number = |name: &str| -> Result<u64> { told(&header, name)?.parse().with_context(|| name.to_string()) };
            let sums = numbers(bytes, CalibrationSnapshot::SUMS)?.map(Option::unwrap_or_default);
            ensure!(*told(&header, "sha256")? == digest(&sums), "its contents do not have the SHA-256 it states");
            let snapshot = CalibrationSnapshot { rows: number("rows")?, gradient_rows: number("gradient_rows")?, sums };
            Ok((number("requests")? as usize, CalibrationBuilder::resume(self.hidden, snapshot)?))
        };
        read(&fs::read(self.unfinished_path()).ok()?).ok()
    }

    /// Keeps a collection that is not finished: the sums over so many requests.
    pub fn keep_unfinished(&self, requests: usize, builder: &CalibrationBuilder) -> Result<()> {
        let CalibrationSnapshot { rows, gradient_rows, sums } = builder.snapshot();
        let header = [
            ("key", self.key.clone()),
            ("requests", requests.to_string()),
            ("rows", rows.to_string()),
            ("gradient_rows", gradient_rows.to_string()),
            ("sha256", digest(&sums)),
        ];
        let parts = CalibrationSnapshot::SUMS.into_iter().zip(&sums).filter(|(_, sum)| !sum.is_empty());
        self.save(&self.unfinished_path(), header, parts.map(|(name, sum)| (name, sum.as_slice())))
    }

    fn unfinished_path(&self) -> PathBuf {
        self.path.with_extension("unfinished")
    }

    /// What a file says of itself. Fails where it is of other inputs.
    fn header(&self, bytes: &[u8]) -> Result<HashMap<String, String>> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let header = header.metadata().clone().unwrap_or_default();
        ensure!(*told(&header, "key")? == self.key, "it is of other inputs");
        Ok(header)
    }

    fn read(&self, bytes: &[u8]) -> Result<Calibration> {
        let header = self.header(bytes)?;
        let rows = told(&header, "rows")?.parse().context("its number of rows")?;
        let calibration = Calibration::from_parts(self.hidden, rows, numbers(bytes, Calibration::PARTS)?)?;
        ensure!(calibration.sha256() == told(&header, "sha256")?, "its contents do not have the SHA-256 it states");
        Ok(calibration)
    }

    fn write(&self, calibration: &Calibration) -> Result<()> {
        let parts = Calibration::PARTS.into_iter().zip(calibration.parts());
        let header = [
            ("key", self.key.clone()),
            ("rows", calibration.rows().to_string()),
            ("sha256", calibration.sha256().to_string()),
        ];
        self.save(&self.path, header, parts.filter_map(|(name, part)| Some((name, part?))))?;
        // What there is of it is of no more use.
        let _ = fs::remove_file(self.unfinished_path());
        Ok(())
    }

    fn save<'a, const N: usize>(
        &self,
        path: &Path,
        header: [(&str, String); N],
        parts: impl Iterator<Item = (&'a str, &'a [f64])>,
    ) -> Result<()> {
        let shape = |numbers: &[f64]| [numbers.len() / self.hidden, self.hidden];
        let tensors = parts.map(|(name, numbers)| (name, CachePart { numbers, shape: shape(numbers) }));
        let header: HashMap<String, String> = header.map(|(name, value)| (name.into(), value)).into();
        let bytes = safetensors::serialize(tensors, Some(header))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        save::replace(path, &bytes)
    }
}

fn told<'a>(header: &'a HashMap<String, String>, name: &str) -> Result<&'a String> {
    header.get(name).with_context(|| format!("its header has no {name}"))
}

/// The tensors of these names; none where there is no such one.
fn numbers<const N: usize>(bytes: &[u8], names: [&str; N]) -> Result<[Option<Vec<f64>>; N]> {
    let tensors = SafeTensors::deserialize(bytes)?;
    let mut out = [const { None }; N];
    for (place, name) in out.iter_mut().zip(names) {
        let Ok(tensor) = tensors.tensor(name) else { continue };
        ensure!(tensor.dtype() == Dtype::F64, "{name} is {}, not F64", tensor.dtype());
        *place = Some(tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect());
    }
    Ok(out)
}

fn digest(sums: &[Vec<f64>]) -> String {
    let mut hash = Sha256::new();
    sums.iter().flatten().for_each(|number| hash.update(number.to_le_bytes()));
    hex::encode(hash.finalize())
}

/// Bytes of a part are made when it is written: one part twice in memory, not all.
struct CachePart<'a> {
    numbers: &'a [f64],
    shape: [usize; 2],
}

impl View for CachePart<'_> {
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
