//! What a round trip came to, in the words of `splitbench codec --json`.

use std::time::Duration;

use pyo3::prelude::*;
use splitbench_codec::{Activation, Budget, CodecSpec, Packet, Rate, raw_bytes};

/// What one round trip came to.
#[pyclass(name = "Report", module = "splitbench", frozen, get_all)]
pub(crate) struct TripReport {
    /// The codec in its canonical form.
    codec: String,
    /// S tokens and D channels.
    shape: (usize, usize),
    /// What the ratio asked for counts: `elements` or `wire`.
    accounting: String,
    /// Compression ratio asked for; None for a codec of fixed rate.
    ratio_requested: Option<f64>,
    /// S * D over the numbers kept.
    ratio_elements: f64,
    /// Bytes of the matrix in f16, 2 * S * D.
    bytes_raw: usize,
    /// Bytes of the whole packet.
    bytes_wire: usize,
    /// `bytes_raw` over `bytes_wire`.
    ratio_wire: f64,
    /// `||A - A'||_F / ||A||_F`, A in f32, summed in f64.
    rel_error: f64,
    /// Microseconds to encode once, one thread, wall time.
    encode_us: f64,
    /// Microseconds to decode once, one thread, wall time.
    decode_us: f64,
}

impl TripReport {
    /// `times` to encode and to decode.
    pub fn new(
        spec: &CodecSpec,
        budget: Budget,
        sent: &Activation,
        packet: &Packet,
        received: &Activation,
        times: [Duration; 2],
    ) -> Self {
        let [encode_us, decode_us] = times.map(|time| time.as_nanos() as f64 / 1e3);
        Self {
            codec: spec.to_string(),
            shape: (sent.tokens(), sent.hidden()),
            accounting: budget.accounting.to_string(),
            ratio_requested: (spec.info().rate == Rate::Budget).then_some(budget.ratio),
            ratio_elements: packet.ratio_elements(),
            bytes_raw: raw_bytes(sent.tokens(), sent.hidden()),
            bytes_wire: packet.len(),
            ratio_wire: packet.ratio_wire(),
            rel_error: sent.rel_error(received),
            encode_us,
            decode_us,
        }
    }
}

#[pymethods]
impl TripReport {
    fn __repr__(&self) -> String {
        format!(
            "Report(codec={:?}, shape={:?}, bytes_wire={}, ratio_wire={:.2}, rel_error={:.6}, encode_us={:.0}, decode_us={:.0})",
            self.codec, self.shape, self.bytes_wire, self.ratio_wire, self.rel_error, self.encode_us, self.decode_us
        )
    }
}
