//! Named tensors from safetensors files, with the checks that a wrong file fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use safetensors::tensor::TensorView;

/// Where tensors come from.
pub enum Weights {
    /// Memory-mapped files: a single one or the shards of an index.
    Mapped {
        /// The mapped files.
        tensors: MmapedSafetensors,
        /// What to call them in errors.
        origin: String,
    },
    /// A file that is part of the program.
    Embedded(SliceSafetensors<'static>),
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that `model.safetensors.index.json` names, of a checkpoint folder.
    pub fn open(files: &[PathBuf]) -> Result<Self> {
        let origin = files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ");
        // SAFETY: the files are only read. Who changes a checkpoint while it is in use gets what they asked for.
        let tensors = unsafe { MmapedSafetensors::multi(files) }
            .with_context(|| format!("{origin}: not a whole safetensors file; fetch it again"))?;
        // Of two tensors with one name a program may read either.
        let all = tensors.tensors();
        for (name, view) in &all {
            let read = tensors.get(name)?;
            ensure!(
                same(view, &read),
                "{origin}: tensor {name} stands in more than one of these files, and not with the same values; delete the \
                 files that do not belong to the checkpoint, or fetch it again"
            );
        }
        drop(all);
        Ok(Self::Mapped { tensors, origin })
    }

    /// Reads a safetensors file held in memory.
    pub fn embedded(bytes: &'static [u8]) -> Result<Self> {
        Ok(Self::Embedded(SliceSafetensors::new(bytes).context("embedded weights")?))
    }

    /// The tensor called `name`, which must have `shape` and only finite values, in `dtype`.
    pub fn get(&self, name: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let (loaded, origin) = match self {
            Self::Mapped { tensors, origin } => (tensors.load(name, &Device::Cpu), origin.as_str()),
            Self::Embedded(tensors) => (tensors.load(name, &Device::Cpu), "embedded weights"),
        };
        let tensor =
            loaded.with_context(|| format!("{origin}: cannot read tensor {name}, expected shape {shape:?}"))?;
        ensure!(
            tensor.dims() == shape,
            "{origin}: tensor {name} has shape {:?}, config.json asks for {shape:?}",
            tensor.dims()
        );
        let Some(bad) = not_finite(&tensor) else {
            let found = tensor.dtype();
            bail!("{origin}: tensor {name} has type {found:?}; only f16, bf16, f32 and f64 are supported");
        };
        ensure!(bad == 0, "{origin}: tensor {name} holds {bad} values that are NaN or infinite; fetch the file again");
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.view(name).is_some()
    }

    /// The names of all tensors, ascending.
    pub fn names(&self) -> BTreeSet<String> {
        let tensors = match self {
            Self::Mapped { tensors, .. } => tensors.tensors(),
            Self::Embedded(tensors) => tensors.tensors(),
        };
        tensors.into_iter().map(|(name, _)| name).collect()
    }

    /// Whether two tensors have the same shape and the same bytes.
    pub fn are_same(&self, one: &str, other: &str) -> bool {
        self.view(one).zip(self.view(other)).is_some_and(|(one, other)| same(&one, &other))
    }

    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        match self {
            Self::Mapped { tensors, .. } => tensors.get(name).ok(),
            Self::Embedded(tensors) => tensors.get(name).ok(),
        }
    }
}

fn same(one: &TensorView, other: &TensorView) -> bool {
    one.dtype() == other.dtype()
        && one.shape() == other.shape()
        && (one.data().as_ptr() == other.data().as_ptr() || one.data() == other.data())
}

/// How many values of a CPU tensor are NaN or infinite; nothing for a type that weights do not have.
fn not_finite(tensor: &Tensor) -> Option<usize> {
    let (storage, _) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { return None };
    Some(match storage {
        CpuStorage::F32(values) => values.iter().filter(|v| !v.is_finite()).count(),
        CpuStorage::F64(values) => values.iter().filter(|v| !v.is_finite()).count(),
        CpuStorage::F16(values) => values.iter().filter(|v| !v.is_finite()).count(),
        CpuStorage::BF16(values) => values.iter().filter(|v| !v.is_finite()).count(),
        _ => return None,
    })
}

/// The weight files of a checkpoint folder: the single file, else the shards of the index.
pub fn weight_files(find: impl Fn(&str) -> Option<PathBuf>, place: &str) -> Result<Vec<PathBuf>> {
    if let Some(single) = find("model.safetensors") {
        return Ok(vec![single]);
    }
    let Some(index) = find("model.safetensors.index.json") else {
        bail!("{place}: neither model.safetensors nor model.safetensors.index.json found");
    };
    shards(&index)?
        .into_iter()
        .map(|name| find(&name).with_context(|| format!("{}: shard {name} is missing", index.display())))
        .collect()
}

/// The files that an index names, ascending.
pub fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(index).with_context(|| format!("reading {}", index.display()))?;
    let json: serde_json::Value = serde_json::from_str(&text).with_context(|| index.display().to_string())?;
    let map = json.get("weight_map").and_then(|m| m.as_object());
    let map = map.with_context(|| format!("{}: no \"weight_map\"", index.display()))?;
    map.values()
        .map(|file| file.as_str().map(String::from))
        .collect::<Option<BTreeSet<_>>>()
        .filter(|names| !names.is_empty())
        .with_context(|| format!("{}: \"weight_map\" must map tensors to file names", index.display()))
}
