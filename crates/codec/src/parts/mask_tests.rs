use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::parts::transform::PlaneTransform;

const MASKS: [Mask; 3] = [Mask::Free, Mask::Separable, Mask::Staircase];

/// The layout of an S x D spectrum.
fn spectrum(tokens: usize, hidden: usize) -> CoefficientLayout {
    CoefficientLayout { tokens, hidden, transform: PlaneTransform::Fourier }
}

fn random(layout: CoefficientLayout, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..layout.count()).map(|_| rng.random_range(0.0..1.0f64).powi(4)).collect()
}

fn worth(energies: &[f64], kept: &[u32]) -> f64 {
    kept.iter().map(|&position| energies[position as usize]).sum()
}

/// Most energy of any `count` positions that `allowed` accepts as a set, bit by bit.
fn best(energies: &[f64], count: u32, allowed: impl Fn(u32) -> bool) -> f64 {
    let of = |set: u32| (0..energies.len()).filter(|i| set >> i & 1 == 1).map(|i| energies[i]).sum::<f64>();
    (1u32..1 << energies.len()).filter(|set| set.count_ones() <= count && allowed(*set)).map(of).fold(0.0, f64::max)
}

#[test]
fn listed_sets_come_back_and_hold_at_most_what_was_asked() {
    for (s, d) in [(1, 1), (1, 9), (9, 1), (2, 2), (5, 6), (6, 7), (24, 96)] {
        let layout = spectrum(s, d);
        for mask in MASKS {
            let chooser = Chooser::new(mask, layout, random(layout, 1));
            for count in [1, 2, 3, layout.count() / 3, layout.count() - 1, layout.count()] {
                let count = count.clamp(1, layout.count());
                let (kept, listed) = chooser.choose(count);
                assert!((1..=count).contains(&kept.len()), "{mask:?} {s} x {d}: {} of {count}", kept.len());
                assert!(mask == Mask::Separable || kept.len() == count, "{mask:?} {s} x {d}");
                assert!(count < layout.count() || kept.len() == count, "{mask:?} {s} x {d}: not all at the end");
                assert!(kept.is_sorted_by(|a, b| a < b) && listed.numbers.is_sorted_by(|a, b| a < b));
                assert_eq!(listed.below, below(mask, layout, kept.len()));
                assert!(listed.numbers.iter().all(|number| (*number as usize) < listed.below));
                let told = numbers(mask, layout, kept.len());
                assert!(told.is_none_or(|told| told == listed.numbers.len()));
                assert_eq!(positions(mask, layout, kept.len(), listed.numbers).unwrap(), kept, "{mask:?} {s} x {d}");
            }
        }
    }
}

#[test]
fn free_is_the_best_of_all_and_the_others_are_the_best_of_theirs_or_near() {
    let layout = spectrum(4, 6);
    // Row by row, as bits: columns 0 to 3 in rows 0 to 2, 1 and 2 in row 3.
    assert_eq!((layout.count(), layout.start(3)), (14, 12));
    let row = |set: u32, u: usize| set >> layout.start(u) & ((1 << layout.columns(u).len()) - 1);
    let stairs = |set: u32| (0..4).all(|u| (row(set, u) + 1).is_power_of_two());
    let product = |set: u32| {
        let columns = row(set, 0) | row(set, 1) | row(set, 2) | row(set, 3) << 1;
        (0..3).all(|u| [0, columns].contains(&row(set, u))) && [0, columns >> 1 & 3].contains(&row(set, 3))
    };
    let (mut near, mut exact) = ([0.0f64; 2], [0; 2]);
    for seed in 0..60 {
        let energies = random(layout, seed);
        for count in [1, 3, 6, 10] {
            let of = |mask| worth(&energies, &Chooser::new(mask, layout, energies.clone()).choose(count).0);
            let free = best(&energies, count as u32, |_| true);
            assert!((of(Mask::Free) - free).abs() < 1e-9);
            let bounds = [best(&energies, count as u32, product), best(&energies, count as u32, stairs)];
            for (i, found) in [of(Mask::Separable), of(Mask::Staircase)].into_iter().enumerate() {
                assert!(found <= bounds[i] + 1e-9, "{found} is more than the best, {}", bounds[i]);
                near[i] += found / bounds[i] / 240.0;
                exact[i] += u32::from(found > bounds[i] - 1e-9);
            }
        }
    }
    println!("of 240, exact {exact:?}, mean share of the best energy {near:?}");
    assert!(near.iter().all(|share| *share > 0.97), "{near:?}");
    assert!(exact.iter().all(|n| *n > 120), "{exact:?}");
}

#[test]
fn stairs_are_the_best_where_a_run_ends() {
    let layout = spectrum(7, 12);
    for seed in 0..20 {
        let energies = random(layout, seed);
        let chooser = Chooser::new(Mask::Staircase, layout, energies.clone());
        // No set is above the line through the runs' ends: that is where a concave hull of the sums lies.
        let (mut count, mut energy) = (0, 0.0);
        for run in &chooser.runs {
            count += run.width as usize;
            energy += run.energy;
            assert!((worth(&energies, &chooser.choose(count).0) - energy).abs() < 1e-9, "{count}");
        }
        assert_eq!(count, layout.count());
        assert!(chooser.runs.is_sorted_by(|a, b| a.energy / f64::from(a.width) >= b.energy / f64::from(b.width)));
    }
}

#[test]
fn nothing_to_choose_from() {
    for (s, d) in [(5, 6), (1, 4), (6, 1)] {
        let layout = spectrum(s, d);
        for mask in MASKS {
            for count in 1..=layout.count() {
                let (kept, _) = Chooser::new(mask, layout, vec![0.0; layout.count()]).choose(count);
                assert!((1..=count).contains(&kept.len()), "{mask:?}");
            }
        }
    }
}

#[test]
fn sets_that_do_not_add_up_are_refused() {
    let layout = spectrum(4, 6);
    // Columns 0 and 1, rows 0 and 3: two in row 0, one in row 3.
    assert_eq!(positions(Mask::Separable, layout, 3, vec![0, 1, 4, 7]).unwrap(), [0, 1, 12]);
    assert!(positions(Mask::Separable, layout, 4, vec![0, 1, 4, 7]).is_err());
    assert!(positions(Mask::Separable, layout, 1, vec![]).is_err());
    // Widths 4, 0, 0 and the rest, of which row 3 has two columns.
    assert_eq!(positions(Mask::Staircase, layout, 6, vec![4, 5, 6]).unwrap(), [0, 1, 2, 3, 12, 13]);
    assert!(positions(Mask::Staircase, layout, 7, vec![4, 5, 6]).is_err());
    assert!(positions(Mask::Staircase, layout, 7, vec![5, 6, 7]).is_err());
}
