//! Python's arrays as activations: in place where they are f32 and row-major, converted otherwise.

use std::slice;
use std::sync::Arc;

use anyhow::{Result, bail};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use splitbench_codec::{Activation, MAX_ELEMENTS, MAX_SIDE};

use crate::dlpack;

/// Types of numbers that are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum MatrixNumber {
    F16,
    Bf16,
    F32,
    F64,
}

impl MatrixNumber {
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The error for another type.
    pub fn unknown(name: &str) -> PyErr {
        PyValueError::new_err(format!(
            "an array of {name}: expected float16, bfloat16, float32 or float64; give array.astype(\"float32\")"
        ))
    }
}

/// Where the numbers of a matrix lie. Whoever makes one holds the array for as long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceMatrix {
    data: *const u8,
    number: MatrixNumber,
    rows: usize,
    columns: usize,
    /// Bytes from a row to the next, and from a column to the next.
    steps: [isize; 2],
}

// SAFETY: it only reads, and `MatrixList` holds what it reads from.
unsafe impl Send for SourceMatrix {}
unsafe impl Sync for SourceMatrix {}

impl AsRef<[f32]> for SourceMatrix {
    fn as_ref(&self) -> &[f32] {
        assert!(self.is_in_place());
        // SAFETY: rows * columns aligned f32 lie one after another from `data` on.
        unsafe { slice::from_raw_parts(self.data.cast(), self.rows * self.columns) }
    }
}

impl SourceMatrix {
    /// A view of numbers at `data`; fails unless there are two dimensions, `steps` bytes apart, of which neither is empty.
    pub fn new(data: *const u8, number: MatrixNumber, shape: &[usize], steps: &[isize]) -> PyResult<Self> {
        let &[rows, columns] = shape else {
            return Err(PyValueError::new_err(format!(
                "an array of {} dimensions: expected 2, tokens x channels; of a batch give list(array), one per request",
                shape.len()
            )));
        };
        if !(1..=MAX_SIDE).contains(&rows) || !(1..=MAX_SIDE).contains(&columns) || rows * columns > MAX_ELEMENTS {
            return Err(PyValueError::new_err(format!(
                "an array of {rows} x {columns} is outside 1 to {MAX_SIDE} on a side and {MAX_ELEMENTS} numbers"
            )));
        }
        Ok(Self { data, number, rows, columns, steps: [steps[0], steps[1]] })
    }

    fn is_compact(&self) -> bool {
        let bytes = self.number.bytes() as isize;
        // A step between rows or columns of which there is one says nothing.
        let [row, column] = self.steps;
        (column == bytes || self.columns == 1) && (row == self.columns as isize * bytes || self.rows == 1)
    }

    fn is_aligned(&self) -> bool {
        self.data.addr().is_multiple_of(self.number.bytes())
    }

    fn is_in_place(&self) -> bool {
        self.number == MatrixNumber::F32 && self.is_compact() && self.is_aligned()
    }

    /// The activation, to be dropped before its array; fails where a number is beyond f32.
    pub fn activation(&self) -> Result<Activation> {
        if self.is_in_place() {
            return Activation::shared(self.rows, self.columns, Arc::new(*self));
        }
        let count = self.rows * self.columns;
        let values =
            if self.is_compact() && self.is_aligned() && self.number.bytes() == 2 {
                let mut values = vec![0.0; count];
                // SAFETY: `count` aligned numbers of the type lie one after another from `data` on.
                match self.number {
                    MatrixNumber::F16 => unsafe { slice::from_raw_parts(self.data.cast::<f16>(), count) }
                        .convert_to_f32_slice(&mut values),
                    _ => unsafe { slice::from_raw_parts(self.data.cast::<bf16>(), count) }
                        .convert_to_f32_slice(&mut values),
                }
                values
            } else {
                match self.number {
                    MatrixNumber::F16 => self.gather(|p: *const f16| unsafe { p.read_unaligned() }.to_f32()),
                    MatrixNumber::Bf16 => self.gather(|p: *const bf16| unsafe { p.read_unaligned() }.to_f32()),
                    MatrixNumber::F32 => self.gather(|p: *const f32| unsafe { p.read_unaligned() }),
                    MatrixNumber::F64 => {
                        let values = self.gather(|p: *const f64| unsafe { p.read_unaligned() } as f32);
                        self.check_range(&values)?;
                        values
                    }
                }
            };
        Activation::new(self.rows, self.columns, values)
    }

    fn place<T>(&self, row: usize, column: usize) -> *const T {
        let [row_step, column_step] = self.steps;
        self.data.wrapping_offset(row as isize * row_step + column as isize * column_step).cast()
    }

    fn gather<T>(&self, read: impl Fn(*const T) -> f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.rows * self.columns);
        for row in 0..self.rows {
            values.extend((0..self.columns).map(|column| read(self.place(row, column))));
        }
        values
    }

    /// Fails where a finite f64 became infinite; a number that was not finite is the codec's to refuse.
    fn check_range(&self, values: &[f32]) -> Result<()> {
        for at in (0..values.len()).filter(|&at| values[at].is_infinite()) {
            let (row, column) = (at / self.columns, at % self.columns);
            // SAFETY: row and column are inside.
            let wide = unsafe { self.place::<f64>(row, column).read_unaligned() };
            if wide.is_finite() {
                bail!("row {row}, column {column} is {wide:e}, beyond the range of f32");
            }
        }
        Ok(())
    }
}

/// The matrices of a call, and what keeps their memory.
pub(crate) struct MatrixList<'py> {
    /// To be used while this list lives.
    pub views: Vec<SourceMatrix>,
    /// One array, and not a list of them.
    pub is_single: bool,
    _owners: Vec<Bound<'py, PyAny>>,
}

impl<'py> MatrixList<'py> {
    /// Reads an array, a tensor, or a list or tuple of them.
    pub fn read(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let is_single = !(object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>());
        let (mut views, mut owners) = (Vec::new(), Vec::new());
        let mut push = |object: &Bound<'py, PyAny>| -> PyResult<()> {
            let (view, owner) = read_matrix(object)?;
            views.push(view);
            owners.push(owner);
            Ok(())
        };
        match is_single {
            true => push(object)?,
            false => {
                for (nth, item) in object.try_iter()?.enumerate() {
                    push(&item?).map_err(|error| located(object.py(), error, nth))?;
                }
            }
        }
        Ok(Self { views, is_single, _owners: owners })
    }
}

/// The same error, with which array of a list it is about.
fn located(py: Python<'_>, error: PyErr, nth: usize) -> PyErr {
    if error.is_instance_of::<PyTypeError>(py) {
        return PyTypeError::new_err(format!("array {nth} of the list: {}", error.value(py)));
    }
    PyValueError::new_err(format!("array {nth} of the list: {}", error.value(py)))
}

fn read_matrix<'py>(object: &Bound<'py, PyAny>) -> PyResult<(SourceMatrix, Bound<'py, PyAny>)> {
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        let descr = array.dtype();
        if descr.is_native_byteorder() == Some(false) {
            let native = descr.call_method1("newbyteorder", ("=",))?;
            return read_matrix(&array.call_method1("astype", (native,))?);
        }
        let number = match (descr.kind(), descr.itemsize()) {
            (b'f', 2) => MatrixNumber::F16,
            (b'f', 4) => MatrixNumber::F32,
            (b'f', 8) => MatrixNumber::F64,
            // Of ml_dtypes, which NumPy knows as a type of somebody else.
            (_, 2) if descr.typeobj().name()? == "bfloat16" => MatrixNumber::Bf16,
            _ => return Err(MatrixNumber::unknown(&descr.to_string())),
        };
        // SAFETY: an array's struct lives as long as the array.
        let data = unsafe { (*array.as_array_ptr()).fields.data }.cast::<u8>().cast_const();
        let view = SourceMatrix::new(data, number, array.shape(), array.strides())?;
        return Ok((view, object.clone()));
    }
    if object.hasattr("__dlpack__")? {
        return dlpack::read(object);
    }
    let kind = object.get_type();
    Err(PyTypeError::new_err(format!("expected a 2-D NumPy array or tensor, or a list of them, got {kind}")))
}
