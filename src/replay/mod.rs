//! Replay: the activations of a trace through codecs and kernels, timed. No model is needed.
//!
//! A [`Trace`](trace::Trace) says which activations a pass over data sets sends, a [`Backend`] runs methods on them, and
//! [`run`](run::run) turns its times into one [`ReplayRow`](crate::record::replay::ReplayRow) a method, hidden size and way of running it.
//!
//! # Add a back end
//! Implement [`Backend`] and [`Lane`] in a file of its own, and name it in [`backend::NAMES`] and [`backend::open`]. A back
//! end that cannot run here says why when it is opened: that becomes a row.

pub mod backend;
mod calibrate;
mod cpu;
#[cfg(any(test, feature = "cuda-kernel"))]
mod cuda;
mod fpga;
pub mod limits;
pub mod method;
pub mod profile;
pub mod record;
pub mod reference;
mod roofline;
pub mod run;
pub mod sample;
mod source;
pub mod spec;
pub mod trace;

pub use backend::{Backend, CallTimes, Device, Lane, Threads};
pub use method::ReplayMethod;
