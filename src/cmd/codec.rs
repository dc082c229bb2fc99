//! `splitbench codec`: a codec on a matrix from a file, without any model.

mod measure;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use self::measure::{CodecMeasurement, measure};
use super::ratio::RatioArgs;
use crate::output::{self, Output};
use splitbench_codec::npy;
use splitbench_codec::{
    Activation, Calibration, CalibrationBuilder, CalibrationNeed, CodecSpec, MAX_ELEMENTS, Packet, build, decode,
};

use crate::save;

/// Send a NumPy matrix through a codec and back: real bytes, error and time; or decode a packet.
///
/// A matrix is a .npy file of f16, f32 or f64 in two dimensions, rows as tokens and columns as channels. Examples:
///   splitbench codec --input A.npy --codec fc:band=centered --ratio 8 --output B.npy --packet P.bin
///   splitbench codec --decode P.bin --output B.npy
///   splitbench codec --input A.npy --codec "external:cmd=python3 my_codec.py" --ratio 8
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Matrix to encode, a .npy file.
    #[arg(long, value_name = "A.npy", required_unless_present = "decode", requires = "codec")]
    input: Option<PathBuf>,
    /// Codec with its options, such as fc:band=centered (`splitbench list codecs`); with --decode only external and codecs
    /// that decode with a calibration need it.
    #[arg(long, alias = "codecs")]
    codec: Option<String>,
    #[command(flatten)]
    ratio: RatioArgs,
    /// Rows as wide as the input, from which codecs learn that need a calibration (`splitbench list codecs`), a .npy file; some
    /// decode with it too.
    #[arg(long, value_name = "C.npy", requires = "codec")]
    calibration: Option<PathBuf>,
    /// Write the packet to this file.
    #[arg(long, value_name = "P.bin")]
    packet: Option<PathBuf>,
    /// Packet to decode instead of a matrix to encode.
    #[arg(
        long,
        value_name = "P.bin",
        requires = "output",
        conflicts_with_all = ["input", "ratio", "accounting", "packet"]
    )]
    decode: Option<PathBuf>,
    /// Write what the receiver gets to this file, as .npy of f32 in C order.
    #[arg(long, visible_alias = "out", value_name = "B.npy")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Encodes and decodes, or only decodes.
    pub fn run(self) -> Result<()> {
        let mut read: Vec<PathBuf> =
            [&self.input, &self.calibration, &self.decode].into_iter().flatten().cloned().collect();
        if let Some(codec) = &self.codec {
            read.extend(CodecSpec::parse(codec)?.files());
        }
        let outputs = [("--output", &self.output), ("--packet", &self.packet)];
        let outputs = outputs.into_iter().filter_map(|(option, path)| Some(Output::file(option, path.as_deref()?)));
        output::check(&read, &outputs.collect::<Vec<_>>())?;
        match (&self.decode, &self.input, &self.codec) {
            (Some(packet), ..) => self.decode(packet),
            (None, Some(input), Some(codec)) => self.encode(input, codec),
            // Wrong usage, of which the parser has told already.
            _ => anyhow::bail!("give --input and --codec, or --decode"),
        }
    }

    fn encode(&self, input: &Path, codec: &str) -> Result<()> {
        let spec = CodecSpec::parse(codec)?;
        let budget = self.ratio.budget()?;
        let calibration = self.calibrate(&spec)?;
        let activation = npy::read(input)?;
        let codec = build(&spec, calibration.as_ref())?;
        let sent = measure(codec.as_ref(), &activation, budget)
            .with_context(|| format!("{} by {spec} at ratio {}", input.display(), budget.ratio))?;
        let saved = self.save(sent.packet.as_bytes(), &sent.received);
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&sent.measured)?)?,
            false => print(&sent.measured)?,
        }
        saved
    }

    /// What the codec learns from `--calibration`; none where it needs none.
    fn calibrate(&self, spec: &CodecSpec) -> Result<Option<Calibration>> {
        let missing = match spec.calibration() {
            None => {
                ensure!(self.calibration.is_none(), "--calibration: codec {spec} uses none");
                return Ok(None);
            }
            Some(CalibrationNeed::Moments) => None,
            Some(CalibrationNeed::Fisher) => Some("gradients of a model's loss"),
            Some(CalibrationNeed::NextWeights) => Some("the weights of a model's next layer"),
        };
        if let Some(what) = missing {
            anyhow::bail!(
                "codec {spec} needs {what}, which no matrix can give: `splitbench score --codec {spec}` has a model"
            );
        }
        let path = self.calibration.as_deref().with_context(|| {
            format!("codec {spec} learns from activations: give --calibration C.npy, rows as wide as the input's")
        })?;
        let rows = npy::read(path)?;
        ensure!(
            rows.hidden() <= MAX_CALIBRATED,
            "--calibration {}: {} columns; the covariance of more than {MAX_CALIBRATED} is not made",
            path.display(),
            rows.hidden()
        );
        let mut builder = CalibrationBuilder::new(rows.hidden());
        builder.push_activation(&rows)?;
        builder.finish().map(Some)
    }

    fn decode(&self, path: &Path) -> Result<()> {
        let packet = read_packet(path).with_context(|| path.display().to_string())?;
        let received = self.receive(&packet).with_context(|| path.display().to_string())?;
        let saved = self.save(packet.as_bytes(), &received);
        let (tokens, hidden) = (packet.tokens(), packet.hidden());
        if self.json {
            let told = json!({"codec": packet.codec(), "shape": [tokens, hidden], "bytes_wire": packet.len(),
                "ratio_elements": packet.ratio_elements(), "ratio_wire": packet.ratio_wire()});
            say!("{}", serde_json::to_string_pretty(&told)?)?;
            return saved;
        }
        say!(
            "{}: {tokens} x {hidden}, {} bytes, ratio {:.2} in elements, {:.2} on the wire",
            packet.codec(),
            packet.len(),
            packet.ratio_elements(),
            packet.ratio_wire()
        )?;
        saved
    }

    fn receive(&self, packet: &Packet) -> Result<Activation> {
        let Some(codec) = &self.codec else { return decode(packet) };
        let spec = CodecSpec::parse(codec)?;
        ensure!(packet.codec() == spec.name(), "--codec {spec}: the packet is of {}", packet.codec());
        if spec.calibration().is_some() && self.calibration.is_none() {
            // Most calibrated codecs would ask for rows that their packets are read without; the others say so.
            return decode(packet);
        }
        build(&spec, self.calibrate(&spec)?.as_ref())?.decode(packet)
    }

    fn save(&self, packet: &[u8], received: &Activation) -> Result<()> {
        if let Some(path) = &self.packet {
            save::replace(path, packet)?;
        }
        if let Some(path) = &self.output {
            save::replace(path, &npy::to_bytes(received))?;
        }
        Ok(())
    }
}

/// Most columns of calibration rows: their covariance is D x D in f64, 2 GiB here.
const MAX_CALIBRATED: usize = 1 << 14;

/// No packet is longer: pairs of f32 for every number are the longest payload, to which `external` may add 64 KiB, and own
/// headers are below 64 bytes.
const MAX_PACKET_BYTES: u64 = 8 * MAX_ELEMENTS as u64 + (1 << 16) + 64;

fn read_packet(path: &Path) -> Result<Packet> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_PACKET_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_PACKET_BYTES, "longer than any packet ({MAX_PACKET_BYTES} bytes)");
    Packet::from_bytes(bytes)
}

fn print(m: &CodecMeasurement) -> Result<()> {
    let [tokens, hidden] = m.shape;
    let ratio = m.ratio_requested.map_or("no ratio".into(), |r| format!("ratio {r} ({})", m.accounting));
    say!("{}: {tokens} x {hidden}, asked for {ratio}", m.codec)?;
    say!("  ratio    {:.2} in elements, {:.2} on the wire", m.ratio_elements, m.ratio_wire)?;
    say!("  bytes    {} of {} (f16)", m.bytes_wire, m.bytes_raw)?;
    say!("  error    {:.6} relative, Frobenius", m.rel_error)?;
    for (name, median, [least, most], runs) in [
        ("encode", m.encode_us, m.encode_us_range, &m.encode_us_runs),
        ("decode", m.decode_us, m.decode_us_range, &m.decode_us_runs),
    ] {
        say!("  {name}   {median:.0} µs, median of {} ({least:.0} to {most:.0}) after a warm-up", runs.len())?;
    }
    Ok(())
}
