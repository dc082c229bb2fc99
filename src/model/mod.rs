//! The decoder with a cut. A model never sees a codec.

mod cache;
pub mod checkpoint;
pub mod config;
mod config_keys;
pub mod decoder;
mod device;
mod divergence;
mod exp;
mod generation;
pub mod gguf;
#[cfg(feature = "cuda-model")]
mod gpu;
mod incremental;
mod log_softmax;
pub mod ops;
mod packing;
pub mod place;
mod reference;
pub mod rope;
mod rope_config;
mod short_name;
pub mod source;
mod special_tokens;
pub mod split;
pub mod weights;

pub use cache::Cache;
pub use config::Config;
pub use decoder::{Decoder, DecoderPart};
pub use device::{Placement, ProductType, description, device_name, free_memory};
pub use divergence::{Divergence, divergence};
pub use generation::GenerationFacts;
pub use incremental::in_pool;
pub use log_softmax::LogSumExp;
pub use packing::{Packing, chunks_by_rows};
pub use reference::Reference;
pub use short_name::short_name;
pub use special_tokens::SpecialTokens;
pub use split::{Continuation, SplitPoint};
