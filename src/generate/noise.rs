//! Where noise comes from: numbers of our own, or those of PyTorch's generator, with which `ComfyUI` and A1111 draw.

use std::f64::consts::TAU;
use std::str::FromStr;

use rand_mt::Mt;

use super::Noise;
use crate::model::weights::Draws;

/// Whose random numbers a picture is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rng {
    /// Our own: each use of noise has numbers of its own.
    #[default]
    Own,
    /// PyTorch's on the CPU as A1111 draws from it with its setting `CPU`: one generator, for the picture and then for
    /// each step.
    Cpu,
    /// The same as `ComfyUI` draws from it on the CPU: the steps have a generator of their own, with the next seed.
    ComfyUi,
}

impl Rng {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Own, Self::Cpu, Self::ComfyUi];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Cpu => "cpu",
            Self::ComfyUi => "comfyui",
        }
    }

    /// What a label calls it: A1111's word for its own, nothing for our own.
    #[must_use]
    pub fn label(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Cpu => Some("CPU"),
            Self::ComfyUi => Some("ComfyUI"),
        }
    }

    /// The noise of a label, a seed and a number of values.
    pub fn noise(self) -> Noise<'static> {
        match self {
            Self::Own => &own,
            Self::Cpu => &|label, seed, count| of_torch(label, seed, [0, 1], count),
            Self::ComfyUi => &|label, seed, count| of_torch(label, seed, [1, 0], count),
        }
    }
}

impl FromStr for Rng {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rng| rng.as_str() == name);
        found.ok_or_else(|| format!("expected own, cpu or comfyui, found `{name}`"))
    }
}

/// Standard normal values that depend on the seed and the label alone.
fn own(label: &str, seed: u64, count: usize) -> Vec<f32> {
    Draws::new(seed, label).normals(count)
}

/// The values of the picture, or of a step: of a generator whose seed is so much further on, behind so many draws. What
/// else has noise (the VAE's encoder) draws our own.
fn of_torch(label: &str, seed: u64, [further, behind]: [u64; 2], count: usize) -> Vec<f32> {
    match label.strip_prefix("step/").map(str::parse::<usize>) {
        Some(Ok(step)) => Torch::new(seed.wrapping_add(further)).nth(step + behind as usize, count),
        _ if label == "picture/0" => Torch::new(seed).nth(0, count),
        _ => own(label, seed, count),
    }
}

/// The values of one use of Box and Muller's transform that come together in a long draw: half cosines, half sines.
const BLOCK: usize = 16;

/// `torch.Generator` on the CPU and `torch.randn` in f32: a Mersenne Twister (Matsumoto and Nishimura 1998) and Box and
/// Muller's transform (1958).
///
/// PyTorch computes logarithm, sine and cosine of long draws in f32, by formulas that depend on the processor; the values
/// here are the exact ones, rounded, and differ from its by less than 1e-6.
struct Torch {
    bits: Mt,
    /// The sine of a pair whose cosine is taken.
    spare: Option<f64>,
}

impl Torch {
    /// `torch.manual_seed`: of the seed, the lower half counts.
    fn new(seed: u64) -> Self {
        Self {
            bits: Mt::new(seed as u32),
            spare: None,
        }
    }

    /// The draw of so many values behind so many draws of as many.
    fn nth(mut self, draws: usize, count: usize) -> Vec<f32> {
        for _ in 0..draws {
            if count < BLOCK {
                self.normals(count);
            } else {
                let tail = if count.is_multiple_of(BLOCK) { 0 } else { BLOCK };
                for _ in 0..count + tail {
                    self.bits.next_u32();
                }
            }
        }
        self.normals(count)
    }

    fn normals(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.one() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        values.chunks_exact_mut(BLOCK).for_each(transform);
        if !count.is_multiple_of(BLOCK) {
            // The last ones are drawn anew.
            let tail = &mut values[count - BLOCK..];
            tail.fill_with(|| self.uniform());
            transform(tail);
        }
        values
    }

    /// Uniform in [0, 1), with the 24 bits of an f32.
    fn uniform(&mut self) -> f32 {
        (self.bits.next_u32() & 0xff_ffff) as f32 / 16_777_216.0
    }

    /// The same with the 53 bits of an f64.
    fn uniform_f64(&mut self) -> f64 {
        let [high, low] = [self.bits.next_u32(), self.bits.next_u32()].map(u64::from);
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// A value of a short draw.
    fn one(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (turn, share) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-share).ln_1p()).sqrt();
        let (sin, cos) = (TAU * turn).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// Two halves of uniform values become radius times cosine and radius times sine.
fn transform(block: &mut [f32]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        let log = f64::from(1.0 - *a).ln() as f32;
        let radius = (-2.0 * log).sqrt();
        let turn = TAU as f32 * *b;
        let (sin, cos) = f64::from(turn).sin_cos();
        (*a, *b) = (radius * cos as f32, radius * sin as f32);
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What `scripts/parity/make_comfyui.py` wrote.
    #[derive(Deserialize)]
    struct Golden {
        noise: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        seed: u64,
        count: usize,
        every: usize,
        values: [Vec<f32>; 2],
    }

    #[test]
    fn values_are_those_of_torch() {
        let golden: Golden = serde_json::from_str(include_str!("../../tests/fixtures/samplers/comfyui.json")).unwrap();
        let mut worst = 0.0f32;
        for Case {
            seed,
            count,
            every,
            values,
        } in golden.noise
        {
            for (draw, expected) in values.iter().enumerate() {
                let found: Vec<f32> = Torch::new(seed).nth(draw, count).into_iter().step_by(every).collect();
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(expected) {
                    worst = worst.max((a - b).abs());
                    assert!((a - b).abs() < 1e-6, "seed {seed}, {count} values: {a} is not {b}");
                }
            }
        }
        println!("worst {worst:.1e}");
    }

    #[test]
    fn both_programs_begin_alike_and_go_on_apart() {
        let [own, cpu, comfyui] = Rng::ALL.map(Rng::noise);
        for count in [8, 20, 64] {
            let both = Torch::new(5).normals(count);
            assert_eq!(cpu("picture/0", 5, count), both);
            assert_eq!(comfyui("picture/0", 5, count), both);
            assert_ne!(own("picture/0", 5, count), both);
            let mut one = Torch::new(5);
            let draws: Vec<Vec<f32>> = (0..4).map(|_| one.normals(count)).collect();
            assert_eq!(
                [0, 1, 2].map(|n| cpu(&format!("step/{n}"), 5, count)).as_slice(),
                &draws[1..]
            );
            let mut next = Torch::new(6);
            let draws = [0; 3].map(|_| next.normals(count));
            assert_eq!([0, 1, 2].map(|n| comfyui(&format!("step/{n}"), 5, count)), draws);
            assert_eq!(comfyui("start", 5, count), own("start", 5, count));
        }
    }
}
