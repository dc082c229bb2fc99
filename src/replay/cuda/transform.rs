//! One shape's transform on a GPU: plans, tables and buffers, and both directions.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use cudarc::cufft::result::exec_c2c;
use cudarc::cufft::sys::{cufftType, float2};
use cudarc::cufft::{CudaFft, FftDirection};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg};

use super::device::Gpu;
use super::layout::{Layout, MOST_FUSED, roots};
use splitbench_codec::Shape;
use splitbench_codec::kernel::{Block, normalisation};

/// Threads of a block.
const THREADS: u32 = 256;

/// How the transform is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Rows to half-spectra, the kept columns, the block; and back.
    Cufft,
    /// One launch forward, two back.
    Fused,
}

/// A transform made ready.
pub(super) struct Transform<'a> {
    gpu: &'a Gpu,
    layout: Layout,
    /// A, or A'.
    values: CudaSlice<f32>,
    /// The block.
    kept: CudaSlice<float2>,
    frequency: CudaSlice<i32>,
    steps: Steps,
}

/// What only one kind has.
enum Steps {
    Cufft {
        rows_forward: CudaFft,
        columns: CudaFft,
        rows_inverse: CudaFft,
        /// S half-spectra of D / 2 + 1.
        spectrum: CudaSlice<float2>,
        place: CudaSlice<i32>,
    },
    Fused {
        /// K_S rows of D.
        rows: CudaSlice<float2>,
        mirror: CudaSlice<i32>,
        factors: CudaSlice<i32>,
        token_roots: CudaSlice<float2>,
        hidden_roots: CudaSlice<float2>,
    },
}

impl Gpu {
    /// Fails where less than `bytes` of the GPU's memory are free.
    pub fn ensure_room(&self, bytes: usize) -> Result<()> {
        let (free, total) = self.context.mem_get_info().context("asking for the GPU's free memory")?;
        ensure!(
            bytes <= free,
            "out of GPU memory: {} MB are needed, {} MB of {} MB are free; stop what else uses the GPU, or replay shorter \
             sequences",
            bytes >> 20,
            free >> 20,
            total >> 20
        );
        Ok(())
    }

    fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        self.stream.clone_htod(values).context("copying to the GPU")
    }
}

fn complex(pairs: &[f32]) -> Vec<float2> {
    pairs.as_chunks().0.iter().map(|&[x, y]| float2 { x, y }).collect()
}

/// Plans a batch of transforms along the hidden axis.
fn rows(kind: cufftType, (tokens, hidden): (i32, i32), stream: &Arc<CudaStream>) -> Result<CudaFft> {
    let half = hidden / 2 + 1;
    let (from, to) = if kind == cufftType::CUFFT_R2C { (hidden, half) } else { (half, hidden) };
    let plan = CudaFft::plan_many(&[hidden], Some(&[from]), 1, from, Some(&[to]), 1, to, kind, tokens, stream.clone());
    plan.with_context(|| format!("planning {tokens} cuFFT rows of {hidden}"))
}

impl<'a> Transform<'a> {
    /// Makes plans and buffers. Fails where the shape is beyond the kernel or the GPU's memory.
    pub fn new(gpu: &'a Gpu, kind: Kind, layout: Layout) -> Result<Self> {
        let ((tokens, hidden), Block { ks, kd }) = (layout.shape, layout.block);
        let half = hidden / 2 + 1;
        let scratch = if kind == Kind::Cufft { tokens * half } else { ks * hidden };
        // cuFFT may take as much again for itself.
        gpu.ensure_room(4 * tokens * hidden + 8 * ks * kd + 16 * scratch)?;
        let stream = &gpu.stream;
        let steps = match kind {
            Kind::Cufft => {
                let (s, h) = (tokens as i32, half as i32);
                let sides = (s, hidden as i32);
                // Columns beyond the kept ones, and beyond the middle, are zero or mirrors.
                let columns = kd.min(half) as i32;
                let plan = CudaFft::plan_many(
                    &[s],
                    Some(&[s]),
                    h,
                    1,
                    Some(&[s]),
                    h,
                    1,
                    cufftType::CUFFT_C2C,
                    columns,
                    stream.clone(),
                );
                Steps::Cufft {
                    rows_forward: rows(cufftType::CUFFT_R2C, sides, stream)?,
                    columns: plan.with_context(|| format!("planning {columns} cuFFT columns of {tokens}"))?,
                    rows_inverse: rows(cufftType::CUFFT_C2R, sides, stream)?,
                    spectrum: stream.alloc_zeros(tokens * half).context("GPU memory for the spectrum")?,
                    place: gpu.upload(&layout.place)?,
                }
            }
            Kind::Fused => {
                ensure!(hidden <= MOST_FUSED, "D is {hidden}: the fused kernel's shared memory takes 1..={MOST_FUSED}");
                // D of 1 has no factors; a table must have something.
                let factors = if layout.factors.is_empty() { &[1][..] } else { &layout.factors };
                Steps::Fused {
                    rows: stream.alloc_zeros(ks * hidden).context("GPU memory for the rows")?,
                    mirror: gpu.upload(&layout.mirror)?,
                    factors: gpu.upload(factors)?,
                    token_roots: gpu.upload(&complex(&roots(tokens)))?,
                    hidden_roots: gpu.upload(&complex(&roots(hidden)))?,
                }
            }
        };
        let values = stream.alloc_zeros(tokens * hidden).context("GPU memory for the activation")?;
        let kept = stream.alloc_zeros(ks * kd).context("GPU memory for the block")?;
        Ok(Self { gpu, values, kept, frequency: gpu.upload(&layout.frequency)?, steps, layout })
    }

    /// Copies A to the GPU.
    pub fn put_values(&mut self, values: &[f32]) -> Result<()> {
        self.gpu.stream.memcpy_htod(values, &mut self.values).context("copying the activation to the GPU")
    }

    /// Copies the block to the GPU.
    pub fn put_block(&mut self, kept: &[float2]) -> Result<()> {
        self.gpu.stream.memcpy_htod(kept, &mut self.kept).context("copying the block to the GPU")
    }

    /// Copies the block from the GPU, when it is done.
    pub fn block(&self) -> Result<Vec<float2>> {
        let kept = self.gpu.stream.clone_dtoh(&self.kept).context("copying the block from the GPU")?;
        self.wait()?;
        Ok(kept)
    }

    /// Copies A' from the GPU, when it is done.
    pub fn values(&self) -> Result<Vec<f32>> {
        let values = self.gpu.stream.clone_dtoh(&self.values).context("copying the activation from the GPU")?;
        self.wait()?;
        Ok(values)
    }

    /// Waits until all is done.
    pub fn wait(&self) -> Result<()> {
        self.gpu.stream.synchronize().context("waiting for the GPU")
    }

    /// A to the block, both on the GPU.
    pub fn forward(&mut self) -> Result<()> {
        let Self { gpu, layout, values, kept, frequency, steps } = self;
        let ((tokens, hidden), Block { ks, kd }) = (layout.shape, layout.block);
        let [s, d, columns] = [tokens, hidden, kd].map(|n| n as i32);
        match steps {
            Steps::Cufft { rows_forward, columns: along_tokens, spectrum, .. } => {
                rows_forward.exec_r2c(values, spectrum).context("cuFFT rows")?;
                in_place(along_tokens, spectrum, FftDirection::Forward, &gpu.stream)?;
                let mut args = gpu.stream.launch_builder(&gpu.kernels.pack);
                args.arg(&*spectrum).arg(kept).arg(&s).arg(&d).arg(&columns).arg(&*frequency);
                // SAFETY: the arguments are those of the kernel, the buffers of the sides it is told.
                unsafe { args.launch(grid(kd, ks)) }.context("the kernel pack")?;
            }
            Steps::Fused { factors, token_roots, hidden_roots, .. } => {
                let count = layout.factors.len() as i32;
                let mut args = gpu.stream.launch_builder(&gpu.kernels.fused_forward);
                args.arg(&*values).arg(kept).arg(&s).arg(&d).arg(&columns).arg(&*frequency);
                args.arg(&*token_roots).arg(&*hidden_roots).arg(&*factors).arg(&count);
                // SAFETY: as above; the shared memory is two rows.
                unsafe { args.launch(a_row_each(ks, hidden)) }.context("the kernel fused_forward")?;
            }
        }
        Ok(())
    }

    /// The block to A', both on the GPU.
    pub fn inverse(&mut self) -> Result<()> {
        let Self { gpu, layout, values, kept, frequency, steps } = self;
        let ((tokens, hidden), Block { ks, kd }) = (layout.shape, layout.block);
        let [s, d, columns, rows_kept] = [tokens, hidden, kd, ks].map(|n| n as i32);
        let norm = normalisation(Shape { tokens, hidden }) as f32;
        match steps {
            Steps::Cufft { columns: along_tokens, rows_inverse, spectrum, place, .. } => {
                let mut args = gpu.stream.launch_builder(&gpu.kernels.unpack);
                args.arg(&*kept).arg(&mut *spectrum).arg(&s).arg(&d).arg(&columns).arg(&*place);
                args.arg(&layout.single).arg(&norm);
                // SAFETY: the arguments are those of the kernel, the buffers of the sides it is told.
                unsafe { args.launch(grid(hidden / 2 + 1, tokens)) }.context("the kernel unpack")?;
                in_place(along_tokens, spectrum, FftDirection::Inverse, &gpu.stream)?;
                rows_inverse.exec_c2r(spectrum, values).context("cuFFT rows back")?;
            }
            Steps::Fused { rows, mirror, factors, token_roots, hidden_roots } => {
                let count = layout.factors.len() as i32;
                let mut args = gpu.stream.launch_builder(&gpu.kernels.fused_rows);
                args.arg(&*kept).arg(&mut *rows).arg(&d).arg(&columns).arg(&*mirror).arg(&layout.alone);
                args.arg(&*hidden_roots).arg(&*factors).arg(&count);
                // SAFETY: as above; the shared memory is two rows.
                unsafe { args.launch(a_row_each(ks, hidden)) }.context("the kernel fused_rows")?;
                let mut args = gpu.stream.launch_builder(&gpu.kernels.fused_tokens);
                args.arg(&*rows)
                    .arg(values)
                    .arg(&s)
                    .arg(&d)
                    .arg(&rows_kept)
                    .arg(&*frequency)
                    .arg(&*token_roots)
                    .arg(&norm);
                // SAFETY: as above.
                unsafe { args.launch(grid(hidden, tokens)) }.context("the kernel fused_tokens")?;
            }
        }
        Ok(())
    }
}

/// Strided transforms in place, which the safe call's two borrows do not allow.
fn in_place(plan: &CudaFft, spectrum: &mut CudaSlice<float2>, way: FftDirection, stream: &CudaStream) -> Result<()> {
    let (pointer, _kept) = spectrum.device_ptr_mut(stream);
    let pointer = pointer as *mut float2;
    // SAFETY: the plan was made for a buffer of this size and this layout on both sides.
    unsafe { exec_c2c(plan.handle(), pointer, pointer, way as i32) }.context("cuFFT columns")
}

/// A thread for each of `width` numbers, and a line of blocks for each of `height`.
fn grid(width: usize, height: usize) -> LaunchConfig {
    let across = (width as u32).div_ceil(THREADS);
    LaunchConfig { grid_dim: (across, height as u32, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
}

/// A block for each of `rows`, with two buffers of `length` complex numbers.
fn a_row_each(rows: usize, length: usize) -> LaunchConfig {
    LaunchConfig { grid_dim: (rows as u32, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 16 * length as u32 }
}
