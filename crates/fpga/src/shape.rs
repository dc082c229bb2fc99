//! What the cores can do: shapes, and the numbers that follow from one.

use anyhow::{Result, ensure};

use splitbench_codec::kernel::{Band, Block};

/// The largest S.
pub const MAX_TOKENS: usize = 512;

/// The lengths D of the hidden axis.
pub const HIDDEN: [usize; 4] = [192, 1536, 2048, 3072];

/// Channels a cycle, and lanes of the hidden transform.
pub(super) const LANES: usize = 8;

/// Columns of a word of the column buffer, and complex coefficients of a beat.
pub(super) const COLUMNS: usize = 4;

/// An activation's shape and its kept block (band `mirrored`), within the limits of the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreShape {
    tokens: usize,
    hidden: usize,
    block: Block,
}

impl CoreShape {
    /// Fails where a core cannot do it, and says which limit is passed.
    pub fn new(tokens: usize, hidden: usize, block: Block) -> Result<Self> {
        ensure!(
            (1..=MAX_TOKENS).contains(&tokens),
            "the FPGA core takes S from 1 to {MAX_TOKENS}, not {tokens}: leave longer sequences to another back end"
        );
        ensure!(
            HIDDEN.contains(&hidden),
            "the FPGA core takes D of 192, 1536, 2048 and 3072, not {hidden}: its transform has stages for these alone"
        );
        let Block { ks, kd } = block;
        ensure!((1..=tokens).contains(&ks), "K_S is {ks}, but must be in 1..={tokens} (S)");
        let most = Band::Mirrored.max_kd(hidden);
        ensure!((1..=most).contains(&kd), "K_D is {kd}, but must be in 1..={most} (D)");
        Ok(Self { tokens, hidden, block })
    }

    /// S.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// D.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// K_S and K_D.
    pub fn block(&self) -> Block {
        self.block
    }

    /// Length of each lane's transform, D / 8.
    pub(super) fn lane_length(&self) -> usize {
        self.hidden / LANES
    }

    /// D is this times a power of two: 1 or 3.
    pub(super) fn odd_factor(&self) -> usize {
        self.hidden >> self.hidden.trailing_zeros()
    }

    /// The hidden transform gives the sum over 2^this.
    pub(super) fn hidden_scale(&self) -> u32 {
        // A factor of 3 is scaled by 4.
        self.hidden.trailing_zeros() + if self.odd_factor() == 3 { 2 } else { 0 }
    }

    /// Words of a row: four columns each, up to K_D or the middle of the spectrum, whichever comes first.
    pub(super) fn tiles(&self) -> usize {
        self.block.kd.min(self.hidden / 2 + 1).div_ceil(COLUMNS)
    }

    /// Row frequencies up to the middle that are sent: 0 to this.
    pub(super) fn direct_rows(&self) -> usize {
        self.block.ks.min(self.tokens / 2 + 1)
    }

    /// Whether the row frequency S - u is sent for the columns of a tile beside u: where it is kept, or where the mirror
    /// positions (u, D - v) of its columns are.
    pub(super) fn sends_mirror(&self, u: usize, tile: usize) -> bool {
        let pair = u > 0 && 2 * u != self.tokens;
        let past_middle = tile < self.lane_length() && self.hidden - (COLUMNS * tile + COLUMNS - 1) < self.block.kd;
        pair && (past_middle || self.tokens - u < self.block.ks)
    }

    /// Row frequency and tile of each beat, in the order in which beats go over the ports.
    pub(super) fn beats(&self) -> Vec<Beat> {
        let mut beats = Vec::new();
        for tile in 0..self.tiles() {
            for u in 0..self.direct_rows() {
                beats.push(Beat { row: u, tile });
                if self.sends_mirror(u, tile) {
                    beats.push(Beat { row: self.tokens - u, tile });
                }
            }
        }
        beats
    }

    /// Whether coefficient (u, v) is in the block.
    pub(super) fn holds(&self, u: usize, v: usize) -> bool {
        u < self.block.ks && v < self.block.kd
    }

    /// The position (S - u, D - v), whose coefficient is the conjugate.
    pub(super) fn mirror(&self, u: usize, v: usize) -> (usize, usize) {
        ((self.tokens - u) % self.tokens, (self.hidden - v) % self.hidden)
    }
}

/// Four coefficients of one row frequency, which have a common exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beat {
    /// Row frequency, 0..S.
    pub row: usize,
    /// Columns from 4 times this on.
    pub tile: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_named() {
        let block = |ks, kd| Block { ks, kd };
        for (tokens, hidden, block, part) in [
            (0, 192, block(1, 1), "S from 1 to 512, not 0"),
            (513, 192, block(1, 1), "S from 1 to 512, not 513"),
            (4, 4096, block(1, 1), "not 4096"),
            (4, 192, block(5, 1), "K_S is 5, but must be in 1..=4"),
            (4, 192, block(0, 1), "K_S is 0"),
            (4, 192, block(1, 193), "K_D is 193, but must be in 1..=192"),
            (4, 192, block(1, 0), "K_D is 0"),
        ] {
            let error = CoreShape::new(tokens, hidden, block).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    /// Each coefficient of the block, or its mirror, goes over the port, and no beat is there for nothing.
    #[test]
    fn beats_cover_the_block_once() {
        for tokens in 1..=9 {
            for ks in 1..=tokens {
                for kd in [1, 4, 5, 70, 96, 97, 98, 100, 101, 150, 191, 192] {
                    let shape = CoreShape::new(tokens, 192, Block { ks, kd }).unwrap();
                    let beats = shape.beats();
                    let sent =
                        |u, v| v <= 96 && beats.iter().filter(|b| b.row == u && b.tile == v / COLUMNS).count() == 1;
                    for (u, v) in (0..ks).flat_map(|u| (0..kd).map(move |v| (u, v))) {
                        let (mu, mv) = shape.mirror(u, v);
                        assert!(sent(u, v) || sent(mu, mv), "{shape:?}: ({u}, {v})");
                    }
                    for beat in beats {
                        let needed = (0..COLUMNS).map(|i| COLUMNS * beat.tile + i).any(|v| {
                            let (mu, mv) = shape.mirror(beat.row, v);
                            shape.holds(beat.row, v) || shape.holds(mu, mv)
                        });
                        assert!(needed, "{shape:?}: {beat:?}");
                    }
                }
            }
        }
    }
}
