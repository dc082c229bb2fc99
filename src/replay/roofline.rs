//! Counted operations and bytes of the FC kernels, and how long a device would take for them at best.

use super::profile::DeviceProfile;
use splitbench_codec::kernel::Block;

/// One way to do the transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// Tokens first, kept rows along D: this program's on a processor.
    TokensFirst,
    /// cuFFT: all rows to half-spectra, then the kept columns, then the block; and back.
    Cufft,
    /// One launch forward: sums over tokens for the kept rows, then their fast transforms; two launches back.
    Fused,
}

/// What one direction takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct KernelWork {
    /// Floating-point operations; a fast transform of n complex numbers counts 5 n log2 n, of n real ones half.
    pub operations: f64,
    /// Bytes read and written in main memory; what fits between two steps in registers or shared memory is not.
    pub bytes: f64,
    /// Kernel launches.
    pub launches: f64,
}

impl KernelWork {
    /// Seconds: launches, then whichever of arithmetic and memory takes longer, each at its best.
    pub fn seconds(self, device: &DeviceProfile) -> f64 {
        self.launches * device.launch_s()
            + (self.operations / device.flops()).max(self.bytes / device.bytes_per_second())
    }
}

/// Work to compress and to decompress one S x D activation (f32) to a block (pairs of f32) by `mirrored` or `corner`.
pub(super) fn work(kernel: Kernel, (tokens, hidden): (usize, usize), block: Block) -> [KernelWork; 2] {
    let (s, d) = (tokens as f64, hidden as f64);
    let (ks, kd) = (block.ks as f64, block.kd as f64);
    // Rows and columns beyond the middle are mirrors of computed ones.
    let rows = block.ks.min(tokens / 2 + 1) as f64;
    let half = (hidden / 2 + 1) as f64;
    let columns = kd.min(half);
    let (matrix, kept) = (4.0 * s * d, 8.0 * ks * kd);
    match kernel {
        Kernel::TokensFirst => {
            let operations = 2.5 * s * s.log2() * d + 5.0 * rows * d * d.log2();
            [KernelWork { operations, bytes: matrix + kept, launches: 0.0 }; 2]
        }
        Kernel::Cufft => {
            let operations = 2.5 * s * d * d.log2() + 5.0 * columns * s * s.log2();
            let spectrum = 8.0 * s * half;
            let strided = 16.0 * s * columns;
            let forward = matrix + spectrum + strided + 2.0 * kept;
            // Backward the half-spectrum is written whole, zeros included, before the columns and rows are done.
            let back = kept + spectrum + strided + spectrum + matrix;
            [
                KernelWork { operations, bytes: forward, launches: 3.0 },
                KernelWork { operations, bytes: back, launches: 3.0 },
            ]
        }
        Kernel::Fused => {
            let operations = 4.0 * rows * s * d + 5.0 * rows * d * d.log2();
            let between = 16.0 * rows * d;
            [
                KernelWork { operations, bytes: matrix + kept, launches: 1.0 },
                KernelWork { operations, bytes: kept + between + matrix, launches: 2.0 },
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let block = Block { ks: 2, kd: 8 };
        let [forward, back] = work(Kernel::Cufft, (4, 16), block);
        // 2.5 * 4 * 16 * 4 along D, 5 * 8 * 4 * 2 along S.
        assert_eq!(forward.operations, 640.0 + 320.0);
        // A 256, half-spectrum 4 * 9 * 8, columns twice 4 * 8 * 8, block 128 read and written.
        assert_eq!(forward.bytes, 256.0 + 288.0 + 512.0 + 256.0);
        assert_eq!(back.bytes, 128.0 + 288.0 + 512.0 + 288.0 + 256.0);
        let [forward, back] = work(Kernel::Fused, (4, 16), block);
        assert_eq!(forward.operations, 4.0 * 2.0 * 64.0 + 5.0 * 2.0 * 16.0 * 4.0);
        assert_eq!((forward.bytes, forward.launches), (256.0 + 128.0, 1.0));
        assert_eq!((back.bytes, back.launches), (128.0 + 512.0 + 256.0, 2.0));
        // One token has no transform along tokens.
        assert_eq!(work(Kernel::TokensFirst, (1, 16), Block { ks: 1, kd: 4 })[0].operations, 5.0 * 16.0 * 4.0);
    }

    #[test]
    fn time_is_launches_and_the_slower_limit() {
        let device = DeviceProfile::new("test", [1e9, 1e8, 1e-6]);
        let work = |operations, bytes| KernelWork { operations, bytes, launches: 2.0 };
        assert!((work(1e6, 1e3).seconds(&device) - (2e-6 + 1e-3)).abs() < 1e-12);
        assert!((work(1e3, 1e6).seconds(&device) - (2e-6 + 1e-2)).abs() < 1e-12);
    }
}
