//! `splitbench._native`: the codecs on NumPy arrays and tensors. `python/splitbench` has what users import, and its types.

mod calibration;
mod codec;
mod description;
mod dlpack;
mod matrix;
mod report;
mod workers;

use pyo3::prelude::*;

/// Errors of the codecs as Python's: a `ValueError` with the sentence of the command line.
fn value_error(error: anyhow::Error) -> PyErr {
    pyo3::exceptions::PyValueError::new_err(format!("{error:#}"))
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::calibration::PythonCalibration;
    #[pymodule_export]
    use crate::codec::{PythonCodec, decode, encode, round_trip};
    #[pymodule_export]
    use crate::description::{CodecDescription, OptionDescription, codecs};
    #[pymodule_export]
    use crate::report::TripReport;
}
