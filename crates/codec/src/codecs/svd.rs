//! `svd`: the best approximation of rank r.

use anyhow::Result;
use faer::MatRef;

use crate::activation::Activation;
use crate::bytes::values::ValueType;
use crate::interface::Codec;
use crate::interface::budget::Budget;
use crate::interface::info::{CodecInfo, Rate, RowScope, VALUES};
use crate::interface::packet::Packet;
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::parts::low_rank;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "svd",
    summary: "Truncated singular value decomposition: the rank-r matrix nearest to the activation.",
    options: &[VALUES],
    id: 4,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(Svd { spec: spec.clone(), values: spec.values() })),
    layout: low_rank::layout,
    decode: low_rank::decode,
    #[cfg(test)]
    size: SizeRule::LOW_RANK,
};

struct Svd {
    spec: CodecSpec,
    values: ValueType,
}

impl Codec for Svd {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let (shape, budget) = low_rank::checked(activation, budget, &self.spec)?;
        let rank = low_rank::rank(budget, shape, self.values);
        let a = low_rank::to_f64(activation);
        let a = MatRef::from_row_major_slice(&a, shape.0, shape.1);
        // Without a weight: no matrix of rank r is nearer to A than its truncated SVD (Eckart and Young 1936).
        low_rank::truncate(a, a, rank)?.pack(&INFO, self.values, shape)
    }
}
