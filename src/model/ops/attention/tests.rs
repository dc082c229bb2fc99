use candle_core::{Device, Var};

use super::*;

const HEADS: Heads = Heads { query: 6, key_value: 2, dim: 20 };

fn values(rows: usize, width: usize, seed: usize) -> Vec<f32> {
    (0..rows * width).map(|i| ((i * 7919 + seed * 104_729) % 1013) as f32 / 506.0 - 1.0).collect()
}

fn vars(rows: usize) -> [Var; 3] {
    let var = |heads: usize, seed| {
        let width = heads * HEADS.dim;
        Var::from_vec(values(rows, width, seed), (rows, width), &Device::Cpu).unwrap()
    };
    [var(HEADS.query, 1), var(HEADS.key_value, 2), var(HEADS.key_value, 3)]
}

/// Alone, beside others, and as branches of one another.
fn packings() -> Vec<Packing> {
    let mut tree = Packing::of([9, 18]);
    tree.push_branch(0, 7, 5);
    tree.push_branch(1, 18, 33);
    tree.push_branch(1, 16, 1);
    tree.push_branch(1, 4, 0);
    vec![Packing::of([1]), Packing::of([2, 2]), Packing::of([7, 33]), tree]
}

/// The fused operation and candle's composition agree, forwards and in all three gradients.
#[test]
fn agrees_with_composed() -> Result<()> {
    for packing in packings().into_iter().map(Arc::new) {
        let [q, k, v] = vars(packing.rows());
        let upstream = Tensor::from_vec(values(packing.rows(), q.dim(1)?, 4), q.shape(), &Device::Cpu)?;
        let fused = causal_attention(&q, &k, &v, &packing, HEADS)?;
        let plain = composed::attention(&q, &k, &v, &packing, HEADS)?;
        let a = (&fused * &upstream)?.sum_all()?.backward()?;
        let b = (&plain * &upstream)?.sum_all()?.backward()?;
        let close = |x: &Tensor, y: &Tensor| -> Result<()> {
            let gap = (x - y)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?;
            assert!(gap < 2e-5, "{packing:?}: {gap}");
            Ok(())
        };
        close(&fused, &plain)?;
        for var in [&q, &k, &v] {
            let (Some(x), Some(y)) = (a.get(var), b.get(var)) else { panic!("a gradient is missing") };
            close(x, y)?;
        }
    }
    Ok(())
}

/// Rows that a sequence shares give the bits of rows of its own.
#[test]
fn a_branch_has_the_bits_of_a_whole_sequence() -> Result<()> {
    for packing in packings().into_iter().map(Arc::new) {
        let [q, k, v] = vars(packing.rows());
        let together = causal_attention(&q, &k, &v, &packing, HEADS)?;
        for sequence in 0..packing.sequences() {
            let rows: Vec<u32> = packing.rows_of(sequence).map(|row| row as u32).collect();
            let rows = Tensor::new(rows, &Device::Cpu)?;
            let pick = |x: &Tensor| x.index_select(&rows, 0);
            let alone = Arc::new(Packing::of([packing.tokens(sequence)]));
            let alone = causal_attention(&pick(&q)?, &pick(&k)?, &pick(&v)?, &alone, HEADS)?;
            assert_eq!(alone.to_vec2::<f32>()?, pick(&together)?.to_vec2::<f32>()?, "{packing:?}, {sequence}");
        }
    }
    Ok(())
}
