//! The U-Net of Stable Diffusion (Rombach et al. 2022, arXiv:2112.10752), as diffusers' `UNet2DConditionModel` builds it.
//!
//! Everything is read from the configuration; SD 1.x, SD 2.x and SDXL are configurations of this one model.

mod embedding;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

pub use embedding::Added;
use embedding::{Mlp, sinusoids};

use super::blocks::{Resnet, Upsample};
use super::config::{self, UNetConfig};
use super::layers::{Conv2d, Module, Norm, Visitor, join};
use super::recompute::Tape;
use super::transformer::{Transformer, TransformerConfig};
use super::weights::{Checkpoint, LoadError, Pages, Precision, Weights};
use crate::names::Key;

/// A tensor on its way through the model.
pub enum Probe<'a> {
    /// `[B, C, H, W]`
    Map(&'a Tensor<4>),
    /// `[B, T]`
    Vector(&'a Tensor<2>),
}

/// What a [`Step`] takes: pixels and those of the way down that join them, time and text.
type StepInput = ((Tensor<4>, Option<Tensor<4>>), (Tensor<2>, Tensor<3>));

/// A residual block with the attention behind it.
#[derive(Debug, Clone)]
struct Step {
    resnet: Resnet,
    attention: Option<Transformer>,
}

impl Step {
    fn forward(&self, ((x, skip), (time, context)): StepInput) -> Tensor<4> {
        let x = match skip {
            Some(skip) => Tensor::cat(vec![x, skip], 1),
            None => x,
        };
        let x = self.resnet.forward(x, Some(&time));
        match &self.attention {
            Some(attention) => attention.forward(x, &context),
            None => x,
        }
    }
}

impl Module for Step {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.attention.visit(&join(path, "attentions"), v);
        self.resnet.visit(&join(path, "resnets"), v);
    }
}

#[derive(Debug, Clone, Default)]
struct Level {
    steps: Vec<Step>,
    down: Option<Conv2d>,
    up: Option<Upsample>,
}

impl Module for Level {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        for (i, step) in self.steps.iter_mut().enumerate() {
            step.attention.visit(&format!("{path}.attentions.{i}"), v);
        }
        for (i, step) in self.steps.iter_mut().enumerate() {
            step.resnet.visit(&format!("{path}.resnets.{i}"), v);
        }
        self.down.visit(&join(path, "downsamplers.0.conv"), v);
        self.up.visit(&join(path, "upsamplers.0"), v);
    }
}

/// The noise predictor.
#[derive(Debug, Clone)]
pub struct UNet {
    config: UNetConfig,
    conv_in: Conv2d,
    time_embedding: Mlp,
    add_embedding: Option<Mlp>,
    down_blocks: Vec<Level>,
    mid_block: Level,
    up_blocks: Vec<Level>,
    conv_norm_out: Norm,
    conv_out: Conv2d,
    pages: Pages,
}

impl UNet {
    /// Reads `config.json` and the weights (`diffusion_pytorch_model`, in any of its layouts) in a folder.
    ///
    /// # Errors
    /// If a file cannot be read, the configuration is not supported, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, LoadError> {
        let config: UNetConfig = config::read(&folder.join("config.json"))?;
        let checkpoint = Arc::new(Checkpoint::of_part(folder, "diffusion_pytorch_model")?);
        let mut weights = Weights::of(&checkpoint, device, &|key| Key::Tensor(key.to_owned())).stored_as(precision);
        let unet = Self::build(&config, &mut weights).or_else(|m| config::refuse(&folder.join("config.json"), m))?;
        weights.finish()?;
        Ok(unet)
    }

    /// Builds the model that the configuration describes.
    ///
    /// # Errors
    /// A sentence about what is not supported.
    pub fn build(config: &UNetConfig, w: &mut Weights) -> Result<Self, String> {
        config.check()?;
        let channels = &config.block_out_channels;
        let levels = channels.len();
        if levels == 0 || config.down_block_types.len() != levels || config.up_block_types.len() != levels {
            return Err(format!(
                "expected as many block types as block_out_channels ({levels}), found {} down and {} up",
                config.down_block_types.len(),
                config.up_block_types.len()
            ));
        }
        if config.act_fn != "silu" {
            return Err(format!("act_fn: expected `silu`, found `{}`", config.act_fn));
        }
        if channels
            .iter()
            .any(|c| c.checked_rem(config.norm_num_groups) != Some(0))
        {
            return Err(format!(
                "norm_num_groups {} does not divide {channels:?}",
                config.norm_num_groups
            ));
        }
        let time = channels[0] * 4;
        let heads = config
            .num_attention_heads
            .as_ref()
            .unwrap_or(&config.attention_head_dim);
        let transformer = |level: usize| TransformerConfig {
            channels: channels[level],
            heads: heads.at(level),
            depth: config.transformer_layers_per_block.at(level),
            context: config.cross_attention_dim,
            groups: config.norm_num_groups,
            linear: config.use_linear_projection,
        };
        let resnet = |w: &mut Weights, path: &str, io: [usize; 2]| {
            Resnet::load(w, path, io, Some(time), config.norm_num_groups, config.norm_eps)
        };

        let add_embedding = match config.addition_embed_type.as_deref() {
            None => None,
            Some("text_time") => {
                let input = config
                    .projection_class_embeddings_input_dim
                    .ok_or("text_time needs projection_class_embeddings_input_dim")?;
                Some(Mlp::load(w, "add_embedding", input, time))
            }
            Some(other) => {
                return Err(format!(
                    "addition_embed_type: expected none or `text_time`, found `{other}`"
                ));
            }
        };

        let mut skips = vec![channels[0]];
        let mut down_blocks = Vec::new();
        let mut input = channels[0];
        for (level, &output) in channels.iter().enumerate() {
            let path = format!("down_blocks.{level}");
            let attends = attends(&config.down_block_types[level], "CrossAttnDownBlock2D", "DownBlock2D")?;
            let mut block = Level::default();
            for i in 0..config.layers_per_block {
                block.steps.push(Step {
                    resnet: resnet(w, &format!("{path}.resnets.{i}"), [input, output]),
                    attention: attends
                        .then(|| Transformer::load(w, &format!("{path}.attentions.{i}"), &transformer(level)))
                        .transpose()?,
                });
                input = output;
                skips.push(output);
            }
            if level + 1 < levels {
                let name = format!("{path}.downsamplers.0.conv");
                block.down = Some(Conv2d::load(w, &name, [output, output, 3], 2, 1));
                skips.push(output);
            }
            down_blocks.push(block);
        }

        let last = levels - 1;
        let mid_block = Level {
            steps: vec![
                Step {
                    resnet: resnet(w, "mid_block.resnets.0", [input, input]),
                    attention: Some(Transformer::load(w, "mid_block.attentions.0", &transformer(last))?),
                },
                Step {
                    resnet: resnet(w, "mid_block.resnets.1", [input, input]),
                    attention: None,
                },
            ],
            ..Level::default()
        };

        let mut up_blocks = Vec::new();
        for b in 0..levels {
            let level = last - b;
            let path = format!("up_blocks.{b}");
            let output = channels[level];
            let attends = attends(&config.up_block_types[b], "CrossAttnUpBlock2D", "UpBlock2D")?;
            let mut block = Level::default();
            for i in 0..=config.layers_per_block {
                let skip = skips.pop().unwrap_or(output);
                block.steps.push(Step {
                    resnet: resnet(w, &format!("{path}.resnets.{i}"), [input + skip, output]),
                    attention: attends
                        .then(|| Transformer::load(w, &format!("{path}.attentions.{i}"), &transformer(level)))
                        .transpose()?,
                });
                input = output;
            }
            if b < last {
                block.up = Some(Upsample::load(w, &format!("{path}.upsamplers.0"), output));
            }
            up_blocks.push(block);
        }

        Ok(Self {
            conv_in: Conv2d::load(w, "conv_in", [config.in_channels, channels[0], 3], 1, 1),
            time_embedding: Mlp::load(w, "time_embedding", channels[0], time),
            add_embedding,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: Norm::load(w, "conv_norm_out", channels[0], config.norm_eps),
            conv_out: Conv2d::load(w, "conv_out", [channels[0], config.out_channels, 3], 1, 1),
            config: config.clone(),
            pages: w.pages(),
        })
    }

    /// The weights that stayed in their files.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Predicts the noise (or velocity) in `sample`.
    ///
    /// # Shapes
    /// `sample` `[B, C, H, W]`, `timesteps` one or `B`, `context` `[B, N, cross_attention_dim]` → `[B, C, H, W]`
    #[must_use]
    pub fn forward(
        &self,
        sample: Tensor<4>,
        timesteps: &[f32],
        context: &Tensor<3>,
        added: Option<&Added>,
    ) -> Tensor<4> {
        self.forward_on(&mut Tape::new(false), sample, timesteps, context, added)
    }

    /// As [`UNet::forward`], with the residual blocks and the attention behind each as parts of `tape`.
    pub fn forward_on(
        &self,
        tape: &mut Tape,
        sample: Tensor<4>,
        timesteps: &[f32],
        context: &Tensor<3>,
        added: Option<&Added>,
    ) -> Tensor<4> {
        self.run(tape, (sample, timesteps), context, added, &mut |_, _| {})
    }

    /// As [`UNet::forward`], showing what comes out of each part under its diffusers name.
    pub fn forward_probed(
        &self,
        sample: Tensor<4>,
        timesteps: &[f32],
        context: &Tensor<3>,
        added: Option<&Added>,
        probe: &mut dyn FnMut(&str, Probe<'_>),
    ) -> Tensor<4> {
        self.run(&mut Tape::new(false), (sample, timesteps), context, added, probe)
    }

    fn run(
        &self,
        tape: &mut Tape,
        (sample, timesteps): (Tensor<4>, &[f32]),
        context: &Tensor<3>,
        added: Option<&Added>,
        probe: &mut dyn FnMut(&str, Probe<'_>),
    ) -> Tensor<4> {
        let device = sample.device();
        let batch = sample.dims()[0];
        let steps: Vec<f32> = (0..batch).map(|i| timesteps[i % timesteps.len().max(1)]).collect();
        let c = &self.config;
        let waves = sinusoids(
            &steps,
            c.block_out_channels[0],
            c.flip_sin_to_cos,
            c.freq_shift,
            &device,
        );
        let mut time = self.time_embedding.forward(waves); // [B, 4·C0]
        probe("time_embedding", Probe::Vector(&time));
        if let (Some(layer), Some(added)) = (&self.add_embedding, added) {
            let extra = layer.forward(self.added_input(added));
            probe("add_embedding", Probe::Vector(&extra));
            time = time + extra;
        }
        let x = self.conv_in.forward(sample);
        probe("conv_in", Probe::Map(&x));

        let (mut x, conditions) = tape.cut((x, (time, context.clone())));
        let step = |tape: &mut Tape, step: &Step, x: Tensor<4>, skip: Option<Tensor<4>>| {
            tape.part(step, ((x, skip), conditions.clone()), Step::forward)
        };
        let mut skips = vec![x.clone()];
        for (b, block) in self.down_blocks.iter().enumerate() {
            for one in &block.steps {
                x = step(tape, one, x, None);
                skips.push(x.clone());
            }
            if let Some(down) = &block.down {
                x = tape.part(down, x, Conv2d::forward);
                skips.push(x.clone());
            }
            probe(&format!("down_blocks.{b}"), Probe::Map(&x));
        }

        for one in &self.mid_block.steps {
            x = step(tape, one, x, None);
        }
        probe("mid_block", Probe::Map(&x));

        for (b, block) in self.up_blocks.iter().enumerate() {
            for one in &block.steps {
                x = step(tape, one, x, skips.pop());
            }
            if let Some(up) = &block.up {
                let size = skips.last().map(|s| [s.dims()[2], s.dims()[3]]);
                x = tape.part(up, x, move |up, x| up.forward(x, size));
            }
            probe(&format!("up_blocks.{b}"), Probe::Map(&x));
        }
        self.conv_out
            .forward(self.conv_norm_out.group(x, c.norm_num_groups, true))
    }

    fn added_input(&self, added: &Added) -> Tensor<2> {
        let [batch, ids] = added.time_ids.dims();
        let width = self.config.addition_time_embed_dim.unwrap_or(256);
        let flat = added
            .time_ids
            .clone()
            .reshape([batch * ids])
            .into_data()
            .convert::<f32>();
        let values: Vec<f32> = flat.iter::<f32>().collect();
        let c = &self.config;
        let waves = sinusoids(
            &values,
            width,
            c.flip_sin_to_cos,
            c.freq_shift,
            &added.text_embeds.device(),
        );
        Tensor::cat(vec![added.text_embeds.clone(), waves.reshape([batch, ids * width])], 1)
    }
}

/// Whether a block of this type attends to the text.
fn attends(found: &str, with: &str, without: &str) -> Result<bool, String> {
    match found {
        _ if found == with => Ok(true),
        _ if found == without => Ok(false),
        _ => Err(format!("block type: expected `{with}` or `{without}`, found `{found}`")),
    }
}

impl Module for UNet {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.conv_in.visit(&join(path, "conv_in"), v);
        self.time_embedding.visit(&join(path, "time_embedding"), v);
        self.add_embedding.visit(&join(path, "add_embedding"), v);
        self.down_blocks.visit(&join(path, "down_blocks"), v);
        self.mid_block.visit(&join(path, "mid_block"), v);
        self.up_blocks.visit(&join(path, "up_blocks"), v);
        self.conv_norm_out.visit(&join(path, "conv_norm_out"), v);
        self.conv_out.visit(&join(path, "conv_out"), v);
    }
}
