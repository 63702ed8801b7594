//! A whole Stable Diffusion: tokenizers, text encoders, U-Net, VAE and noise schedule.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::base::{Base, Encoder, Family};
use super::params::to_vec;
use super::prompt::{self, Rows};
use super::recompute::Tape;
use super::scheduler::{NoiseSchedule, ScheduleConfig, ScheduleError};
use super::text::{Encoded, TextEncoder};
use super::tokenizer::{Tokenizer, TokenizerError};
use super::unet::{Added, UNet};
use super::vae::Vae;
use super::weights::{LoadError, Pages, Precision};
use crate::kernels;

/// Why a folder or a file is not a model that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Weights or a configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Parts that do not belong together.
    #[error("`{path}`: the parts do not fit together: {message}")]
    Parts {
        /// The folder or file.
        path: std::path::PathBuf,
        /// What does not fit.
        message: String,
    },
    /// Weights that the device has no kernels for.
    #[error("weights in int8 are for the CPU alone; hint: compute with --device cpu, or keep the weights in f16")]
    Int8,
    /// More layers to be left out than there are.
    #[error("clip skip: expected 1 (the last layer) to {layers}, found {found}")]
    ClipSkip {
        /// What was asked for.
        found: usize,
        /// Layers of the smallest encoder.
        layers: usize,
    },
}

/// SDXL's second tokenizer and encoder.
#[derive(Clone)]
pub struct Second {
    /// Text → token ids.
    pub tokenizer: Arc<Tokenizer>,
    /// Token ids → embedding and pooled vector.
    pub text: TextEncoder,
}

/// What texts are to the U-Net.
#[derive(Debug, Clone)]
pub struct Conditions {
    /// `[B, N, D]`
    pub context: Tensor<3>,
    /// SDXL: `[B, P]`
    pub pooled: Option<Tensor<2>>,
}

/// A Stable Diffusion 1.x or 2.x, or SDXL.
#[derive(Clone)]
pub struct Pipeline {
    /// Which of them.
    pub family: Family,
    /// Text → token ids.
    pub tokenizer: Arc<Tokenizer>,
    /// Token ids → embedding.
    pub text: TextEncoder,
    /// SDXL's other encoder.
    pub second: Option<Second>,
    /// SDXL: a negative prompt that is not given is zeros, and not the encoding of nothing.
    pub zero_empty: bool,
    /// Predicts the noise.
    pub unet: UNet,
    /// Pictures ↔ latents.
    pub vae: Vae,
    /// The schedule's configuration.
    pub schedule_config: ScheduleConfig,
    /// What follows from it.
    pub schedule: NoiseSchedule,
}

impl Pipeline {
    /// Loads all parts of a base.
    ///
    /// # Errors
    /// The first part that cannot be read or does not fit its configuration, parts of different models, or weights in int8
    /// for a GPU.
    pub fn load(base: &Base, device: &Device) -> Result<Self, PipelineError> {
        if base.precision() == Precision::Int8 && !kernels::has(device) {
            return Err(PipelineError::Int8);
        }
        let second = match base.family() {
            Family::Xl => Some(Second {
                tokenizer: Arc::new(base.tokenizer(Encoder::Second)?),
                text: base.text(Encoder::Second, device)?,
            }),
            _ => None,
        };
        let schedule_config = base.schedule()?;
        let pipeline = Self {
            family: base.family(),
            tokenizer: Arc::new(base.tokenizer(Encoder::First)?),
            text: base.text(Encoder::First, device)?,
            second,
            zero_empty: base.zero_empty(),
            unet: base.unet(device)?,
            vae: base.vae(device)?,
            schedule: NoiseSchedule::new(&schedule_config),
            schedule_config,
        };
        pipeline.check().map_err(|message| PipelineError::Parts {
            path: base.path().to_owned(),
            message,
        })?;
        Ok(pipeline)
    }

    /// Joins the networks of a Stable Diffusion 1.x or 2.x with the tokenizer and the schedule of a folder.
    ///
    /// # Errors
    /// If the tokenizer or the schedule cannot be read.
    pub fn assemble(folder: &Path, text: TextEncoder, unet: UNet, vae: Vae) -> Result<Self, PipelineError> {
        let schedule_config = ScheduleConfig::from_folder(&folder.join("scheduler"))?;
        let tokenizer = Arc::new(Tokenizer::from_folder(&folder.join("tokenizer"))?);
        let schedule = NoiseSchedule::new(&schedule_config);
        Ok(Self {
            family: Family::of(unet.config()),
            tokenizer,
            text,
            second: None,
            zero_empty: false,
            unet,
            vae,
            schedule_config,
            schedule,
        })
    }

    /// Whether the U-Net takes a mask and the latents of a masked picture besides the latents.
    #[must_use]
    pub fn inpaints(&self) -> bool {
        self.unet.config().in_channels == 2 * self.vae.config().latent_channels + 1
    }

    /// What would fail in the middle of a run.
    fn check(&self) -> Result<(), String> {
        let (unet, latent) = (self.unet.config(), self.vae.config().latent_channels);
        if unet.in_channels != latent && !self.inpaints() || unet.out_channels != latent {
            return Err(format!(
                "the VAE has {latent} latent channels, the U-Net takes {} and gives {}; expected {latent} and {latent}, \
                 or, for inpainting, {} and {latent}",
                unet.in_channels,
                unet.out_channels,
                2 * latent + 1
            ));
        }
        let second = self.second.as_ref().map_or(0, |s| s.text.config().hidden_size);
        let width = self.text.config().hidden_size + second;
        if width != unet.cross_attention_dim {
            return Err(format!(
                "the text is {width} wide, the U-Net takes {}",
                unet.cross_attention_dim
            ));
        }
        if let Some(second) = &self.second {
            let pooled = second.text.config().projection_dim;
            let expected = pooled + 6 * unet.addition_time_embed_dim.unwrap_or(256);
            if unet.projection_class_embeddings_input_dim != Some(expected) {
                return Err(format!(
                    "the pooled text and six time ids are {expected} wide, the U-Net takes {:?}",
                    unet.projection_class_embeddings_input_dim
                ));
            }
        }
        Ok(())
    }

    /// The token ids of a caption, cut and padded to the encoder's length.
    #[must_use]
    pub fn tokens(&self, caption: &str) -> Vec<u32> {
        self.tokenizer
            .encode_padded(caption, self.text.config().max_position_embeddings)
    }

    /// The embeddings of captions: plain text without weights, cut to the encoder's length.
    ///
    /// # Shapes
    /// `n` captions → context `[n, 77, width]`
    #[must_use]
    pub fn embed(&self, captions: &[&str], device: &Device) -> Conditions {
        self.embed_on(&mut Tape::new(false), captions, device)
    }

    /// As [`Pipeline::embed`], with the encoders' layers as parts of `tape`.
    pub fn embed_on(&self, tape: &mut Tape, captions: &[&str], device: &Device) -> Conditions {
        let rows: Vec<Vec<u32>> = captions.iter().map(|c| self.tokens(c)).collect();
        let first = self.text.forward_on(tape, &rows, device);
        let Some(second) = &self.second else {
            return Conditions {
                context: first.last,
                pooled: None,
            };
        };
        let length = second.text.config().max_position_embeddings;
        let rows: Vec<Vec<u32>> = captions
            .iter()
            .map(|c| second.tokenizer.encode_padded(c, length))
            .collect();
        let other = second.text.forward_on(tape, &rows, device);
        Conditions {
            context: Tensor::cat(vec![first.hidden(2), other.hidden(2)], 2),
            pooled: Some(other.pooled),
        }
    }

    /// The embeddings of prompts, with ComfyUI's weights and in as many rows of 75 tokens as they need, up to three.
    /// Shorter ones are repeated to the length of the longest, which changes nothing of what attends to them. None is
    /// a prompt that is not given.
    ///
    /// `clip_skip` counts the encoder's layers from the last, which is 1. Stable Diffusion takes the last unless told
    /// otherwise, and always through the final norm; SDXL the last but one, never through it.
    ///
    /// # Shapes
    /// `n` prompts → context `[n, 77·k, width]`
    ///
    /// # Errors
    /// If there are not so many layers.
    pub fn encode(
        &self,
        prompts: &[Option<&str>],
        clip_skip: Option<usize>,
        device: &Device,
    ) -> Result<Conditions, PipelineError> {
        let layers = self.text.config().num_hidden_layers;
        let layers = self
            .second
            .as_ref()
            .map_or(layers, |s| layers.min(s.text.config().num_hidden_layers));
        if let Some(found) = clip_skip.filter(|skip| !(1..=layers).contains(skip)) {
            return Err(PipelineError::ClipSkip { found, layers });
        }
        let mut contexts = Vec::with_capacity(prompts.len());
        let mut pooled = Vec::new();
        for &given in prompts {
            let text = given.unwrap_or_default();
            let Some(second) = &self.second else {
                let (states, _) =
                    weighted(
                        &prompt::rows(text, &self.tokenizer),
                        &self.text,
                        device,
                        |encoded| match clip_skip {
                            None | Some(1) => encoded.last.clone(),
                            Some(skip) => self.text.normed(encoded.hidden(skip)),
                        },
                    );
                contexts.push(states);
                continue;
            };
            let hidden = |encoded: &Encoded| encoded.hidden(clip_skip.unwrap_or(2));
            let (a, _) = weighted(&prompt::rows(text, &self.tokenizer), &self.text, device, hidden);
            let (b, vector) = weighted(&prompt::rows(text, &second.tokenizer), &second.text, device, hidden);
            let shorter = a.dims()[1].min(b.dims()[1]);
            let joined = Tensor::cat(vec![a.narrow(1, 0, shorter), b.narrow(1, 0, shorter)], 2);
            if given.is_none() && self.zero_empty {
                contexts.push(joined.zeros_like());
                pooled.push(vector.zeros_like());
            } else {
                contexts.push(joined);
                pooled.push(vector);
            }
        }
        self.rest_text();
        let length = contexts.iter().map(|c| c.dims()[1]).fold(1, lcm);
        let contexts = contexts
            .into_iter()
            .map(|c| {
                let times = length / c.dims()[1].max(1);
                c.repeat(&[1, times, 1])
            })
            .collect();
        Ok(Conditions {
            context: Tensor::cat(contexts, 0),
            pooled: self.second.is_some().then(|| Tensor::cat(pooled, 0)),
        })
    }

    /// Leaves the memory of the text encoders to the system until they are used again.
    pub fn rest_text(&self) {
        self.text.pages().rest();
        if let Some(second) = &self.second {
            second.text.pages().rest();
        }
    }

    /// Whether the files of its weights are as they were when it was loaded.
    ///
    /// # Errors
    /// If somebody wrote to one of them.
    pub fn check_files(&self) -> Result<(), PipelineError> {
        let second = self.second.iter().map(|second| second.text.pages());
        let mut parts = [self.text.pages(), self.unet.pages(), self.vae.pages()]
            .into_iter()
            .chain(second);
        Ok(parts.try_for_each(Pages::check)?)
    }

    /// How many tokens of a prompt do not fit into the rows that are encoded.
    #[must_use]
    pub fn cut(&self, prompt: &str) -> usize {
        prompt::rows(prompt, &self.tokenizer).cut
    }

    /// What SDXL's U-Net takes besides the context: of each picture original height and width, crop from the top and from
    /// the left, and target height and width ([`Pipeline::uncropped`] where it was never larger).
    #[must_use]
    pub fn added(pooled: Option<Tensor<2>>, size_ids: &[[f32; 6]]) -> Option<Added> {
        let text_embeds = pooled?;
        let time_ids = TensorData::new(size_ids.concat(), [size_ids.len(), 6]);
        Some(Added {
            time_ids: Tensor::from_data(time_ids, &text_embeds.device()),
            text_embeds,
        })
    }

    /// What is said of a picture of this width and height that was never larger nor cropped.
    #[must_use]
    pub fn uncropped([width, height]: [usize; 2]) -> [f32; 6] {
        [height, width, 0, 0, height, width].map(|side| side as f32)
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// A prompt's rows encoded one behind the other, and the pooled vector of the first: as ComfyUI weighs, each token's
/// vector is moved along the line from the vector of the empty prompt at its place.
///
/// # Shapes
/// `k` rows → `[1, 77·k, D]`, `[1, P]`
fn weighted(
    rows: &Rows,
    encoder: &TextEncoder,
    device: &Device,
    take: impl Fn(&Encoded) -> Tensor<3>,
) -> (Tensor<3>, Tensor<2>) {
    let mut ids: Vec<Vec<u32>> = rows.rows.iter().map(|row| row.ids.clone()).collect();
    let plain = rows.rows.iter().all(|row| row.weights.iter().all(|&w| w == 1.0));
    if !plain {
        ids.push(rows.empty.clone());
    }
    let encoded = encoder.forward(&ids, device);
    let states = take(&encoded);
    let pooled = encoded.pooled.narrow(0, 0, 1);
    let [_, n, width] = states.dims();
    let k = rows.rows.len();
    if plain {
        return (states.reshape([1, k * n, width]), pooled);
    }
    let mut values = to_vec(states);
    let empty = values.split_off(k * n * width);
    let weights = rows.rows.iter().flat_map(|row| &row.weights);
    for (place, (&weight, state)) in weights.zip(values.chunks_mut(width)).enumerate() {
        if weight != 1.0 {
            let at = (place % n) * width;
            for (v, e) in state.iter_mut().zip(&empty[at..at + width]) {
                *v = (*v - e) * weight + e;
            }
        }
    }
    let states = Tensor::from_data(TensorData::new(values, [1, k * n, width]), device);
    (states, pooled)
}
