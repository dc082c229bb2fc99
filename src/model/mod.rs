//! The decoder with a cut. A model never sees a codec.

pub mod checkpoint;
pub mod config;
mod config_keys;
pub mod decoder;
mod device;
pub mod gguf;
pub mod ops;
mod packing;
pub mod place;
pub mod pocket;
pub mod rope;
mod rope_config;
pub mod source;
mod special_tokens;
pub mod split;
pub mod weights;

pub use config::Config;
pub use decoder::Decoder;
pub use device::{Placement, device_name};
pub use packing::Packing;
pub use special_tokens::SpecialTokens;
pub use split::{Scored, SplitPoint};
