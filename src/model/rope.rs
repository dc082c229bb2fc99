//! Rotary position embedding: tables of cosines and sines.

use std::f64::consts::PI;
#[cfg(feature = "cuda-model")]
use std::sync::OnceLock;

#[cfg(feature = "cuda-model")]
use candle_core::{Device, Result, Tensor};

use super::config::{Config, RopeScaling};

/// Cosines and sines of every position and frequency, `positions` x `head_dim / 2`, row-major, in f32 whatever the
/// compute type: bf16 tables would move positions.
#[derive(Debug)]
pub struct RopeTable {
    /// `head_dim / 2`.
    pub frequencies: usize,
    /// cos(position * frequency).
    pub cos: Vec<f32>,
    /// sin(position * frequency).
    pub sin: Vec<f32>,
    /// Both on a GPU, once they were needed there.
    #[cfg(feature = "cuda-model")]
    uploaded: OnceLock<(Tensor, Tensor)>,
}

impl RopeTable {
    /// The table for positions `0..positions`.
    pub fn new(config: &Config, positions: usize) -> Self {
        let inverse = inverse_frequencies(config);
        let angles = || (0..positions).flat_map(|p| inverse.iter().map(move |f| p as f32 * f));
        Self {
            frequencies: inverse.len(),
            cos: angles().map(f32::cos).collect(),
            sin: angles().map(f32::sin).collect(),
            #[cfg(feature = "cuda-model")]
            uploaded: OnceLock::new(),
        }
    }

    /// Cosines and sines on the device of the decoder, of which there is one.
    #[cfg(feature = "cuda-model")]
    pub(super) fn on(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        if let Some(there) = self.uploaded.get() {
            return Ok(there.clone());
        }
        let there = (Tensor::new(&self.cos[..], device)?, Tensor::new(&self.sin[..], device)?);
        Ok(self.uploaded.get_or_init(|| there).clone())
    }
}

/// `theta^(-2i / head_dim)`, stretched as `rope_scaling` says. In f32 from here on, as transformers keeps them.
pub fn inverse_frequencies(config: &Config) -> Vec<f32> {
    let d = config.head_dim;
    (0..d / 2)
        .map(|i| scale(config.rope_theta.powf(-(2.0 * i as f64) / d as f64), i, &config.rope_scaling) as f32)
        .collect()
}

fn scale(frequency: f64, number: usize, scaling: &RopeScaling) -> f64 {
    let (factor, low_freq_factor, high_freq_factor, original) = match scaling {
        RopeScaling::None => return frequency,
        RopeScaling::Factors(factors) => return frequency / f64::from(factors[number]),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            (factor, low_freq_factor, high_freq_factor, original_max_position_embeddings)
        }
    };
    let wavelength = 2.0 * PI / frequency;
    if wavelength > original / low_freq_factor {
        frequency / factor
    } else if wavelength < original / high_freq_factor {
        frequency
    } else {
        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}
