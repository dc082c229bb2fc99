//! Packets as an enemy would write them: every one is an error or an activation, in bounded memory.

mod counting;

use counting::{NOW, PEAK};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use splitbench_codec::{
    Activation, AllowedValues, Budget, CalibrationBuilder, Codec, CodecSpec, Delivery, Packet, build, decode,
    registered,
};

/// Most bytes that a thread may hold at any moment, plans that the codecs keep included.
const MEMORY: usize = 64 << 20;

/// The same over all damaged packets. What is kept depends on the shapes that chance makes: 52 to 79 MB over five seeds, and 63
/// to 79 without the quantisers of Table I, most of it plans of `fc-reading`.
const DAMAGED_MEMORY: usize = 96 << 20;

/// A receiver knows its model's width and longest prompt, and decodes no larger shape: here at most so many numbers.
const RECEIVED: usize = 1 << 17;

const PACKETS: usize = 100_000;

const SHAPE: (usize, usize) = (5, 12);

fn random(tokens: usize, hidden: usize, seed: u64) -> Activation {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    Activation::new(tokens, hidden, (0..tokens * hidden).map(|_| rng.random_range(-1.0..1.0)).collect()).unwrap()
}

/// Every codec that needs no program, and every word of each of its options: those that change the packet and those that do
/// not.
fn specs() -> Vec<CodecSpec> {
    let mut texts = Vec::new();
    for info in registered().iter().filter(|info| !["external", "token-ids"].contains(&info.name)) {
        texts.push(info.name.to_string());
        for option in info.options {
            if let AllowedValues::Words(choices) = &option.allowed {
                texts.extend(choices.iter().map(|c| format!("{}:{}={}", info.name, option.key, c.word)));
            }
        }
    }
    texts.extend(["fc", "topk", "klt", "fc-mask"].map(|name| format!("{name}:values=int8,coder=rans")));
    texts.extend(["f16", "bf16"].map(|values| format!("noop:values={values},coder=rans")));
    // A word that needs another beside it is one of these.
    texts.iter().filter_map(|text| CodecSpec::parse(text).ok()).collect()
}

/// A sound packet, to be damaged.
struct Victim {
    bytes: Vec<u8>,
    /// Who reads it, where that is not anyone.
    reader: Option<Box<dyn Codec>>,
}

impl Victim {
    fn read(&self, packet: &Packet) -> anyhow::Result<Activation> {
        match &self.reader {
            Some(codec) if codec.spec().name() == packet.codec() => codec.decode(packet),
            _ => decode(packet),
        }
    }
}

fn victims() -> Vec<Victim> {
    let (tokens, hidden) = SHAPE;
    let mut builder = CalibrationBuilder::new(hidden);
    builder.push_activation(&random(40, hidden, 1)).unwrap();
    builder.push_gradient(random(40, hidden, 2).values()).unwrap();
    let identity = (0..hidden * hidden).map(|i| f64::from(u8::from(i % (hidden + 1) == 0))).collect();
    builder.set_next_weights(identity).unwrap();
    let calibration = builder.finish().unwrap();
    let mut packets = Vec::new();
    for spec in specs() {
        for ratio in [1.0, 3.0, 8.0] {
            let codec = build(&spec, Some(&calibration)).unwrap();
            let packet = codec.encode(&random(tokens, hidden, 3), Some(Budget::elements(ratio).unwrap())).unwrap();
            packets.push(Victim { bytes: packet.into_bytes(), reader: Some(codec) });
        }
    }
    // Large enough, and with zeros enough, that coding is shorter.
    let comb = Activation::new(40, 36, (0..1440).map(|i| f32::from(u8::from(i < 36 && i % 3 == 0))).collect()).unwrap();
    for name in ["fc:values=int8", "topk:values=int8", "fc-mask:values=int8", "noop:values=f16", "noop:values=bf16"] {
        let send = |coder: &str| {
            let spec = CodecSpec::parse(&format!("{name},coder={coder}")).unwrap();
            build(&spec, None).unwrap().encode(&comb, Some(Budget::elements(1.0).unwrap())).unwrap()
        };
        let packet = send("rans");
        assert!(packet.len() < send("none").len(), "{name} did not code");
        packets.push(Victim { bytes: packet.into_bytes(), reader: None });
    }
    let spec = CodecSpec::parse("split-fine-tuning:bits=8").unwrap();
    let packet = build(&spec, None).unwrap().encode(&comb, Some(Budget::elements(1.0).unwrap())).unwrap();
    assert_eq!(packet.as_bytes()[15], 24, "split-fine-tuning did not code");
    packets.push(Victim { bytes: packet.into_bytes(), reader: None });
    packets.push(Victim { bytes: external_packet(), reader: None });
    packets.push(Victim { bytes: token_ids_packet(), reader: None });
    packets
}

/// Of 7 kept numbers and a payload of 20 bytes.
fn external_packet() -> Vec<u8> {
    let mut bytes = b"SPLB\x01\x0f\x01\x05\0\0\0\x0c\0\0\0\x07\0\0\0\x14\0\0\0".to_vec();
    bytes.extend(0..20);
    // Its header is sound; without its program nobody decodes it.
    let error = decode(&Packet::from_bytes(bytes.clone()).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("packet of external"), "{error}");
    bytes
}

/// Of 5 ids below 500.
fn token_ids_packet() -> Vec<u8> {
    let (tokens, hidden) = SHAPE;
    let sent = random(tokens, hidden, 3).with_token_ids(vec![0, 499, 256, 7, 31], 500).unwrap();
    let codec = build(&CodecSpec::parse("token-ids").unwrap(), None).unwrap();
    codec.encode(&sent, Some(Budget::elements(1.0).unwrap())).unwrap().into_bytes()
}

/// Counts that sit on the edges of what headers allow, or far beyond.
const COUNTS: [u32; 14] =
    [0, 1, 2, 3, 97, 1 << 10, 65_521, 1 << 16, 1 << 20, (1 << 20) + 1, 1 << 27, (1 << 27) + 1, 1 << 31, u32::MAX];

/// Where the fields of four bytes begin: S, D, and those of the codecs' own headers.
const FIELDS: [usize; 7] = [7, 11, 15, 16, 20, 24, 25];

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// One wound.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    if bytes.is_empty() {
        return bytes.push(rng.random());
    }
    // Half of it goes where it hurts: the headers.
    let reach = if rng.random_bool(0.5) { bytes.len().min(32) } else { bytes.len() };
    let at = rng.random_range(0..reach);
    match rng.random_range(0..9) {
        0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes[at] = rng.random(),
        3 => bytes.truncate(at),
        4 => bytes.extend((0..rng.random_range(1..40)).map(|_| rng.random::<u8>())),
        5 => put(bytes, *FIELDS.choose(rng).unwrap(), &COUNTS.choose(rng).unwrap().to_le_bytes()),
        6 => put(bytes, *FIELDS.choose(rng).unwrap(), &rng.random_range(1..70_000u32).to_le_bytes()),
        // Exponents and the values' extremes.
        7 => put(bytes, at, &[0, i16::MIN, i16::MAX, 300, -300, 0x7bff, 0x7c00].choose(rng).unwrap().to_le_bytes()),
        // Another shape of as many rows and columns together, as long a packet for the low-rank codecs.
        _ => {
            let tokens = rng.random_range(1..17u32);
            put(bytes, 7, &tokens.to_le_bytes());
            put(bytes, 11, &(17 - tokens).to_le_bytes());
        }
    }
}

#[test]
fn a_hundred_thousand_damaged_packets_decode_or_are_refused_in_bounded_memory() {
    let victims = victims();
    let mut rng = ChaCha8Rng::seed_from_u64(2025);
    let (mut refused, mut larger, mut read) = (0, 0, 0);
    for i in 0..PACKETS {
        let victim = &victims[i % victims.len()];
        let mut bytes = victim.bytes.clone();
        for _ in 0..rng.random_range(1..=2) {
            damage(&mut bytes, &mut rng);
        }
        PEAK.set(NOW.get());
        match Packet::from_bytes(bytes) {
            Ok(packet) if packet.tokens() * packet.hidden() > RECEIVED => larger += 1,
            Ok(packet) => match victim.read(&packet) {
                Ok(a) => {
                    read += 1;
                    assert_eq!((a.tokens(), a.hidden()), (packet.tokens(), packet.hidden()));
                    assert!(a.values().iter().all(|v| v.is_finite()), "packet {i}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(format!("{error:#}").starts_with("packet"), "packet {i}: {error:#}");
                }
            },
            Err(error) => {
                refused += 1;
                assert!(format!("{error:#}").starts_with("packet field"), "packet {i}: {error:#}");
            }
        }
        assert!(PEAK.get() < DAMAGED_MEMORY, "packet {i}: {} bytes", PEAK.get());
    }
    println!("{refused} refused, {larger} larger than what a receiver takes, {read} read");
    assert!(refused > PACKETS / 4 && read > PACKETS / 8, "{refused} refused, {read} read: the damage is one-sided");
}

#[test]
fn damaged_token_ids_are_ids_or_refused() {
    let codec = build(&CodecSpec::parse("token-ids").unwrap(), None).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(18);
    let (mut refused, mut read) = (0, 0);
    for i in 0..PACKETS / 10 {
        let mut bytes = token_ids_packet();
        damage(&mut bytes, &mut rng);
        // Only the sound ones of this codec are read.
        bytes.get_mut(5).into_iter().for_each(|id| *id = 18);
        PEAK.set(NOW.get());
        match Packet::from_bytes(bytes).and_then(|packet| Ok((packet.tokens(), codec.receive(&packet)?))) {
            Ok((tokens, Delivery::TokenIds(found))) => {
                read += 1;
                assert!(found.ids.len() == tokens && found.ids.iter().all(|id| *id < found.vocabulary), "packet {i}");
            }
            Ok((_, other)) => panic!("packet {i}: {other:?}"),
            Err(error) => {
                refused += 1;
                assert!(format!("{error:#}").starts_with("packet field"), "packet {i}: {error:#}");
            }
        }
        assert!(PEAK.get() < MEMORY, "packet {i}: {} bytes", PEAK.get());
    }
    assert!(refused > PACKETS / 100 && read > PACKETS / 100, "{refused} refused, {read} read");
}

#[test]
fn a_header_takes_nothing_whatever_shape_it_states() {
    for Victim { bytes, .. } in victims() {
        for count in COUNTS {
            for field in FIELDS {
                let mut bytes = bytes.clone();
                put(&mut bytes, field, &count.to_le_bytes());
                PEAK.set(NOW.get());
                let before = NOW.get();
                drop(Packet::from_bytes(bytes));
                // An error's text, and a backtrace where one was asked for.
                assert!(PEAK.get() - before < 1 << 16, "{count} at {field}: {} bytes", PEAK.get() - before);
            }
        }
    }
}

/// Every length has its own plan of transforms, and RustFFT's planners keep all they ever made: 29 bytes a unit of length
/// for rows and columns of 10,000 to 20,000, which would be 180 MB here.
#[test]
fn plans_of_many_lengths_are_not_kept() {
    for hidden in (10_000..20_000u32).step_by(23) {
        for (tokens, hidden) in [(1, hidden), (hidden, 1)] {
            assert_eq!(decode(&fc_packet(tokens, hidden, 1)).unwrap().hidden(), hidden as usize);
        }
    }
    assert!(PEAK.get() < MEMORY, "{} bytes", PEAK.get());
}

/// A mirrored block of f16 zeros, `ks` x 1.
fn fc_packet(tokens: u32, hidden: u32, ks: u32) -> Packet {
    let mut bytes = b"SPLB\x01\x01\x00".to_vec();
    for field in [&tokens.to_le_bytes()[..], &hidden.to_le_bytes(), &[1], &ks.to_le_bytes(), &1u32.to_le_bytes()] {
        bytes.extend_from_slice(field);
    }
    bytes.resize(bytes.len() + 2 + 4 * ks as usize, 0);
    Packet::from_bytes(bytes).unwrap()
}

/// A table of the factors of 500 row frequencies of a prime number of tokens would take 262 MB.
#[test]
fn no_table_grows_with_tokens_times_frequencies() {
    let packet = fc_packet(131_071, 1, 500);
    PEAK.set(NOW.get());
    assert_eq!(decode(&packet).unwrap().tokens(), 131_071);
    assert!(PEAK.get() < MEMORY, "{} bytes", PEAK.get());
}
