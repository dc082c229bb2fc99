//! What several codecs are made of: transforms, blocks and masks of their coefficients, rotations, truncation to a rank, the largest values and
//! columns.

pub(crate) mod block_shape;
pub(crate) mod coefficient_layout;
pub(crate) mod columns;
pub(crate) mod cosine;
pub(crate) mod hadamard;
pub(crate) mod largest;
pub(crate) mod learned_rotation;
pub(crate) mod low_rank;
pub(crate) mod mask;
pub(crate) mod rotation;
pub(crate) mod row_product;
pub(crate) mod sparse;
pub(crate) mod transform;
pub(crate) mod weighed;
