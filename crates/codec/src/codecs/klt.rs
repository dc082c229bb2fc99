//! `klt`: the leading coefficients in a basis of the hidden axis that both sides have from calibration.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use faer::MatRef;

use crate::activation::Activation;
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::{self, power_of_two, shift_for_f32};
use crate::grids::coefficients::{self, Coefficients};
use crate::interface::Codec;
use crate::interface::budget::{Accounting, Budget, largest_that_fits, wire_items};
use crate::interface::calibration::{Calibration, CalibrationNeed};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{HEADER_BYTES, Packet, PacketView};
use crate::interface::shared::{self, DIGEST_BYTES, SharedNumbers};
#[cfg(test)]
use crate::interface::size_rule::{self, SizeRule};
use crate::interface::spec::CodecSpec;
use crate::linalg;
use crate::parts::low_rank;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "klt",
    summary: "Keeps each row's first r coefficients in the eigenvectors of the calibration covariance, which both sides have.",
    options: &[coefficients::VALUES, coefficients::CODER],
    id: 17,
    rate: Rate::Budget,
    rows: RowScope::Joint,
    needs: |_| Some(CalibrationNeed::Moments),
    build,
    layout,
    decode: |_| Err(shared::missing(INFO.name, INFO.name)),
    #[cfg(test)]
    size: SIZE,
};

/// r coefficients of each row.
#[cfg(test)]
const SIZE: SizeRule = SizeRule {
    bytes: |spec, _, kept| 4 + size_rule::digest_bytes(spec) + size_rule::coefficient_bytes(spec, kept),
    stated: |spec, _, packet| size_rule::coded_coefficients(spec, packet.as_bytes(), 27, packet.elements()),
    elements: |_, [s, d], ratio| Some(((d as f64 / ratio).floor() as usize).max(1) * s),
    least: |_, [s, _], _| s,
    more: |_, [s, _], kept| kept + s,
    ..SizeRule::WHOLE
};

/// Own header: r 4, digest of the basis.
const OWN_BYTES: usize = 4 + DIGEST_BYTES;

fn build(spec: &CodecSpec, calibration: Option<&Calibration>) -> Result<Box<dyn Codec>> {
    let missing = || CalibrationNeed::Moments.missing(spec);
    let calibration = calibration.with_context(missing)?;
    // The Karhunen-Loeve basis: no other r directions keep more energy of the calibration rows (Eckart and Young
    // 1936). The covariance is not centred, since energy and not variance is kept.
    let basis = calibration.principal().with_context(|| format!("codec {spec}"))?.with_context(missing)?;
    Ok(Box::new(Klt { spec: spec.clone(), coefficients: Coefficients::new(spec), hidden: calibration.hidden(), basis }))
}

struct Klt {
    spec: CodecSpec,
    coefficients: Coefficients,
    hidden: usize,
    /// One direction per row, in falling order of the calibration rows' energy along it.
    basis: Arc<SharedNumbers>,
}

impl Klt {
    /// The first `rank` directions, r x D.
    fn leading(&self, rank: usize) -> MatRef<'_, f32> {
        MatRef::from_row_major_slice(&self.basis.numbers[..rank * self.hidden], rank, self.hidden)
    }
}

impl Codec for Klt {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, budget: Option<Budget>) -> Result<Packet> {
        let budget = Budget::required(budget, &self.spec)?;
        let top = crate::interface::check_finite(activation)?;
        let (tokens, hidden) = (activation.tokens(), activation.hidden());
        low_rank::check_hidden(INFO.name, self.hidden, hidden)?;
        let room = wire_items(budget.ratio, (tokens, hidden), HEADER_BYTES + OWN_BYTES, 1);
        // A direction costs one coefficient per token.
        let certain = self.coefficients.certain(room, tokens).clamp(1, hidden);
        let (least, most) = match budget.accounting {
            Accounting::Elements => {
                // S r coefficients for S D values: the ratio is D / r.
                let rank = ((hidden as f64 / budget.ratio).floor() as usize).max(1);
                (rank, rank)
            }
            Accounting::Wire if self.coefficients.coded => (certain, hidden),
            Accounting::Wire => (certain, certain),
        };

        // A coefficient is a sum of D products with entries of a unit vector.
        let shift = shift_for_f32(values::exponent(top), hidden);
        let mut rows = Cow::Borrowed(activation.values());
        if shift != 0 {
            let gain = power_of_two(-shift);
            rows.to_mut().iter_mut().for_each(|v| *v = (f64::from(*v) * gain) as f32);
        }
        let rows = MatRef::from_row_major_slice(&rows, tokens, hidden);
        // Direction by direction: neighbours have one size, which is what shares a step in int8.
        let projected = linalg::product_f32(self.leading(most), rows.transpose(), 1.0);
        // Directions are in the order of their energy, so a smaller rank is a shorter slice of the same product.
        let make = |rank| Ok((rank, self.coefficients.encode(&projected[..rank * tokens], shift)?));
        let (rank, payload) = largest_that_fits(least, most, make, |(_, sent)| sent.len() <= room)?;

        let mut bytes = Packet::begin(&INFO, self.coefficients.kind, (tokens, hidden), OWN_BYTES + payload.len())?;
        put_u32(&mut bytes, rank);
        bytes.extend_from_slice(&self.basis.digest);
        bytes.extend_from_slice(&payload);
        Packet::finish(&INFO, bytes)
    }

    fn decode(&self, packet: &Packet) -> Result<Activation> {
        crate::interface::check_codec(&self.spec, packet)?;
        let view = packet.view();
        let mut reader = Reader::new(view.body);
        let (rank, digest) = own_header(&mut reader)?;
        // With another basis the packet would decode to wrong values, and nothing would tell.
        self.basis.check(digest, INFO.name)?;
        shared::check_hidden(INFO.name, self.hidden, view.hidden)?;
        let sent = coefficients::read(&mut reader, view.values, rank * view.tokens, "coefficients")?;
        let left = MatRef::from_row_major_slice(&sent.stored, rank, view.tokens).transpose();
        // Stored numbers are below 2^23 unless the bytes are hostile: the product is made first, then scaled.
        let gain = power_of_two(sent.exponent);
        let product = linalg::product_f32(left, self.leading(rank), 1.0);
        crate::interface::received(packet, product.into_iter().map(|v| (f64::from(v) * gain) as f32).collect())
    }
}

/// The own header: r, digest.
fn own_header<'a>(reader: &mut Reader<'a>) -> Result<(usize, &'a [u8])> {
    let rank = reader.u32("rank")? as usize;
    Ok((rank, reader.bytes(DIGEST_BYTES, "digest")?))
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    let (rank, _) = own_header(&mut Reader::new(view.body))?;
    let most = view.hidden;
    ensure!((1..=most).contains(&rank), "packet field rank: {rank} is not in 1..={most}");
    coefficients::expect(view, OWN_BYTES, rank * view.tokens)?;
    Ok(rank * view.tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::calibration::CalibrationBuilder;

    fn calibrated(seed: usize) -> Calibration {
        let value = |i: usize| ((i * i * (seed + 7) + 3 * i) % 29) as f32 / 8.0 - 1.5;
        let mut builder = CalibrationBuilder::new(12);
        builder.push_activation(&Activation::new(50, 12, (0..600).map(value).collect()).unwrap()).unwrap();
        builder.finish().unwrap()
    }

    fn klt(seed: usize) -> Box<dyn Codec> {
        crate::registry::build(&CodecSpec::parse("klt:values=f32").unwrap(), Some(&calibrated(seed))).unwrap()
    }

    #[test]
    fn another_calibration_is_refused_by_its_digest() {
        let a = Activation::new(2, 12, (0..24).map(|i| i as f32).collect()).unwrap();
        let packet = klt(0).encode(&a, Some(Budget::elements(2.0).unwrap())).unwrap();
        assert!(klt(0).decode(&packet).is_ok());
        let error = klt(1).decode(&packet).unwrap_err().to_string();
        assert!(error.starts_with("packet field digest") && error.contains("same calibration"), "{error}");
        let error = crate::registry::decode(&packet).unwrap_err().to_string();
        assert!(error.starts_with("packet of klt") && error.contains("--calibration"), "{error}");
    }

    #[test]
    fn the_calibration_rows_themselves_lose_least_of_all_bases() {
        // The rows' own second moment: what is lost is the sum of the last eigenvalues, so no plain cut is better.
        let rows = Activation::new(50, 12, (0..600).map(|i| ((i * i * 7 + 3 * i) % 29) as f32 / 8.0 - 1.5).collect());
        let rows = rows.unwrap();
        let spectrum = linalg::eigenvectors(MatRef::from_row_major_slice(calibrated(0).covariance().unwrap(), 12, 12));
        let (energies, _) = spectrum.unwrap();
        for rank in [1, 3, 8, 12] {
            let budget = Budget::elements(12.0 / rank as f64).unwrap();
            let back = klt(0).decode(&klt(0).encode(&rows, Some(budget)).unwrap()).unwrap();
            let lost = energies[..12 - rank].iter().sum::<f64>() / energies.iter().sum::<f64>();
            let error = rows.rel_error(&back).powi(2);
            assert!((error - lost).abs() < 1e-6, "rank {rank}: {error} for {lost}");
        }
    }

    #[test]
    fn directions_are_orthonormal_and_signed() {
        let basis = calibrated(0).principal().unwrap().unwrap();
        for (i, one) in basis.numbers.chunks(12).enumerate() {
            for (j, other) in basis.numbers.chunks(12).enumerate() {
                let dot: f64 = one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-6, "{i}, {j}: {dot}");
            }
            let top = one.iter().fold(0f32, |top, v| if v.abs() > top.abs() { *v } else { top });
            assert!(top > 0.0, "{i}");
        }
    }
}
