//! How the hidden axis is changed before a transform and changed back after it: the option `rotate`.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};

use crate::activation::Activation;
use crate::bytes::fields::Reader;
use crate::bytes::values::{self, power_of_two, shift_for_f32};
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{AllowedValues, OptionInfo, OptionWord};
use crate::interface::packet::Packet;
use crate::interface::shared::{self, DIGEST_BYTES, SharedNumbers};
use crate::interface::spec::CodecSpec;
use crate::parts::{hadamard, low_rank};

pub(crate) const OPTION: OptionInfo = OptionInfo {
    key: "rotate",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "none", meaning: "rows as they are" },
        OptionWord { word: "hadamard", meaning: "each row times a block Walsh-Hadamard matrix" },
        OptionWord { word: "whiten", meaning: "each channel over its root mean square in calibration rows" },
    ]),
    default: "none",
    meaning: "what is done to the hidden axis before the transform and undone after it",
};

/// The least that a channel is divided by, as a share of the mean channel: one that no calibration row used is not
/// blown up further.
const FLOOR: f64 = 1e-6;

/// In the packet's field; zero is none.
const HADAMARD: u8 = 1;
const WHITEN: u8 = 2;

pub(crate) enum Rotation {
    None,
    Hadamard,
    /// Root mean square of each channel.
    Whiten(SharedNumbers),
}

/// Which calibration a spec asks for.
pub(crate) fn need(spec: &CodecSpec) -> Option<CalibrationNeed> {
    (spec.option(OPTION.key) == Some("whiten")).then_some(CalibrationNeed::Moments)
}

/// Rows ready to be transformed.
pub(crate) struct RotatedRows<'a> {
    pub rows: Cow<'a, [f32]>,
    /// What the transform has yet to multiply them by.
    pub gain: f64,
    /// The power of two that they are then divided by.
    pub shift: i32,
}

impl Rotation {
    pub fn new(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Self> {
        Ok(match spec.option(OPTION.key) {
            Some("hadamard") => Self::Hadamard,
            Some("whiten") => {
                let rms =
                    calibration.and_then(Calibration::rms).with_context(|| CalibrationNeed::Moments.missing(spec))?;
                let floor = FLOOR * rms.iter().sum::<f64>() / rms.len() as f64;
                ensure!(floor > 0.0, "codec {spec}: the calibration rows are zero in every channel");
                // Both sides use the same f32, of which none is zero or subnormal.
                Self::Whiten(SharedNumbers::new(
                    rms.iter().map(|r| (r.max(floor) as f32).max(f32::MIN_POSITIVE)).collect(),
                ))
            }
            _ => Self::None,
        })
    }

    /// The packet's field.
    pub fn id(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Hadamard => HADAMARD,
            Self::Whiten(_) => WHITEN,
        }
    }

    /// The digest by which a packet names the shared numbers.
    pub fn digest(&self) -> &[u8] {
        match self {
            Self::Whiten(rms) => &rms.digest,
            _ => &[],
        }
    }

    /// The rows after it, of which the largest is `top` before it.
    pub fn apply<'a>(&self, activation: &'a Activation, top: f32) -> Result<RotatedRows<'a>> {
        let (hidden, elements) = (activation.hidden(), activation.values().len());
        let mut wide = match self {
            Self::None => {
                let shift = shift_for_f32(values::exponent(top), elements);
                let rows = Cow::Borrowed(activation.values());
                return Ok(RotatedRows { rows, gain: power_of_two(-shift), shift });
            }
            _ => low_rank::to_f64(activation),
        };
        match self {
            Self::Whiten(rms) => {
                low_rank::check_hidden("fc:rotate=whiten", rms.numbers.len(), hidden)?;
                for row in wide.chunks_exact_mut(hidden) {
                    row.iter_mut().zip(&rms.numbers).for_each(|(v, r)| *v /= f64::from(*r));
                }
            }
            _ => hadamard::rotate(&mut wide, hidden),
        }
        let top = wide.iter().fold(0f64, |top, v| top.max(v.abs()));
        // Not limited as above: a quotient may lie far outside of f32.
        let shift = values::exponent(top).filter(|e| !(-60..60).contains(e)).unwrap_or(0);
        let gain = power_of_two(-shift);
        // The shift is applied here, in f64, before the values become f32.
        Ok(RotatedRows { rows: wide.into_iter().map(|v| (v * gain) as f32).collect(), gain: 1.0, shift })
    }
}

/// Bytes of the digest beside a field.
pub(crate) fn digest_bytes(id: u8) -> usize {
    if id == WHITEN { DIGEST_BYTES } else { 0 }
}

/// The digest in a packet, and whether its field is known.
pub(crate) fn read<'a>(reader: &mut Reader<'a>, id: u8) -> Result<&'a [u8]> {
    ensure!(id <= WHITEN, "packet field rotate: {id} is none of 0 (none), 1 (hadamard), 2 (whiten)");
    reader.bytes(digest_bytes(id), "digest")
}

/// The values of `rows` before the rotation of that field, each times `gain`.
pub(crate) fn undo(
    own: Option<&Rotation>,
    packet: &Packet,
    (id, digest): (u8, &[u8]),
    rows: Vec<f32>,
    gain: f64,
) -> Result<Vec<f32>> {
    let hidden = packet.hidden();
    let mut wide: Vec<f64> = rows.into_iter().map(f64::from).collect();
    match (id, own) {
        // It needs nothing from calibration, and is its own inverse.
        (HADAMARD, _) => hadamard::rotate(&mut wide, hidden),
        (_, Some(Rotation::Whiten(rms))) => {
            rms.check(digest, "fc:rotate=whiten")?;
            let calibrated = rms.numbers.len();
            ensure!(
                calibrated == hidden,
                "packet field hidden: fc:rotate=whiten was calibrated for {calibrated} channels, the packet has {hidden}"
            );
            for row in wide.chunks_exact_mut(hidden) {
                row.iter_mut().zip(&rms.numbers).for_each(|(v, r)| *v *= f64::from(*r));
            }
        }
        _ => bail!(shared::missing("fc with rotate=whiten", "fc:rotate=whiten")),
    }
    Ok(wide.into_iter().map(|v| (v * gain) as f32).collect())
}
