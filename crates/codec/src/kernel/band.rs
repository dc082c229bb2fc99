//! Which coefficients are kept: the option `band`, and the block's sides.

use anyhow::{Result, bail, ensure};
use strum::VariantNames;

use crate::shape::Shape;

/// Where the kept block lies in the spectrum (paper, section III-C, steps 2 and 3; the text leaves it open).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase", parse_err_ty = anyhow::Error, parse_err_fn = unknown)]
pub enum Band {
    /// Rows 0..K_S and columns 0..K_D of the full spectrum, zeros elsewhere, real part of the inverse: a coefficient
    /// whose mirror was dropped comes back at half its size.
    Corner,
    /// The same block plus its mirror positions (S - u, D - v).
    Mirrored,
    /// Row frequencies on both sides of zero, columns 0..K_D of the half-spectrum, and their mirror positions.
    Centered,
}

fn unknown(text: &str) -> anyhow::Error {
    crate::suggest::unknown("band", text, Band::VARIANTS.iter().copied())
}

impl Band {
    pub(crate) fn id(self) -> u8 {
        match self {
            Self::Corner => 0,
            Self::Mirrored => 1,
            Self::Centered => 2,
        }
    }

    pub(crate) fn from_id(id: u8) -> Result<Self> {
        Ok(match id {
            0 => Self::Corner,
            1 => Self::Mirrored,
            2 => Self::Centered,
            _ => bail!("packet field band: {id} is none of 0 (corner), 1 (mirrored), 2 (centered)"),
        })
    }

    /// The largest K_D: D, or D/2 + 1 where only the half-spectrum is kept.
    pub fn max_kd(self, hidden: usize) -> usize {
        match self {
            Self::Corner | Self::Mirrored => hidden,
            Self::Centered => hidden / 2 + 1,
        }
    }

    /// The row frequency u, in 0..S, of row `i` of a block: `i`, or for `centered` `i - K_S/2` modulo S, so that an even
    /// K_S runs from -K_S/2 to K_S/2 - 1.
    pub fn frequency(self, i: usize, ks: usize, tokens: usize) -> usize {
        match self {
            Self::Corner | Self::Mirrored => i,
            Self::Centered => (i + tokens - ks / 2) % tokens,
        }
    }

    /// The row of a block of `ks` that holds row frequency u, where one does.
    pub(super) fn row(self, u: usize, ks: usize, tokens: usize) -> Option<usize> {
        let row = match self {
            Self::Corner | Self::Mirrored => u,
            Self::Centered => (u + ks / 2) % tokens,
        };
        (row < ks).then_some(row)
    }
}

/// Rows and columns of the kept block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// Token frequencies, K_S in 1..=S.
    pub ks: usize,
    /// Hidden frequencies, K_D in 1..=D (D/2 + 1 for `centered`).
    pub kd: usize,
}

impl Block {
    /// Fails, naming the side, where the block is not part of the spectrum of an S x D activation.
    pub fn check(self, band: Band, shape: Shape) -> Result<()> {
        let (Self { ks, kd }, Shape { tokens, hidden }) = (self, shape);
        let most = band.max_kd(hidden);
        ensure!((1..=tokens).contains(&ks), "K_S is {ks}: of {tokens} tokens 1..={tokens} row frequencies can be kept");
        ensure!((1..=most).contains(&kd), "K_D is {kd}: of {hidden} channels 1..={most} columns can be kept");
        Ok(())
    }
}
