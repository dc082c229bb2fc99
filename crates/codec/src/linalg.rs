//! What the low-rank codecs share: products and the leading left singular vectors, in f64 and on one thread.
//!
//! Threads would change the last bits, and callers already run one activation a core.

use anyhow::{Result, anyhow};
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::solvers::{PartialPivLu, Solve};
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::reborrow::{Reborrow, ReborrowMut};
use faer::{Accum, Mat, MatMut, MatRef, Par};

const PAR: Par = Par::Seq;

/// Below this share of the largest eigenvalue, a Gram matrix in f64 no longer tells a direction from rounding.
const GRAM_LIMIT: f64 = 1e-12;

/// `rank` orthonormal columns (S x rank) that span the leading left singular space of B (S x D), in falling order of
/// singular value.
///
/// B B^T in f64 and its eigenvectors where S <= D: 0.9 ms at 64 x 2048, against 2.5 ms for an SVD in f64 and 1.3 ms in f32.
/// Squaring halves the digits, so where the last direction asked for lies below 1e-6 of the first, and where S > D, an
/// SVD in f64 is made instead.
pub(crate) fn leading_left(b: MatRef<'_, f64>, rank: usize) -> Result<Mat<f64>> {
    match leading_left_of_gram(b, rank, GRAM_LIMIT)? {
        Some(vectors) => Ok(vectors),
        None => Ok(thin_svd(b)?.1.subcols(0, rank).to_owned()),
    }
}

/// The same by the eigenvectors of B B^T; none where S > D, or where the last eigenvalue is at most `limit` of the first.
pub(crate) fn leading_left_of_gram(b: MatRef<'_, f64>, rank: usize, limit: f64) -> Result<Option<Mat<f64>>> {
    let (s, d) = b.shape();
    if s > d {
        return Ok(None);
    }
    let mut gram = Mat::<f64>::zeros(s, s);
    add_lower(gram.as_mut(), b, b.transpose());
    let (values, vectors) = eigenvectors(gram.as_ref())?;
    let (largest, last) = (values[s - 1], values[s - rank]);
    let told = largest <= 0.0 || last > limit * largest;
    Ok(told.then(|| Mat::from_fn(s, rank, |i, j| vectors[(i, s - 1 - j)])))
}

/// Singular values, falling, and left singular vectors of B (S x D), as many as its shorter side has.
fn thin_svd(b: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let (s, d) = b.shape();
    let size = s.min(d);
    let mut values = Diag::<f64>::zeros(size);
    let mut left = Mat::<f64>::zeros(s, size);
    let need = svd::svd_scratch::<f64>(s, d, ComputeSvdVectors::Thin, ComputeSvdVectors::No, PAR, Default::default());
    svd::svd(
        b,
        values.as_mut(),
        Some(left.as_mut()),
        None,
        PAR,
        MemStack::new(&mut MemBuffer::new(need)),
        Default::default(),
    )
    .map_err(|e| anyhow!("the singular vectors of a {s} x {d} matrix did not converge: {e:?}"))?;
    let values = values.column_vector();
    Ok(((0..size).map(|i| values[i]).collect(), left))
}

/// The squares of all singular values of B (S x D), falling, and as many left singular vectors as columns.
///
/// Squared singular values below 1e-16 of the largest are rounding; their vectors are orthonormal to the others all the same.
pub(crate) fn left_spectrum(b: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let (s, d) = b.shape();
    if s > d {
        let (values, vectors) = thin_svd(b)?;
        return Ok((values.iter().map(|v| v * v).collect(), vectors));
    }
    let mut gram = Mat::<f64>::zeros(s, s);
    add_lower(gram.as_mut(), b, b.transpose());
    let (values, vectors) = eigenvectors(gram.as_ref())?;
    Ok((values.iter().rev().map(|v| v.max(0.0)).collect(), Mat::from_fn(s, s, |i, j| vectors[(i, s - 1 - j)])))
}

/// Eigenvalues of a symmetric matrix of which the lower triangle is read, in rising order, and orthonormal eigenvectors as
/// columns.
pub(crate) fn eigenvectors(square: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    let n = square.nrows();
    let mut values = Diag::<f64>::zeros(n);
    let mut vectors = Mat::<f64>::zeros(n, n);
    let need = evd::self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, PAR, Default::default());
    evd::self_adjoint_evd(
        square,
        values.as_mut(),
        Some(vectors.as_mut()),
        PAR,
        MemStack::new(&mut MemBuffer::new(need)),
        Default::default(),
    )
    .map_err(|e| anyhow!("the eigenvectors of a symmetric {n} x {n} matrix did not converge: {e:?}"))?;
    let values = values.column_vector();
    Ok(((0..n).map(|i| values[i]).collect(), vectors))
}

/// Adds the lower triangle of `left * right` to a square matrix.
pub(crate) fn add_lower(to: MatMut<'_, f64>, left: MatRef<'_, f64>, right: MatRef<'_, f64>) {
    use BlockStructure::{Rectangular, TriangularLower};
    triangular::matmul(to, TriangularLower, Accum::Add, left, Rectangular, right, Rectangular, 1.0, PAR);
}

/// `left * right`, where `right` is lower triangular.
pub(crate) fn times_lower(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    use BlockStructure::{Rectangular, TriangularLower};
    let mut out = Mat::<f64>::zeros(left.nrows(), right.ncols());
    triangular::matmul(out.as_mut(), Rectangular, Accum::Replace, left, Rectangular, right, TriangularLower, 1.0, PAR);
    out
}

/// `left * right`, where `right` is lower triangular: products in f32, summed in f64 over blocks of so many rows of `right`
/// that a block stays in a level-two cache.
pub(crate) fn times_lower_f32(left: MatRef<'_, f32>, right: MatRef<'_, f32>) -> Mat<f64> {
    const BLOCK: usize = 128;
    let (rows, side) = (left.nrows(), right.nrows());
    let mut out = Mat::<f64>::zeros(rows, side);
    let mut product = Mat::<f32>::zeros(rows, side);
    for start in (0..side).step_by(BLOCK) {
        // Columns from `end` on are zero in these rows.
        let end = side.min(start + BLOCK);
        let mut product = product.as_mut().subcols_mut(0, end);
        let block = right.get(start..end, ..end);
        matmul(ReborrowMut::rb_mut(&mut product), Accum::Replace, left.subcols(start, end - start), block, 1.0, PAR);
        for column in 0..end {
            let sums = out.col_mut(column).try_as_col_major_mut().expect("columns of a matrix of its own");
            let terms = Reborrow::rb(&product).col(column).try_as_col_major().expect("columns of a matrix of its own");
            sums.as_slice_mut().iter_mut().zip(terms.as_slice()).for_each(|(sum, term)| *sum += f64::from(*term));
        }
    }
    out
}

/// `left * right`.
pub(crate) fn product(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut out = Mat::<f64>::zeros(left.nrows(), right.ncols());
    matmul(out.as_mut(), Accum::Replace, left, right, 1.0, PAR);
    out
}

/// Adds `gain * left * right` to a matrix.
pub(crate) fn add_product(to: MatMut<'_, f64>, left: MatRef<'_, f64>, right: MatRef<'_, f64>, gain: f64) {
    matmul(to, Accum::Add, left, right, gain, PAR);
}

/// X of `square * X = right`.
pub(crate) fn solve(square: MatRef<'_, f64>, mut right: Mat<f64>) -> Mat<f64> {
    // Threads are a feature of faer that is not built.
    PartialPivLu::new(square).solve_in_place(right.as_mut());
    right
}

/// `gain * left * right`, row-major.
pub(crate) fn product_f32(left: MatRef<'_, f32>, right: MatRef<'_, f32>, gain: f32) -> Vec<f32> {
    let (s, d) = (left.nrows(), right.ncols());
    let mut out = vec![0f32; s * d];
    matmul(MatMut::from_row_major_slice_mut(&mut out, s, d), Accum::Replace, left, right, gain, PAR);
    out
}

/// The lower Cholesky factor of a symmetric matrix of which the lower triangle is read; `None` where it is not positive
/// definite to working precision.
pub(crate) fn cholesky(mut matrix: Mat<f64>) -> Option<Mat<f64>> {
    use faer::linalg::cholesky::llt::factor;
    let n = matrix.nrows();
    let need = factor::cholesky_in_place_scratch::<f64>(n, PAR, Default::default());
    factor::cholesky_in_place(
        matrix.as_mut(),
        Default::default(),
        PAR,
        MemStack::new(&mut MemBuffer::new(need)),
        Default::default(),
    )
    .ok()?;
    for j in 0..n {
        for i in 0..j {
            matrix[(i, j)] = 0.0;
        }
    }
    Some(matrix)
}
