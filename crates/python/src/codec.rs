//! `encode`, `decode`, `round_trip`, and the codec that stays.

use std::mem::{ManuallyDrop, take};

use anyhow::{Result, bail, ensure};
use numpy::PyArray2;
use numpy::ndarray::ArrayView2;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyList, PyMemoryView, PyTuple};
use splitbench_codec::{
    Accounting, Activation, Budget, Codec, CodecSpec, Delivery, EXTERNAL, Packet, RoundTrip, build,
    decode as decode_packet, round_trip as trip,
};

use crate::calibration::choose;
use crate::matrix::{MatrixList, SourceMatrix};
use crate::report::TripReport;
use crate::{value_error, workers};

/// A codec that is built once: it keeps its options, what it learned, and the program of `external`.
///
/// Args:
///     codec: name with options, such as "fc:band=centered" (`codecs()`).
///     ratio: how many times smaller, at least 1; ignored by a codec of fixed rate.
///     accounting: what the ratio counts, numbers ("elements") or bytes of the packet ("wire").
///     calibration: what it learns from, a `Calibration` or rows (n x D), for codecs that learn.
///
/// Raises:
///     ValueError: unknown codec or option, a ratio below 1, or a calibration that is missing or not used.
#[pyclass(name = "Codec", module = "splitbench", frozen)]
pub(crate) struct PythonCodec {
    built: ManuallyDrop<Box<dyn Codec>>,
    budget: Budget,
    /// The process whose pipes an external codec has.
    process: u32,
}

impl Drop for PythonCodec {
    fn drop(&mut self) {
        // A forked process must not end the programs of its parent.
        if self.process == std::process::id() {
            // SAFETY: it is dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.built) };
        }
    }
}

#[pymethods]
impl PythonCodec {
    #[new]
    #[pyo3(signature = (codec, *, ratio=8.0, accounting="elements", calibration=None))]
    fn new(
        py: Python<'_>,
        codec: &str,
        ratio: f64,
        accounting: &str,
        calibration: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let spec = CodecSpec::parse(codec).map_err(value_error)?;
        let accounting: Accounting = accounting.parse().map_err(value_error)?;
        let budget = Budget::new(ratio, accounting).map_err(value_error)?;
        let calibration = choose(py, &spec, calibration)?;
        // Some codecs learn from a calibration when they are built, for seconds.
        let built = match &calibration {
            Some(calibration) => py.detach(|| build(&spec, Some(calibration))),
            None => build(&spec, None),
        };
        let built = ManuallyDrop::new(built.map_err(value_error)?);
        Ok(Self { built, budget, process: std::process::id() })
    }

    /// The name with its options, in the canonical form.
    #[getter]
    fn codec(&self) -> String {
        self.built.spec().to_string()
    }

    /// Compression ratio asked for.
    #[getter]
    fn ratio(&self) -> f64 {
        self.budget.ratio
    }

    /// What the ratio counts: `elements` or `wire`.
    #[getter]
    fn accounting(&self) -> String {
        self.budget.accounting.to_string()
    }

    /// Encodes an array (S tokens x D channels), or a list of them, one per request, side by side.
    ///
    /// Returns the bytes of the packet, or a list. Raises ValueError for another shape or type and values that are not finite.
    fn encode<'py>(&self, py: Python<'py>, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let matrices = MatrixList::read(array)?;
        let encode = |matrix: &SourceMatrix| {
            let activation = matrix.activation()?;
            self.built.encode(&activation, Some(self.budget))
        };
        let packets = self.run(py, &matrices.views, matrices.is_single, encode)?;
        let packets = packets.iter().map(|packet| PyBytes::new(py, packet.as_bytes()));
        collect(py, packets.map(Ok), matrices.is_single)
    }

    /// Decodes the bytes of a packet, or a list of them, one per request, side by side.
    ///
    /// Returns an S x D array of float32, or a list. Raises ValueError for bytes that are not a packet of this codec.
    fn decode<'py>(&self, py: Python<'py>, packet: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (packets, is_single) = read_packets(packet)?;
        let received =
            self.run(py, &packets, is_single, |bytes| self.built.decode(&Packet::from_bytes(bytes.clone())?))?;
        collect(py, received.into_iter().map(|received| to_array(py, received)), is_single)
    }

    /// Sends an array, or each of a list, through the codec and back.
    ///
    /// Returns what arrives, S x D in float32, and a Report; or a list of such pairs. Times of a list are of threads side by side.
    /// Raises ValueError as encode and decode do.
    fn round_trip<'py>(&self, py: Python<'py>, array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let matrices = MatrixList::read(array)?;
        let send = |matrix: &SourceMatrix| {
            let activation = matrix.activation()?;
            let RoundTrip { packet, received, encode, decode } =
                trip(self.built.as_ref(), &activation, Some(self.budget))?;
            let (spec, times) = (self.built.spec(), [encode, decode]);
            let Delivery::Activation(received) = received else {
                bail!("codec {spec} gives back token ids, no array");
            };
            let report = TripReport::new(spec, self.budget, &activation, &packet, &received, times);
            Ok((received, report))
        };
        let trips = self.run(py, &matrices.views, matrices.is_single, send)?;
        let pairs = trips.into_iter().map(|(received, report)| (to_array(py, received)?, report).into_pyobject(py));
        collect(py, pairs, matrices.is_single)
    }

    fn __repr__(&self) -> String {
        let (spec, budget) = (self.built.spec().to_string(), self.budget);
        format!("Codec({spec:?}, ratio={}, accounting={:?})", budget.ratio, budget.accounting.to_string())
    }
}

impl PythonCodec {
    /// Calls for each item with the interpreter detached; several items side by side.
    fn run<T: Sync, R: Send>(
        &self,
        py: Python<'_>,
        items: &[T],
        is_single: bool,
        call: impl Fn(&T) -> Result<R> + Sync + Send,
    ) -> PyResult<Vec<R>> {
        if self.built.spec().name() == EXTERNAL && self.process != std::process::id() {
            let error = "the programs of this codec belong to the process before the fork: make a new Codec";
            return Err(PyValueError::new_err(error));
        }
        run(py, items, is_single, call)
    }
}

fn run<T: Sync, R: Send>(
    py: Python<'_>,
    items: &[T],
    is_single: bool,
    call: impl Fn(&T) -> Result<R> + Sync + Send,
) -> PyResult<Vec<R>> {
    let pool = if is_single || items.len() < 2 { None } else { Some(workers::pool().map_err(value_error)?) };
    py.detach(|| workers::map(pool.as_deref(), items, call)).map_err(value_error)
}

/// The one result, or all as a list.
fn collect<'py, T>(
    py: Python<'py>,
    results: impl Iterator<Item = PyResult<Bound<'py, T>>>,
    is_single: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut results = results.map(|result| result.map(Bound::into_any));
    match (is_single, results.next()) {
        (true, Some(result)) => result,
        (_, first) => {
            let all = first.into_iter().chain(results).collect::<PyResult<Vec<_>>>()?;
            Ok(PyList::new(py, all)?.into_any())
        }
    }
}

/// Memory of an array that came back: when Python is done with it, it serves the thread's next one.
#[pyclass(frozen)]
struct ReceivedValues {
    tokens: usize,
    hidden: usize,
    values: Vec<f32>,
}

impl Drop for ReceivedValues {
    fn drop(&mut self) {
        drop(Activation::new(self.tokens, self.hidden, take(&mut self.values)));
    }
}

/// The values as an S x D array of f32, without a copy.
fn to_array(py: Python<'_>, received: Activation) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let (tokens, hidden) = (received.tokens(), received.hidden());
    let mut values = received.into_values();
    let pointer = values.as_mut_ptr();
    let owner = Bound::new(py, ReceivedValues { tokens, hidden, values })?.into_any();
    // SAFETY: the owner holds tokens * hidden values at the pointer and nothing else uses them; the array holds the owner.
    Ok(unsafe { PyArray2::borrow_from_array(&ArrayView2::from_shape_ptr((tokens, hidden), pointer), owner) })
}

/// Bytes of one packet or of a list of them.
fn read_packets(object: &Bound<'_, PyAny>) -> PyResult<(Vec<Vec<u8>>, bool)> {
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let packets = object.try_iter()?.map(|item| read_packet(&item?)).collect::<PyResult<_>>()?;
        return Ok((packets, false));
    }
    Ok((vec![read_packet(object)?], true))
}

fn read_packet(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = object.cast::<PyByteArray>() {
        return Ok(bytes.to_vec());
    }
    if object.is_instance_of::<PyMemoryView>() {
        return object.call_method0("tobytes")?.extract();
    }
    let kind = object.get_type();
    Err(PyTypeError::new_err(format!("expected the bytes of a packet, or a list of them, got {kind}")))
}

/// Encodes an array (S tokens x D channels), or a list of them, one per request, side by side.
///
/// Args:
///     array: float16, bfloat16 (ml_dtypes, torch), float32 or float64 in any layout, NumPy's or a tensor in the processor's
///         memory; float32 in C order is read in place, others are converted to float32. Do not write to it meanwhile.
///     codec: name with options, such as "fc:band=centered" (`codecs()`).
///     ratio: how many times smaller, at least 1; ignored by a codec of fixed rate.
///     accounting: what the ratio counts, numbers ("elements") or bytes of the packet ("wire").
///     calibration: what the codec learns from, a `Calibration` or rows (n x D), for codecs that learn.
///
/// Returns:
///     The bytes of the packet, or a list of them; those that `splitbench codec --packet` writes.
///
/// Raises:
///     ValueError: whatever the command line refuses, in its words.
#[pyfunction]
#[pyo3(signature = (array, codec, *, ratio=8.0, accounting="elements", calibration=None))]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    array: &Bound<'py, PyAny>,
    codec: &str,
    ratio: f64,
    accounting: &str,
    calibration: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    PythonCodec::new(py, codec, ratio, accounting, calibration)?.encode(py, array)
}

/// Decodes the bytes of a packet, or a list of them, one per request, side by side.
///
/// Args:
///     packet: what `encode` gave.
///     codec: needed for `external` and for codecs whose two sides share a calibration; checked where it is given.
///     calibration: what the encoder had, for those codecs.
///
/// Returns:
///     An S x D array of float32, or a list of them.
///
/// Raises:
///     ValueError: the bytes are not a packet, or its numbers make no sense.
#[pyfunction]
#[pyo3(signature = (packet, codec=None, *, calibration=None))]
pub(crate) fn decode<'py>(
    py: Python<'py>,
    packet: &Bound<'py, PyAny>,
    codec: Option<&str>,
    calibration: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let spec = codec.map(CodecSpec::parse).transpose().map_err(value_error)?;
    let learned = match &spec {
        // Most calibrated codecs would ask for rows that their packets are read without; the others say so.
        Some(spec) if calibration.is_some() || spec.calibration().is_none() => choose(py, spec, calibration)?,
        _ => None,
    };
    let (packets, is_single) = read_packets(packet)?;
    let built = match &spec {
        Some(spec) if learned.is_some() || spec.calibration().is_none() => {
            Some(py.detach(|| build(spec, learned.as_deref())).map_err(value_error)?)
        }
        _ => None,
    };
    let receive = |bytes: &Vec<u8>| {
        let packet = Packet::from_bytes(bytes.clone())?;
        if let Some(spec) = &spec {
            ensure!(packet.codec() == spec.name(), "codec {spec}: the packet is of {}", packet.codec());
        }
        built.as_ref().map_or_else(|| decode_packet(&packet), |codec| codec.decode(&packet))
    };
    let received = run(py, &packets, is_single, receive)?;
    collect(py, received.into_iter().map(|received| to_array(py, received)), is_single)
}

/// Sends an array, or each of a list, through a codec and back; arguments as of `encode`.
///
/// Returns:
///     What arrives, S x D in float32, and a `Report` with bytes, ratios, error and times; or a list of such pairs.
///
/// Raises:
///     ValueError: as `encode` and `decode`.
#[pyfunction]
#[pyo3(signature = (array, codec, *, ratio=8.0, accounting="elements", calibration=None))]
pub(crate) fn round_trip<'py>(
    py: Python<'py>,
    array: &Bound<'py, PyAny>,
    codec: &str,
    ratio: f64,
    accounting: &str,
    calibration: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    PythonCodec::new(py, codec, ratio, accounting, calibration)?.round_trip(py, array)
}
