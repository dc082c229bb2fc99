//! What codecs learn before they are built.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use pyo3::prelude::*;
use splitbench_codec::{Activation, Calibration, CalibrationBuilder, CalibrationNeed, CodecSpec};

use crate::matrix::MatrixList;
use crate::value_error;

/// Most columns of calibration rows: their covariance is D x D in f64, 2 GiB here.
const MAX_CALIBRATED: usize = 1 << 14;

/// What codecs learn before they are built; both sides of a codec need the same.
///
/// Args:
///     rows: activations of training rows, n x D, one array or a list.
///     gradients: dL/dA of training rows, n x D, for `fwsvd`.
///     next_weights: weights that read A, outputs x D each, such as `[q.weight, k.weight, v.weight]` of the layer after the
///         cut, for `svd-llm:whiten=weights` and, beside rows, `awq`.
///
/// Raises:
///     ValueError: nothing was given, widths differ, or a value is not finite.
#[pyclass(name = "Calibration", module = "splitbench", frozen)]
pub(crate) struct PythonCalibration {
    learned: Arc<Calibration>,
}

#[pymethods]
impl PythonCalibration {
    #[new]
    #[pyo3(signature = (rows=None, *, gradients=None, next_weights=None))]
    fn new(
        py: Python<'_>,
        rows: Option<&Bound<'_, PyAny>>,
        gradients: Option<&Bound<'_, PyAny>>,
        next_weights: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let [rows, gradients, next_weights] =
            [rows, gradients, next_weights].map(|given| given.map(MatrixList::read).transpose());
        let (rows, gradients, next_weights) = (rows?, gradients?, next_weights?);
        let views = [&rows, &gradients, &next_weights].map(|list| list.as_ref().map_or(&[][..], |list| &list.views));
        let learn = || -> Result<Calibration> {
            let [rows, gradients, weights] =
                views.map(|views| views.iter().map(|matrix| matrix.activation()).collect::<Result<Vec<_>>>());
            learn(&rows?, &gradients?, &weights?)
        };
        let learned = py.detach(learn).map_err(value_error)?;
        Ok(Self { learned: Arc::new(learned) })
    }

    /// Channels, D.
    #[getter]
    fn hidden(&self) -> usize {
        self.learned.hidden()
    }

    /// Rows of activations that were learned from.
    #[getter]
    fn rows(&self) -> u64 {
        self.learned.rows()
    }

    /// SHA-256 of all that was learned, in hexadecimal; both sides of a codec must have the same.
    #[getter]
    fn sha256(&self) -> &str {
        self.learned.sha256()
    }

    fn __repr__(&self) -> String {
        let sha256 = &self.learned.sha256()[..12];
        format!("Calibration(hidden={}, rows={}, sha256={sha256:?})", self.learned.hidden(), self.learned.rows())
    }
}

fn learn(rows: &[Activation], gradients: &[Activation], weights: &[Activation]) -> Result<Calibration> {
    let first = [rows, gradients, weights].into_iter().flatten().next();
    let hidden = first.context("a calibration needs rows, gradients or next_weights: none was given")?.hidden();
    ensure!(hidden <= MAX_CALIBRATED, "{hidden} columns; the covariance of more than {MAX_CALIBRATED} is not made");
    let mut builder = CalibrationBuilder::new(hidden);
    for rows in rows {
        builder.push_activation(rows)?;
    }
    for gradients in gradients {
        ensure!(
            gradients.hidden() == hidden,
            "calibration of {hidden} channels got gradients of {}",
            gradients.hidden()
        );
        builder.push_gradient(gradients.values())?;
    }
    if !weights.is_empty() {
        let mut gram = vec![0.0; hidden * hidden];
        for weights in weights {
            ensure!(
                weights.hidden() == hidden,
                "calibration of {hidden} channels got weights of {} inputs: expected outputs x D, as Linear.weight",
                weights.hidden()
            );
            add_gram(&mut gram, weights);
        }
        builder.set_next_weights(gram)?;
    }
    builder.finish()
}

/// Adds M^T M of weights M, outputs x D.
fn add_gram(gram: &mut [f64], weights: &Activation) {
    let hidden = weights.hidden();
    for row in weights.values().chunks_exact(hidden) {
        for (sums, &left) in gram.chunks_exact_mut(hidden).zip(row) {
            sums.iter_mut().zip(row).for_each(|(sum, &right)| *sum += f64::from(left) * f64::from(right));
        }
    }
}

/// What a codec is built with; fails, saying what to give, where the codec needs another thing or nothing.
pub(crate) fn choose(
    py: Python<'_>,
    spec: &CodecSpec,
    given: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<Arc<Calibration>>> {
    let wanted = wanted(spec, given.is_some()).map_err(value_error)?;
    let Some(given) = given.filter(|_| wanted) else { return Ok(None) };
    if let Ok(calibration) = given.cast::<PythonCalibration>() {
        return Ok(Some(calibration.get().learned.clone()));
    }
    Ok(Some(PythonCalibration::new(py, Some(given), None, None)?.learned))
}

/// Whether the codec is built with what is given.
fn wanted(spec: &CodecSpec, is_given: bool) -> Result<bool> {
    let missing = match spec.calibration() {
        None => {
            ensure!(!is_given, "calibration: codec {spec} uses none");
            return Ok(false);
        }
        Some(_) if is_given => return Ok(true),
        Some(CalibrationNeed::Moments) => "learns from activations: give calibration=, rows as wide as the input's",
        Some(CalibrationNeed::Fisher) => {
            "needs gradients of a model's loss: give calibration=Calibration(gradients=...)"
        }
        Some(CalibrationNeed::NextWeights) => {
            "needs the q, k and v weights of a model's next layer: give calibration=Calibration(rows, next_weights=[...])"
        }
    };
    bail!("codec {spec} {missing}")
}
