//! Which 2-D transform coefficients are of, the option `transform`; and the coefficients of one matrix.

use anyhow::Result;

use crate::bytes::buffers::Scratch;
use crate::bytes::values::power_of_two;
use crate::interface::info::{AllowedValues, OptionInfo, OptionWord};
use crate::interface::spec::CodecSpec;
use crate::kernel::{self, Band, Block, Spectrum, with_workspace};
use crate::parts::cosine;
use crate::shape::Shape;

pub(crate) const OPTION: OptionInfo = OptionInfo {
    key: "transform",
    allowed: AllowedValues::Words(&[
        OptionWord { word: "dft", meaning: "2-D Fourier transform, a coefficient is two numbers" },
        OptionWord { word: "dct", meaning: "orthonormal 2-D DCT-II, a coefficient is one number" },
    ]),
    default: "dft",
    meaning: "which transform the kept coefficients are of",
};

/// A 2-D transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PlaneTransform {
    Fourier,
    Cosine,
}

impl PlaneTransform {
    pub fn new(spec: &CodecSpec) -> Self {
        if spec.option(OPTION.key) == Some("dct") { Self::Cosine } else { Self::Fourier }
    }

    /// Numbers of a coefficient in a packet.
    pub fn numbers(self) -> usize {
        match self {
            Self::Fourier => 2,
            Self::Cosine => 1,
        }
    }

    /// Calls `then` with the coefficients of row-major `rows`, each times the power of two `gain`.
    pub fn apply<R>(
        self,
        rows: &[f32],
        shape: Shape,
        gain: f64,
        then: impl FnOnce(TransformedMatrix<'_>) -> Result<R>,
    ) -> Result<R> {
        match self {
            Self::Fourier => with_workspace(|workspace| {
                then(TransformedMatrix::Fourier(kernel::forward_all(rows, shape, gain, workspace)))
            }),
            Self::Cosine => {
                let mut values = Scratch::new(rows.len());
                values.extend(rows.iter().map(|&v| (f64::from(v) * gain) as f32));
                cosine::forward(&mut values, shape.hidden);
                then(TransformedMatrix::Cosine(&values, shape))
            }
        }
    }
}

/// All coefficients of one matrix.
#[derive(Clone, Copy)]
pub(crate) enum TransformedMatrix<'a> {
    Fourier(&'a Spectrum),
    /// Row-major, as many as values.
    Cosine(&'a [f32], Shape),
}

impl TransformedMatrix<'_> {
    /// S and D.
    pub fn shape(self) -> Shape {
        match self {
            Self::Fourier(spectrum) => spectrum.shape(),
            Self::Cosine(_, shape) => shape,
        }
    }

    /// The square of coefficient (u, v).
    pub fn energy(self, u: usize, v: usize) -> f64 {
        match self {
            Self::Fourier(spectrum) => {
                let c = spectrum.at(u, v);
                f64::from(c.re).powi(2) + f64::from(c.im).powi(2)
            }
            Self::Cosine(values, shape) => f64::from(values[u * shape.hidden + v]).powi(2),
        }
    }

    /// Makes `out` a block of coefficients, row-major, of a spectrum that of a band.
    pub fn block(self, band: Band, block: Block, out: &mut Vec<f32>) {
        match self {
            Self::Fourier(spectrum) => spectrum.block(band, block, out),
            Self::Cosine(values, shape) => {
                out.clear();
                values
                    .chunks_exact(shape.hidden)
                    .take(block.ks)
                    .for_each(|row| out.extend_from_slice(&row[..block.kd]));
            }
        }
    }
}

/// The matrix of which a block of cosine coefficients, `kd` in a row, is the low corner of the transform; each value times
/// `gain`.
pub(crate) fn from_cosine_block(kept: &[f32], kd: usize, shape: Shape, gain: f64) -> Vec<f32> {
    let mut values = crate::bytes::buffers::floats(shape.elements());
    values.fill(0.0);
    for (row, kept) in values.chunks_exact_mut(shape.hidden).zip(kept.chunks_exact(kd)) {
        row[..kd].copy_from_slice(kept);
    }
    cosine::inverse(&mut values, shape.hidden);
    times(&mut values, gain);
    values
}

/// Each value times a power of two.
pub(crate) fn times(values: &mut [f32], gain: f64) {
    if gain != power_of_two(0) {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * gain) as f32);
    }
}
