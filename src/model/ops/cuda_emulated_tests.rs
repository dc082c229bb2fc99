//! The decoder's CUDA kernels on this processor (`tests/cuda/decoder.cpp`), against the operations of the CPU. A GPU is not needed;
//! a C++20 compiler is.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Heads, causal_attention, rotary, with_values};
use crate::emulated;
use crate::model::packing::Packing;
use crate::model::rope::RopeTable;
use crate::model::source::{POCKET, load_config};
use crate::model::{Divergence, LogSumExp, divergence};

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.0 - 1.0).collect()
}

fn close(what: &str, found: &[f32], expected: &Tensor) {
    with_values(expected, |expected| {
        assert_eq!(found.len(), expected.len(), "{what}");
        let gap = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(gap < 1e-5 && found.iter().all(|value| value.is_finite()), "{what}: {gap}");
    })
    .unwrap();
}

#[test]
fn the_kernels_do_what_the_cpu_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut packing = Packing::of([9, 18]);
    packing.push_branch(0, 7, 5);
    packing.push_branch(1, 18, 3);
    packing.push_branch(1, 4, 0);
    let (packing, rows) = (Arc::new(packing.clone()), packing.rows());
    // Channels in fours at a time, and one at a time.
    for dim in [32, 6] {
        let Some(program) = emulated::compile(folder.path(), "decoder.cpp", &[format!("-DDIM={dim}")]) else {
            return println!("skipped: no C++20 compiler");
        };
        let heads = Heads { query: 4, key_value: 2, dim };
        let config = crate::model::Config { head_dim: dim, ..load_config(POCKET).unwrap() };
        let table = Arc::new(RopeTable::new(&config, rows));
        let (wide, narrow) = (rows * 4 * dim, rows * 2 * dim);
        let (q, k, v) = (values(wide, 1), values(narrow, 2), values(narrow, 3));
        let (vocabulary, belongs) = (23, [1u32, 0, 1]);
        let (mut logits, unsplit) = (values(3 * vocabulary, 4), values(2 * vocabulary, 5));
        // Near the first reference row, equal to the second, and with an id that has no share.
        for i in 0..vocabulary {
            logits[vocabulary + i] = unsplit[i] + 1e-3 * (i % 3) as f32;
            logits[2 * vocabulary + i] = unsplit[vocabulary + i];
        }
        logits[0] = f32::NEG_INFINITY;

        let head = [rows, 4, heads.group(), vocabulary, 3, 2].map(|n| n as i32);
        let spans: Vec<u32> = packing.on(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mut bytes: Vec<u8> = head.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(spans.iter().chain(&belongs).flat_map(|n| n.to_le_bytes()));
        for part in [&table.cos, &table.sin, &q, &k, &v, &logits, &unsplit] {
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
        let output = emulated::run(&program, &bytes);
        let (floats, doubles) = output.split_at(4 * 3 * wide);
        let floats: Vec<f32> = floats.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let doubles: Vec<f64> = doubles.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();

        let tensor =
            |values: &[f32], heads: usize| Tensor::from_slice(values, (rows, heads * dim), &Device::Cpu).unwrap();
        let [q, k, v] = [tensor(&q, 4), tensor(&k, 2), tensor(&v, 2)];
        close("rotated", &floats[..wide], &rotary(&q, &packing, &table).unwrap());
        close("rotated back", &floats[wide..2 * wide], &q);
        close("attention", &floats[2 * wide..], &causal_attention(&q, &k, &v, &packing, heads).unwrap());

        for (row, found) in doubles.as_chunks::<4>().0.iter().enumerate() {
            let logits = &logits[row * vocabulary..][..vocabulary];
            let p = &unsplit[belongs[row] as usize * vocabulary..][..vocabulary];
            let (p_sum, q_sum) = (LogSumExp::new(p), LogSumExp::new(logits));
            let Divergence { kl, same_top, acceptance } = divergence((p, p_sum), (logits, q_sum));
            let same = |found: f64, expected: f64| {
                found == expected || (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3)
            };
            let [ln_sum, found_kl, found_acceptance, found_top] = *found;
            assert!(same(ln_sum, q_sum.value()) && same(found_acceptance, acceptance), "{row}: {found:?}");
            assert!(same(found_kl, kl), "{row}: {found_kl} for {kl}");
            assert_eq!(found_top == 1.0, same_top, "{row}");
        }
        // A row that is the reference's own.
        assert_eq!(doubles[9], 0.0);
    }
}
