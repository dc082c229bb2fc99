//! The CUDA source on this processor (`tests/cuda/emulate.cpp`), against sums in f64. A GPU is not needed; a C++ compiler is.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::layout::Layout;
use crate::codec::Activation;
use crate::kernel::{Band, Block};
use crate::replay::reference::{coefficients, rel_error, restored};

/// The emulator, compiled; none where there is no C++20 compiler.
fn emulator(folder: &Path) -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/emulate.cpp");
    let program = folder.join("emulate");
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++20", "-O1", "-pthread", "-o"]).arg(&program).arg(source);
    match compiler.output() {
        Ok(output) if output.status.success() => Some(program),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            // A compiler of C++20 must take it.
            assert!(text.contains("barrier: No such file") || text.contains("c++20"), "{text}");
            None
        }
        Err(_) => None,
    }
}

fn run(program: &Path, layout: &Layout, a: &Activation) -> Vec<f64> {
    let (tokens, hidden) = layout.shape;
    let Block { ks, kd } = layout.block;
    let head = [tokens, hidden, ks, kd, usize::from(layout.single == 0.5), layout.factors.len()].map(|n| n as i32);
    let numbers =
        head.iter().chain(&layout.frequency).chain(&layout.place).chain(&layout.mirror).chain(&layout.factors);
    let mut bytes: Vec<u8> = numbers.flat_map(|n| n.to_le_bytes()).collect();
    bytes.extend(a.values().iter().flat_map(|v| v.to_le_bytes()));
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

#[test]
fn the_kernels_do_what_the_sums_say() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = emulator(folder.path()) else { return println!("skipped: no C++20 compiler") };
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
