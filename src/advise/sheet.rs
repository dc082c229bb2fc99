//! A machine by its data sheet: operations over its peak, bytes over its bandwidth.

use super::profile::{Basis, MachineProfile, ModelShape, PartFit, TimeFit};
use crate::model::Config;
use crate::replay::profile::DeviceProfile;

/// Bytes of a number: weights, activations, keys and values in f16.
const BYTES: f64 = 2.0;

/// Kernels of a layer, each of which waits for the one before, with all that can be fused into a neighbour fused: norm; queries, keys
/// and values with rotation; attention; its output with the sum; norm; gate and up; down with the sum.
const LAYER_KERNELS: f64 = 7.0;

/// Norm and head.
const HEAD_KERNELS: f64 = 2.0;

/// A model of a shape on a device: each part takes the longer of computing and moving bytes, and the start of its kernels. A lower
/// bound of what the device's CUDA cores take. No codec is in it.
pub fn modelled(device: &DeviceProfile, name: &str, config: &Config) -> MachineProfile {
    let model = ModelShape::new(name, "", config, "f16", BYTES as usize);
    let rates = DeviceRates {
        flops: device.flops(),
        bytes_per_second: device.bytes_per_second(),
        launch_us: 1e6 * device.launch_s(),
    };
    let (d, wide) = (config.hidden_size as f64, (config.num_attention_heads * config.head_dim) as f64);
    let narrow = (config.num_key_value_heads * config.head_dim) as f64;
    let weights = model.layer_bytes as f64 / BYTES;
    let vocabulary = config.vocab_size as f64;
    // A token attends to itself and those before: a product and a sum for each channel of scores and of values, so 4 `wide` per pair,
    // and n (n + 1) / 2 pairs. Rows come and go once, keys and values go to memory.
    let prompt = PartWork {
        kernels: LAYER_KERNELS,
        operations: [0.0, 2.0 * weights + 2.0 * wide, 2.0 * wide],
        bytes: [BYTES * weights, BYTES * (2.0 * d + 2.0 * narrow)],
    };
    // One token after n: n + 1 pairs, and the keys and values of n tokens come from memory.
    let step = PartWork {
        kernels: LAYER_KERNELS,
        operations: [2.0 * weights + 4.0 * wide, 4.0 * wide, 0.0],
        bytes: [BYTES * (weights + 2.0 * d + 2.0 * narrow), BYTES * 2.0 * narrow],
    };
    let head = PartWork {
        kernels: HEAD_KERNELS,
        operations: [2.0 * vocabulary * d, 0.0, 0.0],
        bytes: [BYTES * (vocabulary * d + d + vocabulary), 0.0],
    };
    let embedding = |bytes: [f64; 2]| PartWork { kernels: 1.0, operations: [0.0; 3], bytes };
    let both = |prompt: &PartWork, step: &PartWork| PartFit { prompt: rates.time(prompt), step: rates.time(step) };
    MachineProfile {
        machine: device.name.clone(),
        basis: Basis::Modelled,
        about: format!(
            "A lower bound from a data sheet ({}): the longer of f32 operations on its CUDA cores at {:.2} TFLOP/s and f16 bytes at \
             {:.0} GB/s, and {LAYER_KERNELS} kernels per layer at {:.1} us; without its tensor cores, which would compute a prompt faster",
            device.about,
            1e-12 * rates.flops,
            1e-9 * rates.bytes_per_second,
            rates.launch_us
        ),
        version: crate::VERSION.to_string(),
        embedding: both(&embedding([0.0, 2.0 * BYTES * d]), &embedding([2.0 * BYTES * d, 0.0])),
        layer: both(&prompt, &step),
        layer_spread: 0.0,
        head: both(&head, &head),
        codecs: Vec::new(),
        model,
    }
}

/// What a part does with n tokens, by powers of n.
struct PartWork {
    kernels: f64,
    operations: [f64; 3],
    bytes: [f64; 2],
}

struct DeviceRates {
    flops: f64,
    bytes_per_second: f64,
    launch_us: f64,
}

impl DeviceRates {
    fn time(&self, work: &PartWork) -> TimeFit {
        let start = work.kernels * self.launch_us;
        let [fixed, linear, squared] = work.operations.map(|operations| 1e6 * operations / self.flops);
        let [at_least, more] = work.bytes.map(|bytes| 1e6 * bytes / self.bytes_per_second);
        TimeFit {
            fixed_us: start + fixed,
            per_token_us: linear,
            per_token_squared_us: squared,
            at_least_us: [start + at_least, more],
            ..TimeFit::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::{POCKET, load_config};
    use crate::replay::profile;

    #[test]
    fn a_part_takes_the_longer_of_operations_and_bytes() {
        let config = load_config(POCKET).unwrap();
        let device = profile::load("jetson-orin-nano").unwrap();
        let modelled = modelled(&device, POCKET, &config);
        modelled.check().unwrap();
        assert!(
            modelled.basis == Basis::Modelled && modelled.about.contains("lower bound") && modelled.codecs.is_empty()
        );
        // 1024 cores at 625 MHz, 68 GB/s, 3.8 us; q, k, v, o and three matrices of the feed-forward block.
        let (flops, bandwidth, start) = (2.0 * 1024.0 * 625e6, 68e9, 7.0 * 3.8e-6);
        let weights: f64 = 192.0 * (2.0 * 192.0 + 2.0 * 64.0) + 3.0 * 192.0 * 384.0;
        assert_eq!(modelled.model.layer_bytes as f64, 2.0 * weights);
        let close =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
        // A step moves weights, row and cache; a long prompt computes.
        let bytes = 2.0 * (weights + 2.0 * 192.0 + 128.0 + 100.0 * 128.0);
        close(modelled.layer.step.seconds(100.0), start + bytes / bandwidth);
        let operations = 512.0 * 2.0 * weights + 4.0 * 192.0 * (512.0 * 513.0 / 2.0);
        close(modelled.layer.prompt.seconds(512.0), start + operations / flops);
        close(modelled.head.step.seconds(9.0), 7.6e-6 + 2.0 * (1408.0 * 192.0 + 192.0 + 1408.0) / bandwidth);
        assert!(modelled.layer.prompt.seconds(1.0) < modelled.layer.prompt.seconds(2.0));
    }
}
