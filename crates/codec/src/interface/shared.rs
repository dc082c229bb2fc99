//! Calibrated numbers that encoder and decoder must both have. They are not sent; a packet names them by a digest.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

/// Bytes of a digest in a packet: with 2^64 values, two calibrations hardly ever share one.
pub(crate) const DIGEST_BYTES: usize = 8;

/// Calibrated numbers, with the digest that a packet names them by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SharedNumbers {
    /// The numbers, in the order of the codec that shares them.
    pub numbers: Vec<f32>,
    /// The first bytes of the SHA-256 of the numbers, f32 in little endian.
    pub digest: [u8; DIGEST_BYTES],
}

impl SharedNumbers {
    pub fn new(numbers: Vec<f32>) -> Self {
        let mut hash = Sha256::new();
        numbers.iter().for_each(|number| hash.update(number.to_le_bytes()));
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash.finalize()[..DIGEST_BYTES]);
        Self { numbers, digest }
    }

    /// Fails unless a packet was made with these numbers.
    pub fn check(&self, found: &[u8], codec: &str) -> Result<()> {
        ensure!(
            found == self.digest,
            "packet field digest: this {codec} was calibrated to {}, the packet was made with {}: both sides need the same \
             calibration",
            hex::encode(self.digest),
            hex::encode(found)
        );
        Ok(())
    }
}

/// Fails where a packet has another number of channels than the calibration.
pub(crate) fn check_hidden(codec: &str, calibrated: usize, found: usize) -> Result<()> {
    ensure!(
        found == calibrated,
        "packet field hidden: {codec} was calibrated for {calibrated} channels, the packet has {found}"
    );
    Ok(())
}

/// The error where a packet is read without a calibration.
pub(crate) fn missing(codec: &str, spec: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "packet of {codec}: it is read with the calibration it was made with; give that, as in `splitbench codec --decode \
         P.bin --output B.npy --codec {spec} --calibration C.npy`"
    )
}
