//! GGUF files as a model: llama.cpp's format, in which metadata, vocabulary and quantised weights lie in one file or several parts.
//!
//! Weights are dequantised when they are loaded. Blocks of 4 or 8 bits kept in memory would save three quarters of it, but would be
//! dequantised again for every batch: scoring multiplies matrices by many rows at a time, which f32 does fastest.

mod choose;
mod config;
mod generation;
mod header;
mod metadata;
mod open;
mod pieces;
mod tensor_type;
mod tokenizer;
mod weights;

pub(crate) use choose::part;
pub use choose::{AmbiguousModel, choose, is_gguf};
pub use header::{GgufHeader, TensorInfo};
pub use open::GgufModel;
pub use tensor_type::TensorType;
