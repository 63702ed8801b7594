//! Pictures from prompts, and from pictures.
//!
//! Tensors and prompts in, pixels out; reads no clock and writes no file. What the pixels are labelled with is `label`'s.

mod error;
mod guide;
mod noise;
mod start;
pub mod tiles;

use burn::tensor::{Device, Tensor, TensorData};

pub use error::GenerateError;
pub use guide::{Guide, Restore, denoise};
pub use noise::Rng;
pub use start::Start;

use crate::model::params::to_vec;
use crate::model::pipeline::{Conditions, Pipeline};
use crate::model::samplers::{Sampler, SamplerChoice, SamplerKind};
use crate::model::unet::UNet;

/// How to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Width and height in pixels; multiples of the VAE's factor. The U-Net halves and doubles sides that are no
    /// multiples of its own factor as diffusers does.
    pub size: [usize; 2],
    /// Steps of the sampler.
    pub steps: usize,
    /// Classifier-free guidance (Ho and Salimans 2022); 1 is none.
    pub cfg: f64,
    /// How far the deviation of what guidance makes is pulled back (Lin et al. 2023), 0 to 1.
    pub rescale: f64,
    /// The sampler.
    pub sampler: SamplerChoice,
    /// What the picture should not be. SDXL tells none from an empty one.
    pub negative_prompt: Option<String>,
    /// Which of the text encoder's layers is taken, counted from the last, which is 1.
    pub clip_skip: Option<usize>,
    /// The VAE works on tiles of so many latent pixels on a side.
    pub vae_tile: Option<usize>,
    /// Whose random numbers the noise is made of.
    pub rng: Rng,
}

impl Default for Settings {
    /// 20 steps of DDIM without guidance; the size is for the caller to say.
    fn default() -> Self {
        Self {
            size: [0, 0],
            steps: 20,
            cfg: 1.0,
            rescale: 0.0,
            sampler: SamplerKind::Ddim.into(),
            negative_prompt: None,
            clip_skip: None,
            vae_tile: None,
            rng: Rng::Own,
        }
    }
}

/// A picture to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job<'a> {
    /// What it should show.
    pub prompt: &'a str,
    /// Decides all noise of this picture, whatever else is in its batch.
    pub seed: u64,
}

impl<'a> Job<'a> {
    /// One picture a prompt, with the seeds from `seed` on.
    #[must_use]
    pub fn each(prompts: &[&'a str], seed: u64) -> Vec<Self> {
        let job = |(i, prompt): (u64, &&'a str)| Self {
            prompt,
            seed: seed.wrapping_add(i),
        };
        (0..).zip(prompts).map(job).collect()
    }
}

/// A picture: `[3, height, width]` in [-1, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Planes of red, green and blue.
    pub planes: Vec<f32>,
}

impl Picture {
    /// From rows of red, green and blue bytes.
    #[must_use]
    pub fn of_rgb(image: &image::RgbImage) -> Self {
        let planes = (0..3)
            .flat_map(|c| image.pixels().map(move |p| f32::from(p.0[c]) / 127.5 - 1.0))
            .collect();
        Self {
            size: [image.width() as usize, image.height() as usize],
            planes,
        }
    }

    /// Rows of red, green and blue bytes.
    #[must_use]
    pub fn rgb(&self) -> Vec<u8> {
        let n = self.size[0] * self.size[1];
        let byte = |v: f32| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
        (0..n)
            .flat_map(|i| (0..3).map(move |c| (c, i)))
            .map(|(c, i)| byte(self.planes[c * n + i]))
            .collect()
    }
}

/// Where noise comes from: a label, the picture's seed, how many values.
pub type Noise<'a> = &'a dyn Fn(&str, u64, usize) -> Vec<f32>;

/// How far a drawing is.
pub struct Seen<'a> {
    /// Evaluations of the network that are done.
    pub done: usize,
    /// Of how many.
    pub of: usize,
    /// The pictures as the network sees them now, `[n, latent, h, w]`; for [`Drawing::pictures`].
    pub clean: Option<&'a Tensor<4>>,
}

/// All that pictures are drawn with, but for their prompts and seeds.
#[derive(Clone, Copy)]
pub struct Drawing<'a> {
    /// The base.
    pub pipeline: &'a Pipeline,
    /// The network, in the place of the pipeline's own: an adapter may lie on it.
    pub unet: &'a UNet,
    /// How.
    pub settings: &'a Settings,
    /// From what, unless from noise alone.
    pub start: Option<&'a Start>,
    /// Where the noise comes from: as the settings say, unless a test has its own.
    pub noise: Noise<'a>,
    /// Where to compute.
    pub device: &'a Device,
}

impl<'a> Drawing<'a> {
    /// A drawing from the noise of the settings.
    #[must_use]
    pub fn new(pipeline: &'a Pipeline, unet: &'a UNet, settings: &'a Settings, device: &'a Device) -> Self {
        Self {
            pipeline,
            unet,
            settings,
            start: None,
            noise: settings.rng.noise(),
            device,
        }
    }

    /// Draws the jobs' pictures in one batch.
    ///
    /// # Errors
    /// If the settings do not fit the model, its output is not finite, its files were written to, or `watch` says so.
    pub fn draw(
        &self,
        jobs: &[Job<'_>],
        watch: &mut dyn FnMut(&Seen<'_>) -> Result<(), GenerateError>,
    ) -> Result<Vec<Picture>, GenerateError> {
        let latents = self.latents(jobs, watch)?;
        self.unet.pages().rest();
        let pictures = self.pictures(latents)?;
        self.pipeline.vae.pages().rest();
        self.pipeline.check_files()?;
        Ok(pictures)
    }

    /// The latents that [`Self::draw`] makes pictures of: `[n, latent, h, w]`.
    ///
    /// # Errors
    /// As [`Self::draw`].
    pub fn latents(
        &self,
        jobs: &[Job<'_>],
        watch: &mut dyn FnMut(&Seen<'_>) -> Result<(), GenerateError>,
    ) -> Result<Tensor<4>, GenerateError> {
        self.check()?;
        let Self { pipeline, settings, .. } = *self;
        let factor = pipeline.vae.factor();
        let shape = [
            jobs.len(),
            pipeline.vae.config().latent_channels,
            settings.size[1] / factor,
            settings.size[0] / factor,
        ];
        if jobs.is_empty() {
            return Ok(Tensor::zeros(shape, self.device));
        }
        let unit = |label: &str| {
            let one = shape[1..].iter().product();
            let values: Vec<f32> = jobs.iter().flat_map(|job| (self.noise)(label, job.seed, one)).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), self.device)
        };
        let mut guide = self.guide(jobs)?;
        let (choice, config) = (settings.sampler, &pipeline.schedule_config);
        let (mut sampler, whole) = match self.start {
            Some(start) => start.sampler(choice, config, settings.steps)?,
            None => (Sampler::new(choice, config, settings.steps, 0)?, true),
        };
        let noise = unit("picture/0");
        let mut latents = noise.clone().mul_scalar(sampler.init_noise_sigma());
        if let Some(start) = self.start {
            let picture = |blank: bool, label: &str| {
                start::latents(
                    &pipeline.vae,
                    start.picture(blank, self.device),
                    unit(label),
                    settings.vae_tile,
                )
            };
            let clean = picture(false, "start");
            let mask = start.latent_mask(factor, self.device);
            if start.all_steps && whole {
                // As ComfyUI begins: noise of full strength over the picture.
                latents = latents + sampler.noised(0, clean.clone(), noise.zeros_like())?;
            } else if !(mask.is_some() && start.strength == 1.0) {
                latents = sampler.noised(0, clean.clone(), noise.clone())?;
            }
            if let Some(mask) = mask {
                if pipeline.inpaints() {
                    let mask = mask.repeat_dim(0, jobs.len());
                    guide.extra = Some(Tensor::cat(vec![mask, picture(true, "masked")], 1));
                } else {
                    guide.restore = Some(Restore {
                        mask,
                        picture: clean,
                        noise,
                    });
                }
            }
        }
        let of = sampler.timesteps().len();
        denoise(
            self.unet,
            &mut sampler,
            latents,
            &guide,
            &|step| unit(&format!("step/{step}")),
            &mut |step, sampler, _| {
                watch(&Seen {
                    done: step + 1,
                    of,
                    clean: sampler.clean(),
                })
            },
        )
    }

    /// The pictures of latents.
    ///
    /// # Errors
    /// If the VAE's output is not finite.
    pub fn pictures(&self, latents: Tensor<4>) -> Result<Vec<Picture>, GenerateError> {
        let vae = &self.pipeline.vae;
        let latents = latents.div_scalar(vae.scaling_factor());
        let planes = to_vec(tiles::decode(vae, latents, self.settings.vae_tile));
        if !planes.iter().all(|v| v.is_finite()) {
            return Err(GenerateError::NotFinitePicture);
        }
        let [width, height] = self.settings.size;
        Ok(planes
            .chunks(3 * width * height)
            .map(|p| Picture {
                size: [width, height],
                planes: p.to_vec(),
            })
            .collect())
    }

    /// What can be said before anything is computed.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self) -> Result<(), GenerateError> {
        let settings = self.settings;
        let [width, height] = settings.size;
        let multiple = self.pipeline.vae.factor();
        if width == 0 || height == 0 || !width.is_multiple_of(multiple) || !height.is_multiple_of(multiple) {
            return Err(GenerateError::Size {
                multiple,
                width,
                height,
            });
        }
        let (cfg, rescale) = (settings.cfg, settings.rescale);
        if !cfg.is_finite() || !(0.0..=1.0).contains(&rescale) {
            return Err(GenerateError::Guidance { cfg, rescale });
        }
        if let Some(found) = settings.vae_tile.filter(|tile| *tile == 0 || tile % 4 != 0) {
            return Err(GenerateError::Tile { found });
        }
        if let Some(start) = self.start {
            start.check(settings.size, multiple)?;
        }
        if self.pipeline.inpaints() && self.start.is_none_or(|start| start.mask.is_none()) {
            return Err(GenerateError::Inpainting);
        }
        Ok(())
    }

    /// The prompts, encoded, with the negative one before each where there is guidance.
    fn guide(&self, jobs: &[Job<'_>]) -> Result<Guide, GenerateError> {
        let Self { pipeline, settings, .. } = *self;
        let mut texts: Vec<Option<&str>> = Vec::new();
        if settings.cfg != 1.0 {
            texts.resize(jobs.len(), settings.negative_prompt.as_deref());
        }
        texts.extend(jobs.iter().map(|job| Some(job.prompt)));
        let Conditions { context, pooled } = pipeline.encode(&texts, settings.clip_skip, self.device)?;
        let size_ids = vec![Pipeline::uncropped(settings.size); texts.len()];
        Ok(Guide {
            context,
            added: Pipeline::added(pooled, &size_ids),
            cfg: settings.cfg,
            rescale: settings.rescale,
            extra: None,
            restore: None,
        })
    }
}
