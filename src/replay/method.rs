//! What is timed: a codec with its packet, or the FC transform alone.

use std::fmt;

use anyhow::{Context, Result, bail};

use splitbench_codec::kernel::Band;
use splitbench_codec::{self as codec, Activation, Budget, Calibration, CodecSpec, split_codecs};

use super::reference;

/// A codec, or `fc-kernel`.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplayMethod {
    /// Whole packets: bytes come out and go in.
    Codec(CodecSpec),
    /// The FC transform to the kept block in f32 and back, without a packet: what an accelerator does.
    Kernel(Band),
}

/// The name of [`ReplayMethod::Kernel`].
pub const KERNEL: &str = "fc-kernel";

impl ReplayMethod {
    /// Reads a codec's name, or `fc-kernel`, `fc-kernel:band=centered`.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(options) = text.strip_prefix(KERNEL) else { return CodecSpec::parse(text).map(Self::Codec) };
        match options.strip_prefix(":band=") {
            Some(band) => Ok(Self::Kernel(band.parse()?)),
            None if options.is_empty() => Ok(Self::Kernel(Band::Mirrored)),
            None => bail!("method {text:?}: {KERNEL} has one option, band=corner, mirrored or centered"),
        }
    }

    /// Reads names separated by commas.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        split_codecs(text).iter().map(|name| Self::parse(name)).collect()
    }

    /// The codec, where it is one.
    pub fn codec(&self) -> Option<&CodecSpec> {
        match self {
            Self::Codec(spec) => Some(spec),
            Self::Kernel(_) => None,
        }
    }

    /// What the method gives back of `a` in f64 arithmetic and with numbers sent as they are, row-major; none for methods
    /// without a second implementation here. The rank, k or block is the codec's own rule.
    pub fn exact(&self, a: &Activation, ratio: f64, calibration: Option<&Calibration>) -> Result<Option<Vec<f64>>> {
        let shape = (a.tokens(), a.hidden());
        let elements = (shape.0 * shape.1) as f64;
        let of_fc = |band| {
            let block = codec::proportional(band, a.shape(), ratio);
            reference::restored(&reference::coefficients(a, band, block), band, block, shape)
        };
        let spec = match self {
            Self::Kernel(band) => return Ok(Some(of_fc(*band))),
            Self::Codec(spec) => spec,
        };
        let rank =
            || ((elements / (ratio * (shape.0 + shape.1) as f64)).floor() as usize).clamp(1, shape.0.min(shape.1));
        let weighed = |part: Option<&[f64]>, power: f64| -> Result<Vec<f64>> {
            let measured = part.context("the calibration lacks what the codec needs")?;
            Ok(measured.iter().map(|m| m.powf(power)).collect())
        };
        let option = |key| spec.option(key);
        Ok(match spec.name() {
            "fc" if option("aspect") == Some("proportional")
                && option("transform") == Some("dft")
                && option("rotate") == Some("none") =>
            {
                let band: Band = option("band").unwrap_or_default().parse()?;
                Some(of_fc(band))
            }
            "topk" => Some(reference::largest(a, ((elements / ratio).floor() as usize).max(1))),
            "svd" => Some(reference::truncated(a, None, rank())?),
            "qr" => Some(reference::pivoted(a, rank())),
            "fwsvd" => {
                let weights = weighed(calibration.and_then(Calibration::fisher), 0.5)?;
                Some(reference::truncated(a, Some(&weights), rank())?)
            }
            "asvd" => {
                let alpha = option("alpha").unwrap_or_default().parse().context("alpha of asvd")?;
                let weights = weighed(calibration.and_then(Calibration::mean_abs), alpha)?;
                Some(reference::truncated(a, Some(&weights), rank())?)
            }
            _ => None,
        })
    }

    /// The budget of a ratio in elements.
    pub fn budget(ratio: f64) -> Result<Budget> {
        Budget::elements(ratio)
    }
}

impl fmt::Display for ReplayMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(spec) => spec.fmt(f),
            Self::Kernel(Band::Mirrored) => f.write_str(KERNEL),
            Self::Kernel(Band::Corner) => write!(f, "{KERNEL}:band=corner"),
            Self::Kernel(Band::Centered) => write!(f, "{KERNEL}:band=centered"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_with_options() {
        let names = |text: &str| -> Vec<String> {
            ReplayMethod::parse_list(text).unwrap().iter().map(ReplayMethod::to_string).collect()
        };
        assert_eq!(names("fc,topk"), ["fc", "topk"]);
        assert_eq!(
            names("fc:band=centered,aspect=tokens,topk:values=f32,fc-kernel:band=centered,fc-kernel"),
            ["fc:band=centered,aspect=tokens", "topk:values=f32", "fc-kernel:band=centered", "fc-kernel"]
        );
        assert_eq!(names("qr,external:cmd=python3 a.py --x 1, 2").len(), 2);
        let error = |text: &str| format!("{:#}", ReplayMethod::parse_list(text).unwrap_err());
        assert!(error("fc,tpk").contains("\"topk\""), "{}", error("fc,tpk"));
        assert!(error("fc-kernel:bnd=1").contains("band="));
        assert!(error("fc-kernel:band=centred").contains("centered"));
    }
}
