//! The decoder with a cut. A model never sees a codec.

pub mod pocket;
