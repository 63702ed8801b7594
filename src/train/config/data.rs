//! How pictures are made equal and batched.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Source, Subset, needs, positive, share};
use crate::train::masks::Source as Masks;

/// How pictures of another shape than the resolution are laid on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// White beside it: for drawings.
    #[default]
    PadWhite,
    /// The middle: for photographs.
    CropCentre,
}

impl From<Fit> for crate::pixels::Fit {
    fn from(fit: Fit) -> Self {
        match fit {
            Fit::PadWhite => Self::PadWhite,
            Fit::CropCentre => Self::CropCentre,
        }
    }
}

/// Width and height in pixels: a number for both, `"W,H"` or `[W, H]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution([u32; 2]);

impl Resolution {
    /// Width and height.
    #[must_use]
    pub fn sides(self) -> [u32; 2] {
        self.0
    }

    /// The same for those who count in machine words.
    #[must_use]
    pub fn size(self) -> [usize; 2] {
        self.0.map(|side| side as usize)
    }
}

impl fmt::Display for Resolution {
    /// A number, or `W,H` where they differ.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [width, height] if width == height => write!(f, "{width}"),
            [width, height] => write!(f, "{width},{height}"),
        }
    }
}

impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Resolution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sides;
        impl<'de> de::Visitor<'de> for Sides {
            type Value = Resolution;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number, \"WIDTH,HEIGHT\" or [WIDTH, HEIGHT], each 1 to {LARGEST}")
            }

            fn visit_i64<E: de::Error>(self, side: i64) -> Result<Resolution, E> {
                let found = de::Unexpected::Signed(side);
                resolution(&[side]).ok_or_else(|| E::invalid_value(found, &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Resolution, E> {
                let sides: Result<Vec<i64>, _> = text.split(',').map(|side| side.trim().parse()).collect();
                let sides = sides.ok().and_then(|sides| resolution(&sides));
                sides.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Resolution, A::Error> {
                let mut sides = Vec::new();
                while let (Some(side), true) = (list.next_element()?, sides.len() < 3) {
                    sides.push(side);
                }
                resolution(&sides).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(Sides)
    }
}

/// The largest side of a picture that is trained on.
const LARGEST: u32 = 16_384;

fn resolution(sides: &[i64]) -> Option<Resolution> {
    let side = |side: i64| u32::try_from(side).ok().filter(|side| (1..=LARGEST).contains(side));
    match *sides {
        [both] => Some(Resolution([side(both)?; 2])),
        [width, height] => Some(Resolution([side(width)?, side(height)?])),
        _ => None,
    }
}

/// The section of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Width and height of the pictures; multiples of what the model divides by. With buckets their area.
    pub resolution: Resolution,
    /// How pictures of another shape are laid on it; without a word white is put beside them. Buckets cut.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// Pictures of different shapes get different sizes of about the same area, and are batched by size.
    #[serde(default)]
    pub enable_bucket: bool,
    /// The least side of a bucket.
    #[serde(default = "min_bucket_reso")]
    pub min_bucket_reso: u32,
    /// The largest side of a bucket.
    #[serde(default = "max_bucket_reso")]
    pub max_bucket_reso: u32,
    /// Sides of buckets are multiples of it.
    #[serde(default = "bucket_reso_steps")]
    pub bucket_reso_steps: u32,
    /// Pictures are never scaled up: buckets are made of their own sizes.
    #[serde(default)]
    pub bucket_no_upscale: bool,
    /// Pictures in a micro-batch.
    #[serde(default = "one")]
    pub train_batch_size: usize,
    /// Each place of a picture counts as much as its mask says.
    #[serde(default)]
    pub masked_loss: bool,
    /// Share of the pictures to be learned that is held out and only measured, 0 to below 1.
    #[serde(default)]
    pub validation_split: f64,
    /// Keep the latents' distributions in files, for other runs.
    #[serde(default, skip_serializing)]
    pub cache_latents_to_disk: bool,
    /// Keep the embeddings of captions in files, for other runs.
    #[serde(default, skip_serializing)]
    pub cache_text_encoder_outputs_to_disk: bool,
    /// The folder of these files, relative to the configuration's own; without it `cache` in the run's folder.
    #[serde(default, skip_serializing)]
    pub cache_dir: Option<PathBuf>,
}

fn one() -> usize {
    1
}

fn min_bucket_reso() -> u32 {
    256
}

fn max_bucket_reso() -> u32 {
    1024
}

fn bucket_reso_steps() -> u32 {
    64
}

impl Data {
    /// How pictures are laid on the resolution where there are no buckets.
    #[must_use]
    pub fn fit(&self) -> Fit {
        self.fit.unwrap_or_default()
    }

    pub(super) fn check(&self, sources: &[Source]) -> Result<(), String> {
        share("validation_split", self.validation_split, true)?;
        positive("train_batch_size", self.train_batch_size as f64)?;
        let any = |is: &dyn Fn(&Subset) -> bool| sources.iter().any(|source| is(&source.options));
        self.check_buckets(any(&|options| options.random_crop))?;
        let cached = self.cache_latents_to_disk || self.cache_text_encoder_outputs_to_disk;
        needs(
            self.cache_dir.is_some(),
            "cache_dir",
            cached,
            "set cache_latents_to_disk or cache_text_encoder_outputs_to_disk",
        )?;
        if self.cache_latents_to_disk && any(&|options| options.random_crop) {
            return Err(
                "cache_latents_to_disk: under random_crop pictures are encoded anew for every step; hint: leave one of \
                 them out"
                    .to_owned(),
            );
        }
        if self.cache_text_encoder_outputs_to_disk && any(&Subset::varies) {
            return Err(
                "cache_text_encoder_outputs_to_disk: captions are drawn anew for every step; hint: leave it out, or \
                 shuffle_caption, caption_tag_dropout_rate, token_warmup_step, enable_wildcard and caption_templates"
                    .to_owned(),
            );
        }
        let mut masks = sources.iter().filter_map(|source| source.options.masks());
        match (self.masked_loss, masks.clone().next()) {
            (true, None) => Err(
                "masked_loss: there are no masks; hint: set conditioning_data_dir, or alpha_mask for the pictures' own \
                 opacity"
                    .to_owned(),
            ),
            (false, _) if masks.any(|masks| matches!(masks, Masks::Folder(_))) => {
                Err("conditioning_data_dir: hint: set masked_loss = true".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_buckets(&self, random_crop: bool) -> Result<(), String> {
        let of_buckets = "set enable_bucket = true";
        for (key, is_set) in [
            ("min_bucket_reso", self.min_bucket_reso != min_bucket_reso()),
            ("max_bucket_reso", self.max_bucket_reso != max_bucket_reso()),
            ("bucket_reso_steps", self.bucket_reso_steps != bucket_reso_steps()),
            ("bucket_no_upscale", self.bucket_no_upscale),
        ] {
            needs(is_set, key, self.enable_bucket, of_buckets)?;
        }
        if self.fit == Some(Fit::PadWhite) && (self.enable_bucket || random_crop) {
            return Err(
                "fit: pictures are cut under enable_bucket and random_crop; hint: leave pad_white out".to_owned(),
            );
        }
        if !self.enable_bucket {
            return Ok(());
        }
        for (key, value) in [
            ("max_bucket_reso", self.max_bucket_reso),
            ("bucket_reso_steps", self.bucket_reso_steps),
        ] {
            if !(1..=LARGEST).contains(&value) {
                return Err(format!("{key}: expected 1 to {LARGEST}, found {value}"));
            }
        }
        let [width, height] = self.resolution.sides();
        let (least, most) = (width.min(height), width.max(height));
        if !self.bucket_no_upscale && self.min_bucket_reso > least {
            return Err(format!(
                "min_bucket_reso: expected at most the resolution, {least}, found {}",
                self.min_bucket_reso
            ));
        }
        if !self.bucket_no_upscale && self.max_bucket_reso < most {
            return Err(format!(
                "max_bucket_reso: expected at least the resolution, {most}, found {}",
                self.max_bucket_reso
            ));
        }
        if self.bucket_reso_steps > least {
            return Err(format!(
                "bucket_reso_steps: expected at most the resolution, {least}, found {}",
                self.bucket_reso_steps
            ));
        }
        Ok(())
    }
}
