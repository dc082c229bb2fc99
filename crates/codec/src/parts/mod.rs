//! What several codecs are made of: blocks and masks of a spectrum, rotations, truncation to a rank, the largest values and
//! columns.

pub(crate) mod block_shape;
pub(crate) mod columns;
pub(crate) mod hadamard;
pub(crate) mod half_spectrum;
pub(crate) mod largest;
pub(crate) mod learned_rotation;
pub(crate) mod low_rank;
pub(crate) mod mask;
pub(crate) mod rotation;
pub(crate) mod row_product;
pub(crate) mod weighed;
