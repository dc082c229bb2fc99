//! What single requests take: `service.csv`.

use serde::{Deserialize, Serialize};

use super::table_file::TableLine;

/// Name of the activation sent as it is, in f16 and without a header: what every codec is compared with.
pub const RAW: &str = "raw f16";

/// Which rows cross the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServicePart {
    /// A whole request at once, as it is scored.
    Prompt,
    /// One row: a token generated after the prompt, whose rows the server has.
    Step,
}

/// A line of `service.csv`: means over the timed requests of a cell, each alone on the machine. Missing where the cell failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Model name.
    pub model: String,
    /// Data set name.
    pub dataset: String,
    /// The cut: after this layer, 1..=N.
    pub split_layer: u32,
    /// What was compressed.
    pub scope: String,
    /// Codec with its options, or [`RAW`].
    pub codec: String,
    /// Compression ratio asked for; none of a codec of fixed rate.
    pub ratio: Option<f64>,
    /// What the ratio counts; empty where none was asked for.
    pub accounting: String,
    /// Which rows.
    pub part: ServicePart,
    /// Requests timed.
    pub requests: u64,
    /// Rows that cross the cut.
    pub tokens: f64,
    /// The same rows in f16, bytes.
    pub raw_bytes: f64,
    /// Bytes that are sent; rows beside the packet in f16.
    pub bytes: Option<f64>,
    /// `||A - A'||_F / ||A||_F` of the compressed rows.
    pub rel_error: Option<f64>,
    /// Client half, all threads, microseconds.
    pub client_us: f64,
    /// Encoding, one thread.
    pub encode_us: Option<f64>,
    /// Decoding, one thread; of a codec that sends no activation the client half too, which the server then runs.
    pub decode_us: Option<f64>,
    /// Server half with norm and head, all threads.
    pub server_us: f64,
    /// What a further request adds to a batch of the server half.
    pub server_more_us: f64,
    /// `cpu` or a GPU.
    pub device: String,
    /// This program.
    pub version: String,
    /// Why the cell has no numbers.
    pub err: Option<String>,
}

impl TableLine for Service {
    const FILE: &'static str = "service.csv";
}
