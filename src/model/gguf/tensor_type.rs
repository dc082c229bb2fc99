//! How GGUF stores the values of a tensor, and how they are read back.

use anyhow::{Context, Result, bail};
use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0,
};
use half::{bf16, f16};

/// A type of values; quantised ones come in blocks that share scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum TensorType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
}

/// The names that ggml gives its numbers; empty ones were given up.
const NAMES: [&str; 40] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64",
    "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "", "", "", "MXFP4",
];

impl TensorType {
    /// All that are supported.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2_K,
        Self::Q3_K,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// The type of ggml's number; the error names it.
    pub fn from_number(number: u32) -> Result<Self> {
        let name = NAMES.get(number as usize).copied().filter(|name| !name.is_empty());
        let known = name.and_then(|name| Self::ALL.into_iter().find(|kind| kind.name() == name));
        known.with_context(|| {
            let all = Self::ALL.map(|kind| kind.name()).join(", ");
            let name = name.map_or_else(|| format!("number {number}"), str::to_string);
            format!("type {name} is not supported, only {all}; take a file of another quantisation of the model")
        })
    }

    /// As ggml calls it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Values of a block.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2_K | Self::Q3_K | Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => size_of::<BlockQ4_0>(),
            Self::Q4_1 => size_of::<BlockQ4_1>(),
            Self::Q5_0 => size_of::<BlockQ5_0>(),
            Self::Q5_1 => size_of::<BlockQ5_1>(),
            Self::Q8_0 => size_of::<BlockQ8_0>(),
            Self::Q2_K => size_of::<BlockQ2K>(),
            Self::Q3_K => size_of::<BlockQ3K>(),
            Self::Q4_K => size_of::<BlockQ4K>(),
            Self::Q5_K => size_of::<BlockQ5K>(),
            Self::Q6_K => size_of::<BlockQ6K>(),
        }
    }

    /// Reads as many whole blocks as `values` takes; `bytes` must hold exactly those.
    pub fn dequantise(self, bytes: &[u8], values: &mut [f32]) -> Result<()> {
        if bytes.len() != values.len() / self.block() * self.block_bytes() || !values.len().is_multiple_of(self.block())
        {
            bail!("{} bytes of {} are not {} values", bytes.len(), self.name(), values.len());
        }
        match self {
            Self::F32 => plain(bytes, values, f32::from_le_bytes),
            Self::F16 => plain(bytes, values, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => plain(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
            Self::Q4_0 => blocks::<BlockQ4_0>(bytes, values)?,
            Self::Q4_1 => blocks::<BlockQ4_1>(bytes, values)?,
            Self::Q5_0 => blocks::<BlockQ5_0>(bytes, values)?,
            Self::Q5_1 => blocks::<BlockQ5_1>(bytes, values)?,
            Self::Q8_0 => blocks::<BlockQ8_0>(bytes, values)?,
            Self::Q2_K => blocks::<BlockQ2K>(bytes, values)?,
            Self::Q3_K => blocks::<BlockQ3K>(bytes, values)?,
            Self::Q4_K => blocks::<BlockQ4K>(bytes, values)?,
            Self::Q5_K => blocks::<BlockQ5K>(bytes, values)?,
            Self::Q6_K => blocks::<BlockQ6K>(bytes, values)?,
        }
        Ok(())
    }
}

fn plain<const N: usize>(bytes: &[u8], values: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (value, chunk) in values.iter_mut().zip(chunks) {
        *value = read(*chunk);
    }
}

fn blocks<T: GgmlType>(bytes: &[u8], values: &mut [f32]) -> Result<()> {
    // SAFETY: candle's blocks are `repr(C)` structs of half floats and bytes, for which every bit pattern is a value.
    let (before, blocks, after) = unsafe { bytes.align_to::<T>() };
    if !before.is_empty() || !after.is_empty() {
        bail!("a buffer of blocks is not aligned");
    }
    T::to_float(blocks, values);
    Ok(())
}
