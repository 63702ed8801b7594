//! Random numbers that no library's version changes.

use super::Init;

/// A small generator for everything that must not depend on a library's version: `SplitMix64`
/// (Steele, Lea, Flood 2014) over a seed and a label.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// Values that depend on the seed and the label alone.
    #[must_use]
    pub fn new(seed: u64, label: &str) -> Self {
        // FNV-1a, so that labels that differ in one letter are far apart.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut draws = Self(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        draws.bits();
        draws
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Puts the values into another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `n` standard normal values.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal() as f32).collect()
    }
}

/// `n` fresh values for the tensor of this name.
pub(super) fn draw(seed: u64, name: &str, n: usize, init: Init) -> Vec<f32> {
    let mut draws = Draws::new(seed, name);
    match init {
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
        Init::Uniform(bound) => (0..n).map(|_| ((2.0 * draws.uniform() - 1.0) * bound) as f32).collect(),
        Init::Normal(std) => (0..n).map(|_| (draws.normal() * std) as f32).collect(),
    }
}
