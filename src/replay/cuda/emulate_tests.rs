//! The CUDA source on this processor (`tests/cuda/emulate.cpp`), against sums in f64. A GPU is not needed; a C++ compiler is.

use std::path::Path;

use super::layout::Layout;
use crate::emulated;
use crate::replay::reference::{coefficients, rel_error, restored};
use splitbench_codec::Activation;
use splitbench_codec::kernel::{Band, Block};

fn run(program: &Path, layout: &Layout, a: &Activation) -> Vec<f64> {
    let (tokens, hidden) = layout.shape;
    let Block { ks, kd } = layout.block;
    let head = [tokens, hidden, ks, kd, usize::from(layout.single == 0.5), layout.factors.len()].map(|n| n as i32);
    let numbers =
        head.iter().chain(&layout.frequency).chain(&layout.place).chain(&layout.mirror).chain(&layout.factors);
    let mut bytes: Vec<u8> = numbers.flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend(a.values().iter().flat_map(|v| v.to_le_bytes()));
    emulated::run(program, &bytes).as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

#[test]
fn the_kernels_do_what_the_sums_say() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = emulated::compile(folder.path(), "emulate.cpp", &[]) else {
        return println!("skipped: no C++20 compiler");
    };
    for (band, shape, ks, kd) in [
        (Band::Mirrored, (7, 24), 3, 9),
        (Band::Corner, (7, 24), 3, 9),
        (Band::Centered, (7, 24), 4, 9),
        // The mirror of a kept coefficient is kept too, and columns beyond the middle.
        (Band::Mirrored, (6, 30), 5, 27),
        (Band::Corner, (6, 15), 6, 15),
        (Band::Centered, (6, 16), 6, 9),
        (Band::Mirrored, (1, 12), 1, 5),
        (Band::Mirrored, (5, 1), 2, 1),
        // A prime D has one factor.
        (Band::Mirrored, (4, 13), 2, 5),
    ] {
        let (tokens, hidden) = shape;
        let values = (0..tokens * hidden).map(|i| ((i * i + 7 * i) % 101) as f32 / 50.0 - 1.0).collect();
        let a = Activation::new(tokens, hidden, values).unwrap();
        let block = Block { ks, kd };
        let found = run(&program, &Layout::new(shape, band, block).unwrap(), &a);
        let (n, m) = (2 * ks * kd, tokens * hidden);
        assert_eq!(found.len(), 2 * (n + m));
        let kept = coefficients(&a, band, block);
        let back = restored(&kept, band, block, shape);
        for (name, from, expected) in [
            ("fused block", 0, &kept),
            ("fused values", n, &back),
            ("pack", n + m, &kept),
            ("unpack", 2 * n + m, &back),
        ] {
            let error = rel_error(found[from..][..expected.len()].iter().copied(), expected);
            assert!(error < 1e-6, "{name}, {band:?} {shape:?} {block:?}: {error:e}");
        }
    }
}
