//! The tables of the cores: each is a file of `rtl/tables`, and a test compares them.

use std::f64::consts::TAU;

use super::fixed::{Complex, ROOT_BITS};
#[cfg(test)]
use super::shape::LANES;

/// e^(-2 pi i k / n) in units of 2^-16.
pub(super) fn root(k: usize, n: usize) -> Complex {
    let (sin, cos) = (TAU * (k % n) as f64 / n as f64).sin_cos();
    let unit = f64::from(1 << ROOT_BITS);
    Complex::new((cos * unit).round() as i64, (-sin * unit).round() as i64)
}

/// Fraction bits of [`quarter`].
pub(super) const QUARTER_BITS: u32 = 18;

/// Cosine and sine of k / 4096 of a turn, k in 0..1024, in units of 2^-18: where the roots of any period start from.
pub(super) fn quarter(k: usize) -> (i64, i64) {
    let (sin, cos) = (TAU * k as f64 / 4096.0).sin_cos();
    let unit = f64::from(1 << QUARTER_BITS);
    ((cos * unit).round() as i64, (sin * unit).round() as i64)
}

/// Name and text of each file: one entry a line, two numbers of `bits` bits side by side in hexadecimal.
#[cfg(test)]
pub(super) fn files() -> Vec<(String, String)> {
    let text = |entries: Vec<(i64, i64)>, bits: u32| {
        let mask = (1i64 << bits) - 1;
        let digits = (2 * bits as usize).div_ceil(4);
        entries.iter().map(|(a, b)| format!("{:0digits$x}\n", (a & mask) << bits | b & mask)).collect::<String>()
    };
    let roots = |entries: Vec<Complex>| text(entries.iter().map(|c| (c.re, c.im)).collect(), 18);
    let mut files = vec![("quarter.hex".to_string(), text((0..1024).map(quarter).collect(), 20))];
    for n in [4, 8, 16, 32, 64, 128, 256] {
        files.push((format!("root_{n}.hex"), roots((0..n / 2).map(|k| root(k, n)).collect())));
    }
    files.push(("root_384.hex".to_string(), roots((0..256).map(|k| root(k, 384)).collect())));
    for lane in 1..LANES {
        let entries = (0..384).map(|v| root(lane * v, 3072)).chain((0..256).map(|v| root(lane * v, 2048)));
        files.push((format!("cross_{lane}.hex"), roots(entries.collect())));
    }
    files
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `SPLITBENCH_WRITE_TABLES=1` writes them instead.
    #[test]
    fn the_files_of_the_cores_are_these_tables() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rtl/tables");
        if std::env::var_os("SPLITBENCH_WRITE_TABLES").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            files().iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
        }
        for (name, text) in files() {
            let there = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
            assert!(there == text, "rtl/tables/{name} is not what the model has; SPLITBENCH_WRITE_TABLES=1 writes it");
        }
    }
}
