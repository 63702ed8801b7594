//! How much memory a run takes at its peak, from the shapes of the model: a sum of what the code keeps.
//!
//! For a U-Net in training these are the inputs that backward passes ask for. With adapters on attention and feed-forward
//! they are, for `c` channels at `n` places: `2` of `c·n` for a residual block (what its two norms take in), `3` for a
//! transformer (norm, projection in, projection out) and `26` for each block in it (three norms 3, inputs of the
//! projections 4, queries, keys and values of both attentions 4, their results and what goes into the projection behind
//! them 4, the feed-forward part 1 + 8 + 4, and 2 for the copies that change the order of the heads). Weights are counted as they
//! are stored. How near that comes to what is measured is in `scripts/bench/README.md`. On a GPU the plain operations
//! keep more.

use serde::Serialize;

use crate::model::config::{TextConfig, UNetConfig, VaeConfig};

/// Bytes of a value.
const F32: u64 = 4;
/// The program itself, its threads' stacks and buffers.
const PROGRAM: u64 = 32 << 20;
/// Most bytes that micro-batches side by side may take for their work.
const SIDE_BY_SIDE: u64 = 1 << 30;
/// Questions that are measured at a time in a validation.
pub const VALIDATION_BATCH: u64 = 32;

/// Bytes that a run takes at its peak, by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The base's weights.
    pub base: u64,
    /// The adapter with its gradients, averages and the optimizer's memory.
    pub adapter: u64,
    /// Latents and embedded captions.
    pub data: u64,
    /// What the largest piece of work holds: an update's micro-batches, a validation, or a picture in the VAE.
    pub work: u64,
    /// All of it, with the program.
    pub total: u64,
}

/// How many micro-batches of an update run side by side, each with its share of the threads, when one takes so many bytes
/// for its work. That keeps all cores busy where tensors are too small to be divided; where they are large, more at a time
/// would only take more memory.
#[must_use]
pub fn side_by_side(work: u64, micro_batches: u64, threads: u64) -> u64 {
    let room = SIDE_BY_SIDE.checked_div(work).unwrap_or(u64::MAX);
    threads.min(micro_batches).min(room).max(1)
}

impl Memory {
    /// The sum of these bytes.
    #[must_use]
    pub fn of(base: u64, adapter: u64, data: u64, work: u64) -> Self {
        Self {
            base,
            adapter,
            data,
            work,
            total: base + adapter + data + work + PROGRAM,
        }
    }
}

/// Values that one sample takes in a U-Net.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unet {
    /// Kept for the backward pass.
    kept: u64,
    /// Of that, what goes into the parts that can be computed again.
    inputs: u64,
    /// What the largest of these parts keeps.
    largest: u64,
    /// The skip connections of a forward pass.
    skips: u64,
    /// The widest stretch of a forward or backward pass.
    widest: u64,
}

impl Unet {
    /// Counts along the U-Net's blocks, for latents of this height and width. `rank` is that of the adapter, `convolutions`
    /// says whether those have one too.
    #[must_use]
    pub fn new(config: &UNetConfig, size: [usize; 2], rank: usize, convolutions: bool) -> Self {
        let mut all = Self::default();
        let channels: Vec<u64> = config.block_out_channels.iter().map(|&c| c as u64).collect();
        let places = |level: usize| {
            let side = |n: usize| (n as u64).div_ceil(1 << level.min(32));
            side(size[0]) * side(size[1])
        };
        let layers = config.layers_per_block;
        let depth = |level: usize| config.transformer_layers_per_block.at(level) as u64;
        let last = channels.len().saturating_sub(1);
        let mut input = channels.first().copied().unwrap_or(0);
        let mut skips = vec![input];
        all.skips += input * places(0);
        for (level, &wide) in channels.iter().enumerate() {
            let n = places(level);
            for _ in 0..layers {
                let before = all.kept;
                all.resnet(input, wide, n, convolutions);
                let kind = config.down_block_types.get(level);
                if kind.is_some_and(|kind| kind.starts_with("CrossAttn")) {
                    all.transformer(wide, n, depth(level), rank as u64);
                }
                all.part(before, input * n);
                input = wide;
                skips.push(wide);
                all.skips += wide * n;
            }
            if level < last {
                all.resample(wide, n, convolutions);
                skips.push(wide);
                all.skips += wide * places(level + 1);
            }
        }
        let n = places(last);
        let before = all.kept;
        all.resnet(input, input, n, convolutions);
        all.transformer(input, n, depth(last), rank as u64);
        all.part(before, input * n);
        let before = all.kept;
        all.resnet(input, input, n, convolutions);
        all.part(before, input * n);
        for (place, kind) in config.up_block_types.iter().enumerate() {
            let level = last.saturating_sub(place);
            let (n, wide) = (places(level), channels.get(level).copied().unwrap_or(0));
            for _ in 0..=layers {
                let (before, both) = (all.kept, input + skips.pop().unwrap_or(0));
                all.resnet(both, wide, n, convolutions);
                if kind.starts_with("CrossAttn") {
                    all.transformer(wide, n, depth(level), rank as u64);
                }
                all.part(before, both * n);
                input = wide;
            }
            if level > 0 {
                all.resample(wide, places(level - 1), convolutions);
            }
        }
        all
    }

    fn resnet(&mut self, input: u64, output: u64, n: u64, convolutions: bool) {
        self.kept += (input + output) * n * (1 + u64::from(convolutions));
        // Input, norm, result of the first convolution, norm, result, way around.
        self.widest = self.widest.max((2 * input + 4 * output) * n);
    }

    fn transformer(&mut self, wide: u64, n: u64, depth: u64, rank: u64) {
        // Ten linear layers of a block have an adapter.
        self.kept += (3 + 26 * depth) * wide * n + depth * 10 * rank * n;
        // Around the gate: its input, twice four times as wide, what comes of it, and the way around.
        self.widest = self.widest.max(15 * wide * n);
    }

    /// Ends a part that can be computed again.
    fn part(&mut self, before: u64, input: u64) {
        self.inputs += input;
        self.largest = self.largest.max(self.kept - before);
    }

    fn resample(&mut self, wide: u64, n: u64, convolutions: bool) {
        self.inputs += wide * n;
        self.kept += wide * n * u64::from(convolutions);
        self.widest = self.widest.max(3 * wide * n);
    }

    /// Bytes of a forward and backward pass over so many samples, which may keep all or compute each part again.
    #[must_use]
    pub fn training(&self, samples: u64, recomputes: bool) -> u64 {
        let kept = match recomputes {
            true => self.inputs + self.largest,
            false => self.kept,
        };
        (kept + self.widest) * samples * F32
    }

    /// Bytes of a forward pass alone.
    #[must_use]
    pub fn drawing(&self, samples: u64) -> u64 {
        (self.skips + self.widest) * samples * F32
    }
}

/// Bytes that text encoders under training keep for so many captions: as [`Unet`], a layer keeps about 18 times its input.
#[must_use]
pub fn text(config: &TextConfig, captions: u64, recomputes: bool) -> u64 {
    let wide = config.hidden_size * config.max_position_embeddings;
    let layers = config.num_hidden_layers;
    let kept = match recomputes {
        true => layers + 18,
        false => 18 * layers,
    };
    (wide * kept) as u64 * captions * F32
}

/// Bytes of one picture on its way through the VAE: around a residual block of its finest level, and of the one before it on
/// the way up, which still has twice the channels.
#[must_use]
pub fn vae(config: &VaeConfig, size: [usize; 2]) -> u64 {
    let finest = config.block_out_channels.iter().take(2).max().copied().unwrap_or(0);
    (finest * size[0] * size[1]) as u64 * 5 * F32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> UNetConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn large_micro_batches_run_one_after_the_other() {
        for (mib, micro_batches, threads, expected) in [
            (70, 2, 2, 2),
            (70, 2, 16, 2),
            (70, 64, 16, 14),
            (600, 4, 2, 1),
            (1500, 4, 2, 1),
            (0, 4, 2, 2),
            (70, 0, 2, 1),
        ] {
            assert_eq!(side_by_side(mib << 20, micro_batches, threads), expected, "{mib} MiB");
        }
    }

    /// The peaks in `scripts/bench/README.md`, that of Stable Diffusion of its U-Net alone.
    #[test]
    fn it_is_near_the_measured_peaks() {
        let stable_diffusion = config(r#"{"cross_attention_dim": 768}"#);
        let embedded = config(include_str!("../../../datasets/base/unet/config.json"));
        // Weights, gradients and moments of rank 16, and the latents.
        let rest = 14 << 20;
        for (config, base, side, batch, rank, recomputes, measured) in [
            (&stable_diffusion, 859_520_964 * F32, 64, 1, 8, false, 4805.0),
            (&embedded, EMBEDDED + rest, 16, 8, 16, false, 197.0),
            (&embedded, EMBEDDED + rest, 32, 1, 16, false, 138.0),
            (&embedded, EMBEDDED + rest, 32, 8, 16, false, 538.0),
            (&embedded, EMBEDDED + rest, 32, 8, 16, true, 194.0),
        ] {
            let work = Unet::new(config, [side; 2], rank, false).training(batch, recomputes);
            let found = (Memory::of(base, 0, 0, work).total >> 20) as f64;
            assert!(
                (0.93..1.1).contains(&(found / measured)),
                "{found} MiB, measured {measured}"
            );
        }
    }

    /// The weights of `datasets/base` in f32.
    const EMBEDDED: u64 = 2 * (9_626_824 + 6_741_904 + 1_621_566);
}
