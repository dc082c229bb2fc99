//! The orthonormal DCT-II (Ahmed, Natarajan and Rao 1974) and its inverse, along either axis of a matrix.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rustdct::{DctPlanner, TransformType2And3};

use crate::bytes::buffers::Scratch;

/// Which way a transform goes.
#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Forward,
    Inverse,
}

/// Columns that are transformed together: as many as a cache line holds, so that each line is read once.
const STRIP: usize = 16;

/// Plans are kept for lengths that add up to this at most: hostile packets may ask for many lengths.
const MOST_KEPT: usize = 1 << 16;

type Plan = Arc<dyn TransformType2And3<f32>>;

thread_local! {
    static PLANS: RefCell<HashMap<usize, Plan>> = RefCell::default();
}

fn plan(length: usize) -> Plan {
    PLANS.with_borrow_mut(|plans| {
        if let Some(plan) = plans.get(&length) {
            return plan.clone();
        }
        // A planner keeps all it ever made, so each plan has one of its own, which ends here.
        let plan = DctPlanner::<f32>::new().plan_dct2(length);
        if length <= MOST_KEPT {
            if plans.keys().sum::<usize>() + length > MOST_KEPT {
                plans.clear();
            }
            plans.insert(length, plan.clone());
        }
        plan
    })
}

/// The factor by which coefficient `nth` of an orthonormal DCT-II of `length` numbers differs from the plain sum.
fn scale(nth: usize, length: usize) -> f32 {
    (if nth == 0 { 1.0 } else { 2.0 } / length as f32).sqrt()
}

/// Transforms one line after another, each of `length` numbers.
fn lines(values: &mut [f32], length: usize, direction: Direction) {
    let plan = plan(length);
    let mut scratch = Scratch::new(plan.get_scratch_len());
    scratch.resize(plan.get_scratch_len(), 0.0);
    let (first, others) = match direction {
        Direction::Forward => (scale(0, length), scale(1, length)),
        // The plain DCT-III is the inverse of the plain DCT-II over half the length.
        Direction::Inverse => {
            let factor = |nth| 2.0 / (length as f32 * scale(nth, length));
            (factor(0), factor(1))
        }
    };
    let weigh = |line: &mut [f32]| {
        line[0] *= first;
        line[1..].iter_mut().for_each(|value| *value *= others);
    };
    for line in values.chunks_exact_mut(length) {
        if direction == Direction::Forward {
            plan.process_dct2_with_scratch(line, &mut scratch);
            weigh(line);
        } else {
            weigh(line);
            plan.process_dct3_with_scratch(line, &mut scratch);
        }
    }
}

/// Transforms each column of a matrix of `hidden` columns.
fn columns(values: &mut [f32], hidden: usize, direction: Direction) {
    let tokens = values.len() / hidden;
    let mut strip = Scratch::new(STRIP.min(hidden) * tokens);
    for first in (0..hidden).step_by(STRIP) {
        let width = STRIP.min(hidden - first);
        strip.resize(width * tokens, 0.0);
        for (token, row) in values.chunks_exact(hidden).enumerate() {
            for (column, value) in row[first..first + width].iter().enumerate() {
                strip[column * tokens + token] = *value;
            }
        }
        lines(&mut strip, tokens, direction);
        for (token, row) in values.chunks_exact_mut(hidden).enumerate() {
            for (column, value) in row[first..first + width].iter_mut().enumerate() {
                *value = strip[column * tokens + token];
            }
        }
    }
}

/// Makes each row, of `hidden` numbers, its DCT-II in blocks of `block`; the last block of a row is what is left.
pub(crate) fn forward_blocks(values: &mut [f32], hidden: usize, block: usize) {
    values.chunks_exact_mut(hidden).for_each(|row| row_blocks(row, block, Direction::Forward));
}

/// Its inverse.
pub(crate) fn inverse_blocks(values: &mut [f32], hidden: usize, block: usize) {
    values.chunks_exact_mut(hidden).for_each(|row| row_blocks(row, block, Direction::Inverse));
}

fn row_blocks(row: &mut [f32], block: usize, direction: Direction) {
    let (whole, rest) = row.split_at_mut(row.len() / block * block);
    lines(whole, block, direction);
    if !rest.is_empty() {
        lines(rest, rest.len(), direction);
    }
}

/// Makes each column its DCT-II.
pub(crate) fn forward_columns(values: &mut [f32], hidden: usize) {
    columns(values, hidden, Direction::Forward);
}

/// Its inverse.
pub(crate) fn inverse_columns(values: &mut [f32], hidden: usize) {
    columns(values, hidden, Direction::Inverse);
}

/// Makes a matrix its 2-D DCT-II.
pub(crate) fn forward(values: &mut [f32], hidden: usize) {
    columns(values, hidden, Direction::Forward);
    lines(values, hidden, Direction::Forward);
}

/// Its inverse.
pub(crate) fn inverse(values: &mut [f32], hidden: usize) {
    lines(values, hidden, Direction::Inverse);
    columns(values, hidden, Direction::Inverse);
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn line(length: usize) -> Vec<f32> {
        (0..length).map(|i| ((i * i + 7 * i) % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// By its sums, in f64.
    fn control(line: &[f32]) -> Vec<f64> {
        let n = line.len() as f64;
        let sum = |k: usize| {
            let wave = |(i, v): (usize, &f32)| f64::from(*v) * (PI * k as f64 * (i as f64 + 0.5) / n).cos();
            line.iter().enumerate().map(wave).sum::<f64>() * (if k == 0 { 1.0 } else { 2.0 } / n).sqrt()
        };
        (0..line.len()).map(sum).collect()
    }

    #[test]
    fn every_length_is_that_of_the_sums_and_comes_back() {
        for length in (1..80).chain([96, 127, 256, 576]) {
            let mut values = line(length);
            lines(&mut values, length, Direction::Forward);
            let close = |(found, expected): (&f32, f64)| (f64::from(*found) - expected).abs() < 2e-5;
            assert!(values.iter().zip(control(&line(length))).all(close), "{length}");
            lines(&mut values, length, Direction::Inverse);
            assert!(values.iter().zip(line(length)).all(|(a, b)| (a - b).abs() < 1e-5), "{length}");
        }
    }

    #[test]
    fn columns_and_blocks_are_lines() {
        let (tokens, hidden) = (5, 37);
        let values = line(tokens * hidden);
        let mut turned = values.clone();
        columns(&mut turned, hidden, Direction::Forward);
        for d in 0..hidden {
            let column: Vec<f32> = values.iter().skip(d).step_by(hidden).copied().collect();
            let found = turned.iter().skip(d).step_by(hidden);
            assert!(found.zip(control(&column)).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{d}");
        }
        let mut blocks = values.clone();
        forward_blocks(&mut blocks, hidden, 8);
        let last = control(&values[hidden + 32..2 * hidden]);
        assert!(blocks[hidden + 32..2 * hidden].iter().zip(last).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5));
        inverse_blocks(&mut blocks, hidden, 8);
        assert!(blocks.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
