//! DLPack: the exchange of tensors between frameworks in one process, by which torch's bf16 comes too.
//! The structs are those of dlpack.h, <https://dmlc.github.io/dlpack/latest/c_api.html>.

use std::ffi::c_void;
use std::ops::RangeInclusive;
use std::slice;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyCapsuleMethods};

use crate::matrix::{MatrixNumber, SourceMatrix};

/// `kDLCPU` to `kDLCUDAHost` without `kDLCUDA`: memory that the processor reads.
const HOST: [i32; 2] = [1, 3];

/// More dimensions than any tensor has: a number outside is not a tensor's.
const DIMENSIONS: RangeInclusive<i32> = 0..=64;

#[repr(C)]
struct DlDevice {
    kind: i32,
    index: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct DlType {
    code: u8,
    bits: u8,
    lanes: u16,
}

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: DlDevice,
    dimensions: i32,
    number: DlType,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

/// Reads a tensor that offers `__dlpack__`. The capsule owns the memory: the view is valid while it is held.
pub(crate) fn read<'py>(tensor: &Bound<'py, PyAny>) -> PyResult<(SourceMatrix, Bound<'py, PyAny>)> {
    // Asked first: a tensor on a GPU may refuse, or wait for its stream.
    let (kind, _): (i32, i32) = tensor.call_method0("__dlpack_device__")?.extract()?;
    if !HOST.contains(&kind) {
        return Err(PyValueError::new_err("the tensor is not in the processor's memory: give tensor.cpu()"));
    }
    let capsule = tensor.call_method0("__dlpack__").map_err(|error| {
        let tensor = tensor.get_type();
        PyValueError::new_err(format!("this {tensor} gives no DLPack capsule ({error}): give tensor.detach()"))
    })?;
    let pointer = capsule.cast::<PyCapsule>()?.pointer_checked(Some(c"dltensor"))?;
    // SAFETY: a capsule of this name points to a DLManagedTensor, which begins with a DLTensor and lives as long as it.
    let tensor = unsafe { pointer.cast::<DlTensor>().as_ref() };
    let number = match (tensor.number.code, tensor.number.bits, tensor.number.lanes) {
        (2, 16, 1) => MatrixNumber::F16,
        (2, 32, 1) => MatrixNumber::F32,
        (2, 64, 1) => MatrixNumber::F64,
        (4, 16, 1) => MatrixNumber::Bf16,
        (code, bits, _) => {
            return Err(MatrixNumber::unknown(&format!("type {code} of DLPack with {bits} bits")));
        }
    };
    if !DIMENSIONS.contains(&tensor.dimensions) {
        return Err(PyValueError::new_err(format!("a tensor of {} dimensions", tensor.dimensions)));
    }
    let dimensions = tensor.dimensions as usize;
    let lengths = |pointer: *const i64| match pointer.is_null() || dimensions == 0 {
        true => None,
        // SAFETY: both arrays have an entry per dimension.
        false => Some(unsafe { slice::from_raw_parts(pointer, dimensions) }),
    };
    let shape: Vec<usize> = lengths(tensor.shape).unwrap_or_default().iter().map(|&side| side as usize).collect();
    let bytes = number.bytes() as isize;
    // In numbers here, in bytes in NumPy; none where the tensor is compact and row-major.
    let steps = match lengths(tensor.strides) {
        Some(strides) => strides.iter().map(|&step| step as isize * bytes).collect(),
        None => vec![shape.last().map_or(0, |&columns| columns as isize * bytes), bytes],
    };
    let data = tensor.data.cast::<u8>().cast_const().wrapping_add(tensor.byte_offset as usize);
    Ok((SourceMatrix::new(data, number, &shape, &steps)?, capsule))
}
