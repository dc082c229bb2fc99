//! `token-ids`: what the model was fed instead of what it made of it. No privacy, and nothing smaller has to cross the cut.

use anyhow::{Context, Result, bail, ensure};

use crate::activation::{Activation, TokenIds};
use crate::bytes::bitstream::{BitReader, BitWriter};
use crate::bytes::fields::{Reader, put_u32};
use crate::bytes::values::ValueType;
use crate::interface::budget::{Budget, NUMBER_BITS};
use crate::interface::info::{CodecInfo, Rate, RowScope};
use crate::interface::packet::{Packet, PacketView};
#[cfg(test)]
use crate::interface::size_rule::SizeRule;
use crate::interface::spec::CodecSpec;
use crate::interface::{Codec, Delivery};
use crate::shape::MAX_ELEMENTS;

pub(crate) const INFO: CodecInfo = CodecInfo {
    name: "token-ids",
    summary: "Sends the request's token ids, from which the server makes the activation itself: the floor without privacy.",
    options: &[],
    id: 18,
    rate: Rate::Fixed,
    rows: RowScope::Local,
    needs: |_| None,
    build: |spec, _| Ok(Box::new(SendsTokenIds { spec: spec.clone() })),
    layout,
    decode: |_| {
        bail!(
            "packet of token-ids: only a model can make an activation of token ids; `splitbench score --codec token-ids` \
             runs one"
        )
    },
    #[cfg(test)]
    size: SizeRule::ADAPTIVE,
};

/// Own header: vocabulary 4.
const OWN_BYTES: usize = 4;

struct SendsTokenIds {
    spec: CodecSpec,
}

impl Codec for SendsTokenIds {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, activation: &Activation, _: Option<Budget>) -> Result<Packet> {
        crate::interface::check_finite(activation)?;
        let TokenIds { ids, vocabulary } = activation.token_ids().context(
            "codec token-ids sends the token ids of a request, which a matrix alone does not have; `splitbench score \
             --codec token-ids` runs a model on them",
        )?;
        let shape = (activation.tokens(), activation.hidden());
        let mut bytes = Packet::begin(&INFO, ValueType::F32, shape, OWN_BYTES + packed_bytes(ids.len(), *vocabulary))?;
        put_u32(&mut bytes, *vocabulary as usize);
        let mut writer = BitWriter::new(&mut bytes);
        // Plain binary codes of one width: ceil(log2 vocabulary) bits.
        ids.iter().for_each(|&id| writer.put(id, id_bits(*vocabulary)));
        writer.finish();
        Packet::finish(&INFO, bytes)
    }

    fn receive(&self, packet: &Packet) -> Result<Delivery> {
        crate::interface::check_codec(&self.spec, packet)?;
        let mut reader = Reader::new(packet.view().body);
        let vocabulary = vocabulary(&mut reader)?;
        let mut bits = BitReader::new(&packet.view().body[OWN_BYTES..], "token ids");
        let id = |token: usize| -> Result<u32> {
            let id = bits.take(id_bits(vocabulary) as u8)? as u32;
            ensure!(id < vocabulary, "packet field token ids: {id} of token {token} is not in 0..{vocabulary}");
            Ok(id)
        };
        let ids = (0..packet.tokens()).map(id).collect::<Result<_>>()?;
        ensure!(bits.only_padding_left(), "packet field token ids: spare bits are not zero");
        Ok(Delivery::TokenIds(TokenIds { ids, vocabulary }))
    }
}

/// ceil(log2 vocabulary).
fn id_bits(vocabulary: u32) -> u32 {
    u32::BITS - (vocabulary - 1).leading_zeros()
}

fn packed_bytes(ids: usize, vocabulary: u32) -> usize {
    (ids * id_bits(vocabulary) as usize).div_ceil(8)
}

fn vocabulary(reader: &mut Reader<'_>) -> Result<u32> {
    let vocabulary = reader.u32("vocabulary")?;
    ensure!(
        (1..=MAX_ELEMENTS).contains(&(vocabulary as usize)),
        "packet field vocabulary: {vocabulary} is not in 1..={MAX_ELEMENTS}"
    );
    Ok(vocabulary)
}

fn layout(view: &PacketView<'_>) -> Result<usize> {
    ensure!(view.values == ValueType::F32, "packet field value type: token-ids has f32, found {}", view.values);
    let vocabulary = vocabulary(&mut Reader::new(view.body))?;
    view.expect_len((OWN_BYTES + packed_bytes(view.tokens, vocabulary)) as u64)?;
    // 16 bits count as one number.
    let bits = view.tokens as u64 * u64::from(id_bits(vocabulary));
    Ok((bits.div_ceil(NUMBER_BITS) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> SendsTokenIds {
        SendsTokenIds { spec: CodecSpec::parse("token-ids").unwrap() }
    }

    fn sent(ids: &[u32], vocabulary: usize) -> Result<Packet> {
        let a = Activation::new(ids.len(), 3, vec![0.5; 3 * ids.len()])?.with_token_ids(ids.to_vec(), vocabulary)?;
        codec().encode(&a, Some(Budget::elements(1.0)?))
    }

    #[test]
    fn ids_come_back_in_as_few_bits_as_the_vocabulary_needs() {
        for (vocabulary, bits) in [(1, 0), (2, 1), (3, 2), (256, 8), (257, 9), (151_936, 18), (1 << 27, 27)] {
            let most = vocabulary as u32 - 1;
            let ids = [0, most, most / 2, most, 0];
            let packet = Packet::from_bytes(sent(&ids, vocabulary).unwrap().into_bytes()).unwrap();
            assert_eq!(packet.len(), 15 + 4 + (5 * bits as usize).div_ceil(8), "{vocabulary}");
            assert_eq!(packet.elements(), (5 * bits as usize).div_ceil(16).max(1), "{vocabulary}");
            let Delivery::TokenIds(found) = codec().receive(&packet).unwrap() else { panic!("no ids") };
            assert_eq!(found, TokenIds { ids: ids.to_vec(), vocabulary: vocabulary as u32 });
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let bare = Activation::new(1, 2, vec![1.0, 2.0]).unwrap();
        let error = codec().encode(&bare, Some(Budget::elements(1.0).unwrap())).unwrap_err().to_string();
        assert!(error.contains("matrix alone") && error.contains("splitbench score"), "{error}");
        for (ids, vocabulary, expected) in [
            (&[1, 2][..], 2, "token id 2"),
            (&[1], 0, "vocabulary of 0"),
            (&[1], (1 << 27) + 1, "vocabulary of 134217729"),
        ] {
            let error = sent(ids, vocabulary).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = bare.with_token_ids(vec![1, 2], 9).unwrap_err().to_string();
        assert!(error.contains("2 token ids") && error.contains("1 token"), "{error}");
    }

    #[test]
    fn hostile_bytes_are_refused_by_field() {
        let sound = sent(&[4, 2, 0], 5).unwrap().into_bytes();
        let decode = |bytes: Vec<u8>| Packet::from_bytes(bytes).and_then(|packet| codec().receive(&packet));
        for (at, field, name) in [
            (6, vec![0], "value type"),
            (15, vec![0; 4], "vocabulary: 0"),
            (15, vec![255; 4], "vocabulary: 4294967295"),
            // Nine bits an id are more than the two bytes there.
            (15, vec![0, 1, 0, 1], "length"),
            (7, vec![2], "length"),
            (19, vec![0b101], "5 of token 0 is not in 0..5"),
            (20, vec![0b10], "spare bits"),
        ] {
            let mut bytes = sound.clone();
            bytes[at..at + field.len()].copy_from_slice(&field);
            let error = decode(bytes).unwrap_err().to_string();
            assert!(error.starts_with("packet field") && error.contains(name), "{at}: {error}");
        }
        for cut in 0..sound.len() {
            assert!(decode(sound[..cut].to_vec()).is_err(), "{cut}");
        }
        let error = crate::registry::decode(&Packet::from_bytes(sound).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("packet of token-ids: only a model"), "{error}");
        let noop = crate::registry::build(&CodecSpec::parse("noop").unwrap(), None).unwrap();
        let other =
            noop.encode(&Activation::new(1, 1, vec![1.0]).unwrap(), Some(Budget::elements(1.0).unwrap())).unwrap();
        assert!(codec().receive(&other).unwrap_err().to_string().contains("the packet is of noop"));
    }
}
