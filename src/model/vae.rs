//! The autoencoder between pictures and latents (diffusers' `AutoencoderKL`).
//!
//! Pictures are `[B, 3, H, W]` in [-1, 1]. Latents here are the VAE's own: a U-Net works on them times
//! [`Vae::scaling_factor`].

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::blocks::{Resnet, Upsample};
use super::config::{self, VaeConfig};
use super::layers::{Conv2d, Linear, Module, Norm, Visitor, attend, join};
use super::weights::{Checkpoint, LoadError, Pages, Precision, Weights};
use crate::names::{self, Key};

/// Every group norm's epsilon, and not the U-Net's 1e-5.
const EPS: f64 = 1e-6;

#[derive(Debug, Clone)]
struct Mid {
    resnets: Vec<Resnet>,
    norm: Norm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    groups: usize,
}

impl Mid {
    fn load(w: &mut Weights, path: &str, channels: usize, groups: usize) -> Self {
        let linear = |w: &mut Weights, name: &str| {
            Linear::load(w, &format!("{path}.attentions.0.{name}"), channels, channels, true)
        };
        Self {
            resnets: (0..2)
                .map(|i| Resnet::load(w, &format!("{path}.resnets.{i}"), [channels; 2], None, groups, EPS))
                .collect(),
            norm: Norm::load(w, &format!("{path}.attentions.0.group_norm"), channels, EPS),
            to_q: linear(w, "to_q"),
            to_k: linear(w, "to_k"),
            to_v: linear(w, "to_v"),
            to_out: linear(w, "to_out.0"),
            groups,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.resnets[0].forward(x, None);
        let [b, c, h, w] = x.dims();
        let t = self
            .norm
            .group(x.clone(), self.groups, false)
            .reshape([b, c, h * w])
            .swap_dims(1, 2);
        let q = self.to_q.forward(t.clone());
        let k = self.to_k.forward(t.clone());
        let v = self.to_v.forward(t);
        let t = self.to_out.forward(attend(q, k, v, 1, false));
        self.resnets[1].forward(x + t.swap_dims(1, 2).reshape([b, c, h, w]), None)
    }
}

impl Module for Mid {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        let attention = join(path, "attentions.0");
        self.norm.visit(&join(&attention, "group_norm"), v);
        self.to_q.visit(&join(&attention, "to_q"), v);
        self.to_k.visit(&join(&attention, "to_k"), v);
        self.to_v.visit(&join(&attention, "to_v"), v);
        self.to_out.visit(&join(&attention, "to_out.0"), v);
        self.resnets.visit(&join(path, "resnets"), v);
    }
}

#[derive(Debug, Clone)]
struct Level {
    resnets: Vec<Resnet>,
    down: Option<Conv2d>,
    up: Option<Upsample>,
}

impl Module for Level {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.resnets.visit(&join(path, "resnets"), v);
        self.down.visit(&join(path, "downsamplers.0.conv"), v);
        self.up.visit(&join(path, "upsamplers.0"), v);
    }
}

#[derive(Debug, Clone)]
struct Half {
    conv_in: Conv2d,
    levels: Vec<Level>,
    mid: Mid,
    norm_out: Norm,
    conv_out: Conv2d,
}

/// The autoencoder.
#[derive(Debug, Clone)]
pub struct Vae {
    config: VaeConfig,
    encoder: Half,
    decoder: Half,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    pages: Pages,
}

impl Vae {
    /// Reads `config.json` and the weights (`diffusion_pytorch_model`, in any of its layouts) in a folder.
    ///
    /// # Errors
    /// If a file cannot be read, the configuration is not supported, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, LoadError> {
        let config: VaeConfig = config::read(&folder.join("config.json"))?;
        let checkpoint = Arc::new(Checkpoint::of_part(folder, "diffusion_pytorch_model")?);
        let mut weights = Weights::of(&checkpoint, device, &|key| Key::Tensor(modern(key))).stored_as(precision);
        let vae = Self::build(&config, &mut weights).or_else(|m| config::refuse(&folder.join("config.json"), m))?;
        weights.finish()?;
        Ok(vae)
    }

    /// Reads a file with nothing but a VAE, in the original code's layout or in diffusers'. It holds no configuration:
    /// it has to fit this one.
    ///
    /// # Errors
    /// If it cannot be read or does not fit.
    pub fn load_file(
        path: &Path,
        config: &VaeConfig,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, LoadError> {
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        let levels = config.block_out_channels.len();
        let meaning = |key: &str| {
            let key = key.strip_prefix("first_stage_model.").unwrap_or(key);
            if ["loss.", "model_ema."].iter().any(|rest| key.starts_with(rest)) {
                return Key::Unneeded;
            }
            let original = key.rsplit_once('.');
            let original = original.and_then(|(path, end)| Some((names::vae_path(path, levels)?, end)));
            original.map_or_else(
                || Key::Tensor(modern(key)),
                |(path, end)| Key::Tensor(format!("{path}.{end}")),
            )
        };
        let mut weights = Weights::of(&checkpoint, device, &meaning).stored_as(precision);
        let vae = Self::build(config, &mut weights).or_else(|m| config::refuse(path, m))?;
        weights.finish()?;
        Ok(vae)
    }

    /// Builds the model that the configuration describes.
    ///
    /// # Errors
    /// A sentence about what is not supported.
    pub fn build(config: &VaeConfig, w: &mut Weights) -> Result<Self, String> {
        config.check()?;
        w.without_int8();
        let channels = &config.block_out_channels;
        let groups = config.norm_num_groups;
        let Some((&first, &last)) = channels.first().zip(channels.last()) else {
            return Err("block_out_channels is empty".to_owned());
        };
        if config.act_fn != "silu" {
            return Err(format!("act_fn: expected `silu`, found `{}`", config.act_fn));
        }
        if groups == 0 || channels.iter().any(|c| c % groups != 0) {
            return Err(format!("norm_num_groups {groups} does not divide {channels:?}"));
        }
        let latent = config.latent_channels;
        let resnets = |w: &mut Weights, path: &str, n: usize, [input, output]: [usize; 2]| {
            (0..n)
                .map(|i| {
                    let io = [if i == 0 { input } else { output }, output];
                    Resnet::load(w, &format!("{path}.resnets.{i}"), io, None, groups, EPS)
                })
                .collect()
        };
        let mut levels = Vec::new();
        let mut input = first;
        for (i, &output) in channels.iter().enumerate() {
            let path = format!("encoder.down_blocks.{i}");
            levels.push(Level {
                resnets: resnets(w, &path, config.layers_per_block, [input, output]),
                down: (i + 1 < channels.len())
                    .then(|| Conv2d::load(w, &format!("{path}.downsamplers.0.conv"), [output, output, 3], 2, 0)),
                up: None,
            });
            input = output;
        }
        let encoder = Half {
            conv_in: Conv2d::load(w, "encoder.conv_in", [config.in_channels, first, 3], 1, 1),
            levels,
            mid: Mid::load(w, "encoder.mid_block", last, groups),
            norm_out: Norm::load(w, "encoder.conv_norm_out", last, EPS),
            conv_out: Conv2d::load(w, "encoder.conv_out", [last, 2 * latent, 3], 1, 1),
        };
        let mut levels = Vec::new();
        let mut input = last;
        for (i, &output) in channels.iter().rev().enumerate() {
            let path = format!("decoder.up_blocks.{i}");
            levels.push(Level {
                resnets: resnets(w, &path, config.layers_per_block + 1, [input, output]),
                down: None,
                up: (i + 1 < channels.len()).then(|| Upsample::load(w, &format!("{path}.upsamplers.0"), output)),
            });
            input = output;
        }
        let decoder = Half {
            conv_in: Conv2d::load(w, "decoder.conv_in", [latent, last, 3], 1, 1),
            levels,
            mid: Mid::load(w, "decoder.mid_block", last, groups),
            norm_out: Norm::load(w, "decoder.conv_norm_out", first, EPS),
            conv_out: Conv2d::load(w, "decoder.conv_out", [first, config.out_channels, 3], 1, 1),
        };
        Ok(Self {
            encoder,
            decoder,
            quant_conv: Conv2d::load(w, "quant_conv", [2 * latent, 2 * latent, 1], 1, 0),
            post_quant_conv: Conv2d::load(w, "post_quant_conv", [latent, latent, 1], 1, 0),
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
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// What the U-Net's latents are, in units of the VAE's.
    #[must_use]
    pub fn scaling_factor(&self) -> f64 {
        self.config.scaling_factor
    }

    /// Picture pixels to one latent pixel, in each direction.
    #[must_use]
    pub fn factor(&self) -> usize {
        1 << (self.config.block_out_channels.len() - 1)
    }

    /// Mean and logarithm of the variance of the latent's distribution.
    ///
    /// # Shapes
    /// `[B, 3, H, W]` → two of `[B, latent, H/f, W/f]`
    #[must_use]
    pub fn encode(&self, image: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        self.encode_probed(image, &mut |_, _| {})
    }

    /// As [`Vae::encode`], showing what comes out of `encoder.mid_block`.
    pub fn encode_probed(&self, image: Tensor<4>, probe: &mut dyn FnMut(&str, &Tensor<4>)) -> (Tensor<4>, Tensor<4>) {
        let e = &self.encoder;
        let mut x = e.conv_in.forward(image);
        for level in &e.levels {
            for resnet in &level.resnets {
                x = resnet.forward(x, None);
            }
            if let Some(down) = &level.down {
                // One column on the right and one row below, and no padding in the convolution itself.
                x = down.forward(x.pad((0, 1, 0, 1), 0.0));
            }
        }
        x = e.mid.forward(x);
        probe("encoder.mid_block", &x);
        let x = e
            .conv_out
            .forward(e.norm_out.group(x, self.config.norm_num_groups, true));
        let moments = self.quant_conv.forward(x);
        let n = self.config.latent_channels;
        (
            moments.clone().narrow(1, 0, n),
            moments.narrow(1, n, n).clamp(-30.0, 20.0),
        )
    }

    /// The picture of a latent (already divided by the scaling factor).
    ///
    /// # Shapes
    /// `[B, latent, h, w]` → `[B, 3, h·f, w·f]`
    #[must_use]
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_probed(latents, &mut |_, _| {})
    }

    /// As [`Vae::decode`], showing what comes out of `decoder.mid_block`.
    pub fn decode_probed(&self, latents: Tensor<4>, probe: &mut dyn FnMut(&str, &Tensor<4>)) -> Tensor<4> {
        let d = &self.decoder;
        let mut x = d.mid.forward(d.conv_in.forward(self.post_quant_conv.forward(latents)));
        probe("decoder.mid_block", &x);
        for level in &d.levels {
            for resnet in &level.resnets {
                x = resnet.forward(x, None);
            }
            if let Some(up) = &level.up {
                x = up.forward(x, None);
            }
        }
        d.conv_out
            .forward(d.norm_out.group(x, self.config.norm_num_groups, true))
    }
}

/// Today's name of a key: older files call the attention's layers `query`, `key`, `value` and `proj_attn`.
fn modern(key: &str) -> String {
    let pairs = [
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
    ];
    pairs
        .iter()
        .fold(key.to_owned(), |key, (old, new)| key.replace(old, new))
}

impl Module for Vae {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        for (name, half, levels) in [
            ("encoder", &mut self.encoder, "down_blocks"),
            ("decoder", &mut self.decoder, "up_blocks"),
        ] {
            let path = join(path, name);
            half.conv_in.visit(&join(&path, "conv_in"), v);
            half.levels.visit(&join(&path, levels), v);
            half.mid.visit(&join(&path, "mid_block"), v);
            half.norm_out.visit(&join(&path, "conv_norm_out"), v);
            half.conv_out.visit(&join(&path, "conv_out"), v);
        }
        self.quant_conv.visit(&join(path, "quant_conv"), v);
        self.post_quant_conv.visit(&join(path, "post_quant_conv"), v);
    }
}
