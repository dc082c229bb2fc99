//! What the weighted codecs learn from training rows at the split.

use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, ensure};
use faer::{Mat, MatRef};
use sha2::{Digest, Sha256};

use crate::activation::Activation;
use crate::interface::row_sample::RowSample;
use crate::interface::shared::SharedNumbers;
use crate::interface::spec::CodecSpec;
use crate::linalg;
use crate::parts::learned_rotation;

/// What a codec asks to be collected before it can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, strum::Display)]
pub enum CalibrationNeed {
    /// Mean, mean magnitude and covariance of the activation's rows, and some of the rows:
    /// [`CalibrationBuilder::push_activation`].
    #[strum(serialize = "rows")]
    Moments,
    /// Squared gradients of the loss by the activation: [`CalibrationBuilder::push_gradient`].
    #[strum(serialize = "gradients")]
    Fisher,
    /// Gram matrix of the next layer's q, k and v weights: [`CalibrationBuilder::set_next_weights`].
    #[strum(serialize = "weights")]
    NextWeights,
}

impl CalibrationNeed {
    /// The error where it was not collected.
    pub(crate) fn missing(self, spec: &CodecSpec) -> String {
        let what = match self {
            Self::Moments => "activations of training rows",
            Self::Fisher => "gradients of training rows",
            Self::NextWeights => "the next layer's q, k, v weights",
        };
        format!("codec {spec} needs a calibration with {what}")
    }
}

/// Rows gathered before they are multiplied into the covariance: the D x D sums are written once per batch of rows.
const BATCH_ROWS: usize = 256;

/// Collects calibration data row by row. The result does not depend on how rows were divided among the pushes.
#[derive(Debug)]
pub struct CalibrationBuilder {
    hidden: usize,
    rows: u64,
    sum: Vec<f64>,
    sum_abs: Vec<f64>,
    /// Rows not yet in `products`, row-major.
    waiting: Vec<f64>,
    /// Lower triangle of the sum of A^T A; empty until the first batch.
    products: Option<Mat<f64>>,
    sample: RowSample,
    gradient_rows: u64,
    sum_squares: Vec<f64>,
    next_weights: Option<Vec<f64>>,
}

impl CalibrationBuilder {
    /// An empty collection for D = `hidden` channels.
    pub fn new(hidden: usize) -> Self {
        Self {
            hidden,
            rows: 0,
            sum: vec![0.0; hidden],
            sum_abs: vec![0.0; hidden],
            waiting: Vec::new(),
            products: None,
            sample: RowSample::new(hidden),
            gradient_rows: 0,
            sum_squares: vec![0.0; hidden],
            next_weights: None,
        }
    }

    /// Adds the rows of one activation to the moments. Fails where D differs or a value is not finite.
    pub fn push_activation(&mut self, activation: &Activation) -> Result<()> {
        let hidden = self.hidden;
        ensure!(
            activation.hidden() == hidden,
            "calibration of {hidden} channels got an activation of {}",
            activation.hidden()
        );
        crate::interface::check_finite(activation).context("calibration")?;
        for row in activation.values().chunks_exact(hidden) {
            self.sample.push(row, self.rows);
            self.rows += 1;
            self.sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
            self.sum_abs.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(v.abs()));
            self.waiting.extend(row.iter().map(|&v| f64::from(v)));
            // Batches end at the same rows however rows were pushed, so the sums have the same bits.
            if self.waiting.len() == BATCH_ROWS * hidden {
                self.flush();
            }
        }
        Ok(())
    }

    fn flush(&mut self) {
        let rows = MatRef::from_row_major_slice(&self.waiting, self.waiting.len() / self.hidden, self.hidden);
        let products = self.products.get_or_insert_with(|| Mat::zeros(self.hidden, self.hidden));
        // A^T A is symmetric: half of it says all.
        linalg::add_lower(products.as_mut(), rows.transpose(), rows);
        self.waiting.clear();
    }

    /// Adds dL/dA of some rows, row-major, D numbers per row, to the Fisher information. Fails where the length is no
    /// multiple of D or a value is not finite.
    pub fn push_gradient(&mut self, gradient: &[f32]) -> Result<()> {
        let hidden = self.hidden;
        ensure!(
            !gradient.is_empty() && gradient.len().is_multiple_of(hidden),
            "calibration of {hidden} channels got {} gradients, not a whole number of rows",
            gradient.len()
        );
        ensure!(gradient.iter().all(|g| g.is_finite()), "calibration: a gradient is not finite");
        self.gradient_rows += (gradient.len() / hidden) as u64;
        for row in gradient.chunks_exact(hidden) {
            self.sum_squares.iter_mut().zip(row).for_each(|(sum, g)| *sum += f64::from(*g).powi(2));
        }
        Ok(())
    }

    /// Sets the Gram matrix of the next layer's weights: for outputs `y = x M^T` with M the stacked q, k and v weights
    /// (outputs x D), this is M^T M, D x D row-major. Fails where the size differs or it is not symmetric and finite.
    pub fn set_next_weights(&mut self, gram: Vec<f64>) -> Result<()> {
        let d = self.hidden;
        ensure!(gram.len() == d * d, "calibration of {d} channels got a Gram matrix of {} values", gram.len());
        let top = gram.iter().fold(0f64, |t, v| t.max(v.abs()));
        ensure!(gram.iter().all(|v| v.is_finite()), "calibration: the Gram matrix has a value that is not finite");
        for i in 0..d {
            for j in 0..i {
                let (a, b) = (gram[i * d + j], gram[j * d + i]);
                // Symmetric but for rounding: the two halves may be sums in different orders.
                ensure!((a - b).abs() <= 1e-6 * top, "calibration: the Gram matrix is not symmetric at {i}, {j}");
            }
        }
        self.next_weights = Some(gram);
        Ok(())
    }

    /// Where the collection stands, to go on with it in another process to the same bits.
    pub fn snapshot(&self) -> CalibrationSnapshot {
        let products = self.products.as_ref();
        let lower =
            |products: &Mat<f64>| products.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect();
        CalibrationSnapshot {
            rows: self.rows,
            gradient_rows: self.gradient_rows,
            sums: [
                self.sum_abs.clone(),
                self.sum_squares.clone(),
                self.waiting.clone(),
                products.map_or_else(Vec::new, lower),
                self.sum.clone(),
                self.sample.numbers.clone(),
            ],
        }
    }

    /// Goes on from a snapshot of D = `hidden` channels. Fails where a sum has another size.
    pub fn resume(hidden: usize, snapshot: CalibrationSnapshot) -> Result<Self> {
        let CalibrationSnapshot { rows, gradient_rows, sums } = snapshot;
        let [sum_abs, sum_squares, waiting, products, sum, sample] = sums;
        let square = hidden * hidden;
        ensure!(
            [&sum, &sum_abs, &sum_squares].iter().all(|sums| sums.len() == hidden)
                && waiting.len() % hidden == 0
                && [0, square].contains(&products.len())
                && sample.len() == RowSample::kept(rows) * hidden,
            "sums of another size than {hidden} channels have"
        );
        let products =
            (!products.is_empty()).then(|| MatRef::from_row_major_slice(&products, hidden, hidden).to_owned());
        let sample = RowSample { hidden, numbers: sample };
        Ok(Self {
            hidden,
            rows,
            sum,
            sum_abs,
            waiting,
            products,
            sample,
            gradient_rows,
            sum_squares,
            next_weights: None,
        })
    }

    /// Closes the collection. Parts to which nothing was pushed stay empty; fails where nothing was collected at all.
    pub fn finish(mut self) -> Result<Calibration> {
        ensure!(
            self.rows > 0 || self.gradient_rows > 0 || self.next_weights.is_some(),
            "calibration: nothing was collected"
        );
        if !self.waiting.is_empty() {
            self.flush();
        }
        let d = self.hidden;
        let count = self.rows as f64;
        let covariance = self.products.map(|products| {
            let mut full = vec![0f64; d * d];
            for i in 0..d {
                for j in 0..=i {
                    let mean = products[(i, j)] / count;
                    full[i * d + j] = mean;
                    full[j * d + i] = mean;
                }
            }
            full
        });
        let over_rows = |sums: &[f64]| (self.rows > 0).then(|| sums.iter().map(|s| s / count).collect());
        let (mean, mean_abs) = (over_rows(&self.sum), over_rows(&self.sum_abs));
        let fisher =
            (self.gradient_rows > 0).then(|| self.sum_squares.iter().map(|s| s / self.gradient_rows as f64).collect());
        let sample = (self.rows > 0).then_some(self.sample.numbers);
        Calibration::from_parts(d, self.rows, [mean_abs, covariance, fisher, self.next_weights, mean, sample])
    }
}

/// Sums of a collection that is not finished.
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationSnapshot {
    /// Rows of activations so far.
    pub rows: u64,
    /// Rows of gradients so far.
    pub gradient_rows: u64,
    /// In the order of [`Self::SUMS`].
    pub sums: [Vec<f64>; 6],
}

impl CalibrationSnapshot {
    /// Names of the sums.
    pub const SUMS: [&str; 6] = ["sum_abs", "sum_squares", "waiting", "products", "sum", "sample"];
}

/// Statistics of training rows at one split of one model.
#[derive(Debug, Clone)]
pub struct Calibration {
    hidden: usize,
    rows: u64,
    mean: Option<Vec<f64>>,
    mean_abs: Option<Vec<f64>>,
    covariance: Option<Vec<f64>>,
    fisher: Option<Vec<f64>>,
    next_weights: Option<Vec<f64>>,
    /// Computed from the covariance when first asked for: it takes seconds at 2048 channels, and every cell of a sweep
    /// asks.
    principal: OnceLock<Arc<SharedNumbers>>,
    sample: Option<Vec<f64>>,
    /// Learned when first asked for, for the same reason.
    rotation: OnceLock<Arc<SharedNumbers>>,
    sha256: String,
}

impl Calibration {
    /// Names of [`Self::parts`].
    pub const PARTS: [&str; 6] = ["mean_abs", "covariance", "fisher", "next_weights", "mean", "sample"];

    /// A calibration of `rows` rows from its parts. Fails where a part has another size than D asks for, or a value
    /// that is not finite.
    pub fn from_parts(hidden: usize, rows: u64, parts: [Option<Vec<f64>>; 6]) -> Result<Self> {
        let (square, sample) = (hidden * hidden, RowSample::kept(rows) * hidden);
        for ((name, part), size) in Self::PARTS.iter().zip(&parts).zip([hidden, square, hidden, square, hidden, sample])
        {
            let Some(part) = part else { continue };
            ensure!(
                part.len() == size,
                "calibration of {hidden} channels: {name} has {} numbers, not {size}",
                part.len()
            );
            ensure!(part.iter().all(|v| v.is_finite()), "calibration: {name} has a value that is not finite");
        }
        let [mean_abs, covariance, fisher, next_weights, mean, sample] = parts;
        let (principal, rotation, sha256) = (OnceLock::new(), OnceLock::new(), String::new());
        let mut made = Self {
            hidden,
            rows,
            mean,
            mean_abs,
            covariance,
            fisher,
            next_weights,
            principal,
            sample,
            rotation,
            sha256,
        };
        made.sha256 = made.digest();
        Ok(made)
    }

    /// Everything that was collected.
    pub fn parts(&self) -> [Option<&[f64]>; 6] {
        [self.mean_abs(), self.covariance(), self.fisher(), self.next_weights(), self.mean(), self.sample()]
    }

    /// Channels, D.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Rows the moments were taken over; zero where none were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Mean A[s, d] of each channel.
    pub fn mean(&self) -> Option<&[f64]> {
        self.mean.as_deref()
    }

    /// Mean |A[s, d]| of each channel.
    pub fn mean_abs(&self) -> Option<&[f64]> {
        self.mean_abs.as_deref()
    }

    /// E[A^T A], D x D row-major, not centred.
    pub fn covariance(&self) -> Option<&[f64]> {
        self.covariance.as_deref()
    }

    /// Up to 1024 of the rows themselves, evenly spread over all, row-major.
    pub fn sample(&self) -> Option<&[f64]> {
        self.sample.as_deref()
    }

    /// Root mean square of each channel.
    pub fn rms(&self) -> Option<Vec<f64>> {
        let covariance = self.covariance.as_ref()?;
        Some(covariance.iter().step_by(self.hidden + 1).map(|square| square.sqrt()).collect())
    }

    /// The eigenvectors of the covariance, one per row, in falling order of eigenvalue. The largest number of each, the
    /// first among equals, is positive.
    pub(crate) fn principal(&self) -> Result<Option<Arc<SharedNumbers>>> {
        let (Some(covariance), hidden) = (&self.covariance, self.hidden) else { return Ok(None) };
        if let Some(made) = self.principal.get() {
            return Ok(Some(made.clone()));
        }
        let (_, vectors) = linalg::eigenvectors(MatRef::from_row_major_slice(covariance, hidden, hidden))?;
        let mut rows = Vec::with_capacity(hidden * hidden);
        // Eigenvalues come in rising order.
        for vector in vectors.col_iter().rev() {
            // An eigenvector has no sign of its own; a rule makes it the same on both sides.
            let top = vector.iter().fold(0f64, |top, v| if v.abs() > top.abs() { *v } else { top });
            rows.extend(vector.iter().map(|v| (v * top.signum()) as f32));
        }
        Ok(Some(self.principal.get_or_init(|| Arc::new(SharedNumbers::new(rows))).clone()))
    }

    /// The D x D rotation, row-major, that was learned from the sample: [`learned_rotation`].
    pub(crate) fn rotation(&self) -> Option<Arc<SharedNumbers>> {
        let sample = self.sample.as_ref()?;
        let learn = || Arc::new(SharedNumbers::new(learned_rotation::learn(sample, self.hidden)));
        Some(self.rotation.get_or_init(learn).clone())
    }

    /// E[(dL/dA[s, d])^2] of each channel.
    pub fn fisher(&self) -> Option<&[f64]> {
        self.fisher.as_deref()
    }

    /// Gram matrix of the next layer's stacked q, k and v weights, D x D row-major.
    pub fn next_weights(&self) -> Option<&[f64]> {
        self.next_weights.as_deref()
    }

    /// SHA-256 of all contents, in hexadecimal. It identifies bits: another CPU may round a covariance differently.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"splitbench calibration 3");
        hash.update((self.hidden as u64).to_le_bytes());
        hash.update(self.rows.to_le_bytes());
        for part in self.parts() {
            // With the lengths, so that numbers cannot pass from one part to the next unseen.
            hash.update((part.map_or(0, <[f64]>::len) as u64).to_le_bytes());
            for value in part.into_iter().flatten() {
                hash.update(value.to_le_bytes());
            }
        }
        hex::encode(hash.finalize())
    }
}

#[cfg(test)]
#[path = "calibration_tests.rs"]
mod tests;
