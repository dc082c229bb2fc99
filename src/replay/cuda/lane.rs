//! The ways to run the transform on a GPU: by which kernel, and with or without the copies.

use std::collections::HashMap;

use anyhow::Result;

use super::device::Gpu;
use super::layout::Layout;
use super::transform::{Transform, TransformKind};
use crate::clock::{median, timed, wall_seconds};
use crate::replay::backend::{CallTimes, Lane, OpenedLane};
use crate::replay::method::ReplayMethod;
use splitbench_codec::kernel::Band;
use splitbench_codec::{self as codec, Activation};

/// Timed calls of each direction after one that is not counted.
const CALLS: usize = 5;

/// Which kernel runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum KernelChoice {
    This(TransformKind),
    /// The one that is faster at the shape.
    Faster,
}

/// A lane for each kernel and for the faster of both, each with and without copies.
pub(super) fn lanes<'a>(gpu: &'a Gpu, method: &ReplayMethod) -> Vec<OpenedLane<'a>> {
    let ReplayMethod::Kernel(band) = method else { return Vec::new() };
    let choices = [
        (KernelChoice::Faster, "faster of cuFFT and fused"),
        (KernelChoice::This(TransformKind::Cufft), "cuFFT"),
        (KernelChoice::This(TransformKind::Fused), "fused"),
    ];
    let each = choices.into_iter().flat_map(|choice| [true, false].map(|copies| (choice, copies)));
    each.map(|((choice, name), copies)| OpenedLane {
        method: method.clone(),
        variant: format!("{name}, copies {}", if copies { "included" } else { "apart" }),
        threads: None,
        lane: Ok(Box::new(GpuLane { gpu, band: *band, choice, copies, winners: HashMap::new() })),
    })
    .collect()
}

struct GpuLane<'a> {
    gpu: &'a Gpu,
    band: Band,
    choice: KernelChoice,
    copies: bool,
    /// By S, K_S and K_D.
    winners: HashMap<(usize, usize, usize), TransformKind>,
}

impl GpuLane<'_> {
    fn layout(&self, a: &Activation, ratio: f64) -> Result<Layout> {
        let shape = (a.tokens(), a.hidden());
        Layout::new(shape, self.band, codec::proportional(self.band, a.shape(), ratio))
    }

    fn time_by(&self, kind: TransformKind, a: &Activation, ratio: f64) -> Result<CallTimes> {
        let layout = self.layout(a, ratio)?;
        let start = wall_seconds();
        let mut transform = Transform::new(self.gpu, kind, layout)?;
        transform.put_values(a.values())?;
        transform.forward()?;
        let kept = transform.block()?;
        transform.inverse()?;
        transform.wait()?;
        let mut out = CallTimes { first_s: wall_seconds() - start, ..CallTimes::default() };
        for _ in 0..CALLS {
            // The inverse has overwritten A.
            transform.put_values(a.values())?;
            transform.wait()?;
            let (done, seconds) = timed(wall_seconds, || -> Result<()> {
                if self.copies {
                    transform.put_values(a.values())?;
                }
                transform.forward()?;
                if self.copies { transform.block().map(drop) } else { transform.wait() }
            });
            done?;
            out.encode_s.push(seconds);
            let (done, seconds) = timed(wall_seconds, || -> Result<()> {
                if self.copies {
                    transform.put_block(&kept)?;
                }
                transform.inverse()?;
                if self.copies { transform.values().map(drop) } else { transform.wait() }
            });
            done?;
            out.decode_s.push(seconds);
        }
        Ok(out)
    }

    /// The kernel for an activation; of both the faster where that is asked for, found once a shape.
    fn kind(&mut self, a: &Activation, ratio: f64) -> Result<TransformKind> {
        if let KernelChoice::This(kind) = self.choice {
            return Ok(kind);
        }
        let block = self.layout(a, ratio)?.block;
        let key = (a.tokens(), block.ks, block.kd);
        if let Some(kind) = self.winners.get(&key) {
            return Ok(*kind);
        }
        let both = |timed: CallTimes| median(&timed.encode_s) + median(&timed.decode_s);
        let cufft = both(self.time_by(TransformKind::Cufft, a, ratio)?);
        // A shape beyond the fused kernel is cuFFT's.
        let fused = self.time_by(TransformKind::Fused, a, ratio).map(both).unwrap_or(f64::INFINITY);
        let kind = if fused < cufft { TransformKind::Fused } else { TransformKind::Cufft };
        self.winners.insert(key, kind);
        Ok(kind)
    }
}

impl Lane for GpuLane<'_> {
    fn setup_s(&self) -> f64 {
        self.gpu.compile_s
    }

    fn time(&mut self, a: &Activation, ratio: f64) -> Result<CallTimes> {
        let kind = self.kind(a, ratio)?;
        self.time_by(kind, a, ratio)
    }

    fn round_trip(&mut self, a: &Activation, ratio: f64) -> Result<Vec<f32>> {
        let kind = self.kind(a, ratio)?;
        let mut transform = Transform::new(self.gpu, kind, self.layout(a, ratio)?)?;
        transform.put_values(a.values())?;
        transform.forward()?;
        let kept = transform.block()?;
        transform.put_block(&kept)?;
        transform.inverse()?;
        transform.values()
    }

    fn note(&self) -> Option<String> {
        if self.winners.is_empty() {
            return None;
        }
        let mut fused: Vec<usize> = self
            .winners
            .iter()
            .filter(|(_, kind)| **kind == TransformKind::Fused)
            .map(|((tokens, ..), _)| *tokens)
            .collect();
        fused.sort_unstable();
        let range =
            fused.first().zip(fused.last()).map_or(String::new(), |(a, b)| format!(", those of {a} to {b} tokens"));
        Some(format!("fused is faster at {} of {} shapes{range}; cuFFT at the others", fused.len(), self.winners.len()))
    }
}
