//! A small seeded generator (SplitMix64), so that the art depends on nothing but its names.

/// The generator's state.
pub struct Rng(u64);

impl Rng {
    /// A generator for a picture: `words` name it (FNV-1a), `index` tells its variants apart.
    pub fn new(words: &[&str], index: u64) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash.wrapping_add(index.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [low, high).
    pub fn range(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.next() >> 40) as f32 / (1u64 << 24) as f32;
        low + unit * (high - low)
    }

    /// True with probability one half.
    pub fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    /// An index below `count`, which is at least 1.
    pub fn pick(&mut self, count: usize) -> usize {
        (self.range(0.0, count as f32) as usize).min(count - 1)
    }
}
