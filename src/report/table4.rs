//! Table IV on this CPU: total seconds to compress and decompress, per model and method.

use std::fmt::Write;

use super::table::escape;

/// Codec time of one model and method, summed over the data sets of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct CodecTime {
    /// Model name.
    pub model: String,
    /// Codec with its options.
    pub codec: String,
    /// Activations encoded and decoded.
    pub activations: usize,
    /// Total time to encode, seconds of one thread.
    pub encode_s: f64,
    /// Total time to decode.
    pub decode_s: f64,
}

const CAPTION: &str = "Measured on this CPU during the run, one thread an activation, other threads busy. The paper's \
Table IV is from a Jetson and an FPGA, which were not at hand: only ratios between methods compare, and only at equal \
hidden size.";

/// The table as Markdown; methods in the order given, each time also as a multiple of the model's first `fc`.
pub fn markdown(times: &[CodecTime]) -> String {
    let mut out = String::from(
        "| model | method | activations | compress s | decompress s | total s | a pair, µs | times fc |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for time in times {
        let total = time.encode_s + time.decode_s;
        let fc = times.iter().find(|t| t.model == time.model && t.codec == "fc");
        let against = fc.map_or("–".to_string(), |fc| format!("{:.2}", total / (fc.encode_s + fc.decode_s)));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.1} | {against} |",
            time.model,
            escape(&time.codec),
            time.activations,
            time.encode_s,
            time.decode_s,
            total,
            1e6 * total / time.activations as f64
        );
    }
    out + "\n" + CAPTION + "\n"
}

/// The same numbers as CSV, unrounded.
pub fn csv(times: &[CodecTime]) -> String {
    let mut out = String::from("model,codec,activations,encode_s,decode_s\n");
    for t in times {
        let codec = t.codec.replace('"', "\"\"");
        let _ = writeln!(out, "\"{}\",\"{codec}\",{},{},{}", t.model, t.activations, t.encode_s, t.decode_s);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_beside_fc() {
        let time = |codec: &str, encode_s: f64| CodecTime {
            model: "m".into(),
            codec: codec.into(),
            activations: 10,
            encode_s,
            decode_s: 1.0,
        };
        let table = markdown(&[time("fc", 1.0), time("qr", 4.0)]);
        assert!(table.contains("| m | fc | 10 | 1.000 | 1.000 | 2.000 | 200000.0 | 1.00 |"), "{table}");
        assert!(table.contains("| m | qr | 10 | 4.000 | 1.000 | 5.000 | 500000.0 | 2.50 |"), "{table}");
        assert!(markdown(&[time("qr", 4.0)]).contains("| – |"));
        assert!(csv(&[time("fc", 1.5)]).ends_with("\"m\",\"fc\",10,1.5,1\n"));
    }
}
