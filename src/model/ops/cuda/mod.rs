//! The decoder's kernels on an NVIDIA GPU: attention and rotation of packed rows, and what rows of logits come to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaView, DeviceRepr, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaDevice, WrapErr};
use candle_core::{CudaStorage, DType, Error, Layout, Result, Shape, Storage, Tensor, bail};

use super::Heads;
use crate::model::Divergence;
use crate::model::packing::Packing;
use crate::model::rope::RopeTable;

const SOURCE: &str = include_str!("kernels.cu");

/// Threads of a block: of attention, whose threads keep much in registers, and of the others.
const FEW: u32 = 64;
const MANY: u32 = 256;

/// One of the kernels for heads of `dim` channels, compiled when first asked for.
fn kernel(device: &CudaDevice, name: &str, dim: usize) -> Result<CudaFunction> {
    static COMPILED: Mutex<Option<HashMap<usize, String>>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let compiled = compiled.get_or_insert_default();
    if let Entry::Vacant(place) = compiled.entry(dim) {
        let options = CompileOptions { options: vec![format!("-DDIM={dim}")], ..Default::default() };
        let ptx = compile_ptx_with_opts(SOURCE, options).map_err(|error| match error {
            CompileError::CompileError { log, .. } => {
                Error::msg(format!("compiling the decoder's CUDA kernels: {}", log.to_string_lossy()))
            }
            other => Error::msg(format!("compiling the decoder's CUDA kernels: {other}")),
        })?;
        place.insert(ptx.to_src());
    }
    Ok(device.get_or_load_custom_func(name, &format!("splitbench-{dim}"), &compiled[&dim])?.into_cuda_function())
}

/// The values of a contiguous storage.
fn view<'a, T: CudaDType + DeviceRepr>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<T>()?.slice(start..end)),
        None => bail!("expected a contiguous tensor, got strides {:?}", layout.stride()),
    }
}

/// Runs `f` on the storage of a tensor on the GPU.
fn with_storage<R>(tensor: &Tensor, f: impl FnOnce(&CudaStorage, &Layout) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => f(storage, layout),
        _ => bail!("expected a tensor on the GPU"),
    }
}

fn blocks(threads: usize, of: u32) -> u32 {
    threads.div_ceil(of as usize) as u32
}

/// See [`super::rotary`]; `sign` -1 turns back.
pub(super) fn rotate(
    x: &CudaStorage,
    layout: &Layout,
    packing: &Packing,
    table: &RopeTable,
    sign: f32,
) -> Result<(CudaStorage, Shape)> {
    let device = x.device.clone();
    let (rows, width) = layout.shape().dims2()?;
    let dim = 2 * table.frequencies;
    let function = kernel(&device, "rotate", dim)?;
    let mut out = unsafe { device.alloc::<f32>(rows * width)? };
    let on = candle_core::Device::Cuda(device.clone());
    let (cosines, sines) = table.on(&on)?;
    with_storage(&packing.on(&on)?, |spans, at| {
        let (x, spans) = (view::<f32>(x, layout)?, view::<u32>(spans, at)?);
        with_storage(&cosines, |cosines, at| {
            let cosines = view::<f32>(cosines, at)?;
            with_storage(&sines, |sines, at| {
                let sines = view::<f32>(sines, at)?;
                let (many, heads) = (rows as i32, (width / dim) as i32);
                let stream = device.cuda_stream();
                let mut arguments = stream.launch_builder(&function);
                arguments.arg(&x).arg(&mut out).arg(&spans).arg(&cosines).arg(&sines).arg(&sign).arg(&many).arg(&heads);
                let grid = (blocks(rows * width / 2, MANY), 1, 1);
                let launch = LaunchConfig { grid_dim: grid, block_dim: (MANY, 1, 1), shared_mem_bytes: 0 };
                // SAFETY: the arguments are those of `rotate`, which stays inside rows x width and the positions of the table.
                unsafe { arguments.launch(launch) }.w().map(|_| ())
            })
        })
    })?;
    Ok((CudaStorage::wrap_cuda_slice(out, device), layout.shape().clone()))
}

/// See [`super::causal_attention`].
pub(super) fn attend(
    [q, k, v]: [(&CudaStorage, &Layout); 3],
    packing: &Packing,
    heads: Heads,
) -> Result<(CudaStorage, Shape)> {
    let device = q.0.device.clone();
    let rows = packing.rows();
    let function = kernel(&device, "attend", heads.dim)?;
    let mut out = unsafe { device.alloc::<f32>(rows * heads.query * heads.dim)? };
    with_storage(&packing.on(&candle_core::Device::Cuda(device.clone()))?, |spans, at| {
        let spans = view::<u32>(spans, at)?;
        let shape = q.1.shape().clone();
        let (q, k, v) = (view::<f32>(q.0, q.1)?, view::<f32>(k.0, k.1)?, view::<f32>(v.0, v.1)?);
        let (scale, many, query, group) = (heads.scale(), rows as i32, heads.query as i32, heads.group() as i32);
        let stream = device.cuda_stream();
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&q).arg(&k).arg(&v).arg(&mut out).arg(&spans).arg(&scale).arg(&many).arg(&query).arg(&group);
        let grid = (blocks(rows, FEW), heads.query as u32, 1);
        let launch = LaunchConfig { grid_dim: grid, block_dim: (FEW, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of `attend`; a packing's spans name its own rows.
        unsafe { arguments.launch(launch) }.w()?;
        Ok(shape)
    })
    .map(|shape| (CudaStorage::wrap_cuda_slice(out, device), shape))
}

/// What one row of logits comes to.
pub(in crate::model) struct LogitRow {
    /// ln of the sum of e^logit.
    pub ln_sum: f64,
    /// From the row of the unsplit model; nothing is said without one.
    pub divergence: Divergence,
}

/// Rows of logits on the GPU (rows x vocabulary); with the unsplit model's (any rows x vocabulary) and for each row the one of them
/// that it is compared with.
pub(in crate::model) fn score_rows(logits: &Tensor, unsplit: Option<(&Tensor, &[u32])>) -> Result<Vec<LogitRow>> {
    let (rows, vocabulary) = logits.dims2()?;
    let logits = logits.contiguous()?;
    let (other, belongs) = unsplit.map_or_else(|| (logits.clone(), vec![0; rows]), |(p, of)| (p.clone(), of.to_vec()));
    let other = other.contiguous()?;
    if let Some(row) = belongs.iter().find(|row| **row as usize >= other.dims()[0]) {
        bail!("row {row} of {} is compared with", other.dims()[0]);
    }
    let belongs = Tensor::from_vec(belongs, rows, logits.device())?;
    let out = with_storage(&logits, |q, q_at| {
        let device = q.device.clone();
        // Of one dimension whatever the heads are.
        let function = kernel(&device, "score_rows", 4)?;
        let mut out = device.alloc_zeros::<f64>(rows * 4)?;
        with_storage(&other, |p, p_at| {
            with_storage(&belongs, |belongs, at| {
                let (q, p) = (view::<f32>(q, q_at)?, view::<f32>(p, p_at)?);
                let (belongs, many, compare) =
                    (view::<u32>(belongs, at)?, vocabulary as i32, i32::from(unsplit.is_some()));
                let stream = device.cuda_stream();
                let mut arguments = stream.launch_builder(&function);
                arguments.arg(&q).arg(&p).arg(&belongs).arg(&mut out).arg(&many).arg(&compare);
                let launch =
                    LaunchConfig { grid_dim: (rows as u32, 1, 1), block_dim: (MANY, 1, 1), shared_mem_bytes: 8 * MANY };
                // SAFETY: the arguments are those of `score_rows`; each row of `belongs` is one of `other`.
                unsafe { arguments.launch(launch) }.w().map(|_| ())
            })
        })?;
        device.clone_dtoh(&out)
    })?;
    let row = |&[ln_sum, kl, acceptance, same]: &[f64; 4]| LogitRow {
        ln_sum,
        divergence: Divergence { kl, same_top: same == 1.0, acceptance },
    };
    Ok(out.as_chunks().0.iter().map(row).collect())
}

/// Single values of a tensor on the GPU, by their places in row-major order.
pub(in crate::model) fn values_at(tensor: &Tensor, places: Vec<u32>) -> Result<Vec<f32>> {
    let count = places.len();
    let places = Tensor::from_vec(places, count, tensor.device())?;
    tensor.flatten_all()?.index_select(&places, 0)?.to_dtype(DType::F32)?.to_vec1()
}
