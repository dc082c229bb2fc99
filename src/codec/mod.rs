//! Codecs: an activation in, bytes out, and back. A codec never sees a model.

mod activation;
pub use activation::Activation;
