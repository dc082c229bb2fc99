//! The codecs, one per file: a `CodecInfo` that the registry lists, and an implementation of `Codec`.

#[cfg(test)]
pub(crate) mod adaptive_reference;
pub(crate) mod agile_quant;
pub(crate) mod asvd;
pub(crate) mod atom;
pub(crate) mod awq;
pub(crate) mod best;
pub(crate) mod cobla;
#[cfg(test)]
mod decimate;
pub(crate) mod dynamic_pruning;
pub(crate) mod external;
pub(crate) mod fc;
pub(crate) mod fc_mask;
pub(crate) mod fc_reading;
pub(crate) mod fcanet;
pub(crate) mod fp8;
pub(crate) mod fwsvd;
pub(crate) mod hadamard_int4;
pub(crate) mod int4;
pub(crate) mod int8;
pub(crate) mod klt;
#[cfg(test)]
mod low_rank_tests;
pub(crate) mod noop;
pub(crate) mod q4_0;
pub(crate) mod q80;
pub(crate) mod qr;
pub(crate) mod qsparse8_v1;
pub(crate) mod slicer;
pub(crate) mod sparse_rans;
pub(crate) mod sparse_v1;
pub(crate) mod spinquant;
pub(crate) mod split_fine_tuning;
pub(crate) mod svd;
pub(crate) mod svd_llm;
pub(crate) mod threshold_split;
pub(crate) mod token_ids;
pub(crate) mod topk;
pub(crate) mod zfp;
