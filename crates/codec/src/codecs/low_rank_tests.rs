//! Tests of `qr` and the SVD family against factorisations made by other code: nalgebra's SVD, faer's pivoted QR.

use faer::{Mat, MatRef};
use nalgebra::DMatrix;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::activation::Activation;
use crate::codecs::qr::pivoted;
use crate::interface::budget::Budget;
use crate::interface::calibration::{Calibration, CalibrationBuilder};
use crate::interface::spec::CodecSpec;
use crate::linalg::leading_left;
use crate::registry::build;

fn random(s: usize, d: usize, seed: u64) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Channels of unlike size, so that pivoting and weighting have something to choose.
    let sizes: Vec<f32> = (0..d).map(|_| 10f32.powf(rng.random_range(-1.0..1.0))).collect();
    Activation::new(s, d, (0..s * d).map(|i| sizes[i % d] * rng.random_range(-1.0..1.0)).collect()).unwrap()
}

fn dmatrix(a: &Activation) -> DMatrix<f64> {
    DMatrix::from_row_iterator(a.tokens(), a.hidden(), a.values().iter().map(|&v| f64::from(v)))
}

fn calibration(d: usize) -> Calibration {
    let mut builder = CalibrationBuilder::new(d);
    for seed in 0..4 {
        builder.push_activation(&random(30, d, 100 + seed)).unwrap();
        builder.push_gradient(random(30, d, 200 + seed).values()).unwrap();
    }
    let w = dmatrix(&random(2 * d, d, 300));
    builder.set_next_weights((w.transpose() * w).as_slice().to_vec()).unwrap();
    builder.finish().unwrap()
}

fn reconstruct(spec: &str, a: &Activation, ratio: f64, calibration: Option<&Calibration>) -> (usize, Activation) {
    let codec = build(&CodecSpec::parse(spec).unwrap(), calibration).unwrap();
    let packet = codec.encode(a, Some(Budget::elements(ratio).unwrap())).unwrap();
    (packet.elements() / (a.tokens() + a.hidden()), codec.decode(&packet).unwrap())
}

/// Root of the sum of squares of the singular values from `rank` on.
fn tail(matrix: DMatrix<f64>, rank: usize) -> f64 {
    let mut values: Vec<f64> = matrix.singular_values().iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values[rank..].iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn svd_error_is_the_tail_of_the_singular_values() {
    for (s, d) in [(20, 64), (64, 20), (33, 33), (1, 40), (40, 2)] {
        let a = random(s, d, 1);
        for ratio in [1.0, 2.0, 4.0, 8.0] {
            let (rank, back) = reconstruct("svd:values=f32", &a, ratio, None);
            let error = (dmatrix(&a) - dmatrix(&back)).norm();
            let optimum = tail(dmatrix(&a), rank);
            let near = (error - optimum).abs() <= 1e-6 * a.norm();
            assert!(near, "{s} x {d}, rank {rank}: error {error}, optimum {optimum}");
        }
    }
}

#[test]
fn both_ways_to_the_singular_vectors_agree() {
    // Singular values over seven decades: the last directions are beyond a Gram matrix, so the SVD takes over.
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut part = |r: usize, c: usize| DMatrix::<f64>::from_fn(r, c, |_, _| rng.random_range(-1.0..1.0)).qr().q();
    let (u, v) = (part(12, 12), part(40, 12));
    let sizes = DMatrix::from_fn(12, 12, |i, j| if i == j { 10f64.powf(-0.8 * i as f64) } else { 0.0 });
    let matrix = u * sizes * v.transpose();
    let row_major: Vec<f64> = matrix.transpose().as_slice().to_vec();
    for rank in 1..=12 {
        let q = leading_left(MatRef::from_row_major_slice(&row_major, 12, 40), rank).unwrap();
        let q = DMatrix::from_fn(12, rank, |i, j| q[(i, j)]);
        assert!((q.transpose() * &q - DMatrix::identity(rank, rank)).norm() < 1e-10);
        let error = (&matrix - &q * (q.transpose() * &matrix)).norm();
        let optimum = tail(matrix.clone(), rank);
        assert!(error <= optimum * (1.0 + 1e-6) + 1e-15, "rank {rank}: {error:e}, optimum {optimum:e}");
    }
}

/// Truncates A W with nalgebra and undoes W by its inverse: the textbook route.
fn weighted_control(a: &Activation, weight: &DMatrix<f64>, rank: usize) -> DMatrix<f64> {
    let svd = (dmatrix(a) * weight).svd(true, true);
    let (u, v) = (svd.u.unwrap(), svd.v_t.unwrap());
    let mut order: Vec<usize> = (0..svd.singular_values.len()).collect();
    order.sort_by(|&i, &j| svd.singular_values[j].total_cmp(&svd.singular_values[i]));
    let mut sum = DMatrix::zeros(a.tokens(), a.hidden());
    for &i in &order[..rank] {
        sum += u.column(i) * svd.singular_values[i] * v.row(i);
    }
    sum * weight.clone().try_inverse().unwrap()
}

#[test]
fn weighted_truncation_agrees_with_the_textbook() {
    let (s, d) = (16, 24);
    let c = calibration(d);
    let a = random(s, d, 5);
    let diagonal = |f: &dyn Fn(usize) -> f64| DMatrix::from_fn(d, d, |i, j| if i == j { f(i) } else { 0.0 });
    let cholesky = |square: &[f64]| DMatrix::from_row_slice(d, d, square).cholesky().unwrap().l();
    for (spec, weight) in [
        ("fwsvd", diagonal(&|i| c.fisher().unwrap()[i].sqrt())),
        ("asvd", diagonal(&|i| c.mean_abs().unwrap()[i].sqrt())),
        ("asvd:alpha=1.5", diagonal(&|i| c.mean_abs().unwrap()[i].powf(1.5))),
        ("svd-llm", cholesky(c.covariance().unwrap())),
        ("svd-llm:whiten=weights", cholesky(c.next_weights().unwrap())),
    ] {
        let name = format!("{spec}{}values=f32", if spec.contains(':') { ',' } else { ':' });
        let (rank, back) = reconstruct(&name, &a, 2.0, Some(&c));
        let control = weighted_control(&a, &weight, rank);
        let off = (dmatrix(&back) - &control).norm() / a.norm();
        assert!(off < 1e-5, "{spec}: off by {off}");
        // And it is the better one where the weight counts, which is the point of it.
        let (_, plain) = reconstruct("svd:values=f32", &a, 2.0, None);
        let weighted = |b: &Activation| ((dmatrix(&a) - dmatrix(b)) * &weight).norm();
        assert!(weighted(&back) < weighted(&plain), "{spec}: no better than svd under its own weight");
        let optimum = tail(dmatrix(&a) * &weight, rank);
        assert!((weighted(&back) - optimum).abs() < 1e-5 * optimum, "{spec}: not optimal");
    }
}

#[test]
fn asvd_without_alpha_is_svd() {
    let a = random(16, 24, 5);
    let (_, weighted) = reconstruct("asvd:alpha=0", &a, 3.0, Some(&calibration(24)));
    assert_eq!(weighted, reconstruct("svd", &a, 3.0, None).1);
}

#[test]
fn few_calibration_rows_still_whiten() {
    // Ten rows for 24 channels: the covariance is singular.
    let mut builder = CalibrationBuilder::new(24);
    builder.push_activation(&random(10, 24, 1)).unwrap();
    let c = builder.finish().unwrap();
    let a = random(16, 24, 2);
    let (_, back) = reconstruct("svd-llm", &a, 1.0, Some(&c));
    assert!(a.rel_error(&back) < 1.0, "{}", a.rel_error(&back));
}

#[test]
fn missing_or_foreign_calibration_is_an_error() {
    let partial = CalibrationBuilder::new(8);
    assert!(partial.finish().unwrap_err().to_string().contains("nothing"));
    let mut builder = CalibrationBuilder::new(8);
    builder.push_activation(&random(3, 8, 1)).unwrap();
    let moments = builder.finish().unwrap();
    for (spec, given, expected) in [
        ("fwsvd", None, "gradients of training rows"),
        ("asvd", None, "activations of training rows"),
        ("fwsvd", Some(&moments), "gradients of training rows"),
        ("svd-llm:whiten=weights", Some(&moments), "next layer's q, k, v weights"),
    ] {
        let error = build(&CodecSpec::parse(spec).unwrap(), given).err().expect(spec);
        assert!(format!("{error:#}").contains(expected), "{spec}: {error:#}");
    }
    let codec = build(&CodecSpec::parse("asvd").unwrap(), Some(&moments)).unwrap();
    let error = codec.encode(&random(3, 9, 1), Some(Budget::elements(2.0).unwrap())).unwrap_err().to_string();
    assert!(error.contains("8 channels") && error.contains('9'), "{error}");
}

/// faer's Householder factorisation, which pivots by remaining norm too (nalgebra's pivots by largest entry), cut to the
/// first `rank` steps, columns in the order of A.
fn pivoted_control(a: &Activation, rank: usize) -> DMatrix<f64> {
    let (s, d) = (a.tokens(), a.hidden());
    let full = Mat::from_fn(s, d, |i, j| f64::from(a.row(i)[j])).col_piv_qr();
    let (q, r) = (full.compute_thin_Q(), full.thin_R());
    let (order, _) = full.P().arrays();
    let mut out = DMatrix::zeros(s, d);
    for (j, &column) in order.iter().enumerate() {
        for i in 0..s {
            out[(i, column)] = (0..rank).map(|k| if k <= j { q[(i, k)] * r[(k, j)] } else { 0.0 }).sum();
        }
    }
    out
}

fn pivoted_own(a: &Activation, rank: usize) -> DMatrix<f64> {
    let (q, r) = pivoted(a, rank);
    let gram = q.transpose() * &q;
    let off = (gram - Mat::<f64>::identity(rank, rank)).norm_l2();
    assert!(off < 1e-12, "rank {rank}: Q is not orthonormal, off by {off:e}");
    DMatrix::from_fn(a.tokens(), a.hidden(), |i, j| (0..rank).map(|k| q[(i, k)] * r[(k, j)]).sum())
}

#[test]
fn qr_agrees_with_householder() {
    for (s, d) in [(12, 40), (40, 12), (20, 20), (1, 9), (30, 2)] {
        let a = random(s, d, 4);
        let all = s.min(d);
        assert!((pivoted_control(&a, all) - dmatrix(&a)).norm() < 1e-12 * a.norm(), "the control is wrong");
        for rank in 1..=all {
            let off = (pivoted_own(&a, rank) - pivoted_control(&a, rank)).norm();
            assert!(off < 1e-9 * a.norm(), "{s} x {d}, rank {rank}: off by {off:e}");
        }
    }
}

#[test]
fn qr_of_a_matrix_of_low_rank_stops_early() {
    // Rank 2: after two steps nothing is left, and the columns beyond are zero.
    let values: Vec<f32> = (0..8 * 16).map(|i| ((i / 16 + 1) * (i % 16 + 1)) as f32 + (i % 16) as f32).collect();
    let a = Activation::new(8, 16, values).unwrap();
    let (q, r) = pivoted(&a, 5);
    let zero = (2..5).all(|k| (0..8).all(|i| q[(i, k)] == 0.0) && (0..16).all(|j| r[(k, j)].abs() < 1e-9));
    assert!(zero, "{q:?}");
    let error: f64 = (0..8)
        .flat_map(|i| (0..16).map(move |j| (i, j)))
        .map(|(i, j)| {
            let sum: f64 = (0..5).map(|k| q[(i, k)] * r[(k, j)]).sum();
            (f64::from(a.row(i)[j]) - sum).abs()
        })
        .fold(0.0, f64::max);
    assert!(error < 1e-10, "{error}");
}

#[test]
fn qr_recomputes_norms_that_have_lost_their_digits() {
    // Channels that nearly coincide: what subtraction leaves of them is rounding, yet it decides the next pivot.
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let common: Vec<f64> = (0..10).map(|_| rng.random_range(-1.0..1.0)).collect();
    let values: Vec<f32> = (0..10 * 30)
        .map(|i| (1e3 * common[i / 30] * (1.0 + (i % 30) as f64) + rng.random_range(-0.1..0.1)) as f32)
        .collect();
    let a = Activation::new(10, 30, values).unwrap();
    for rank in 1..10 {
        let own = (dmatrix(&a) - pivoted_own(&a, rank)).norm();
        let control = (dmatrix(&a) - pivoted_control(&a, rank)).norm();
        assert!((own - control).abs() <= 1e-6 * control, "rank {rank}: {own} against {control}");
    }
}
