//! What a workflow asks for, as plain values.

/// A picture to be drawn, in `ComfyUI`'s words. Names of files are a stranger's: they are looked up, never opened as
/// they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The checkpoint's file name.
    pub checkpoint: String,
    /// The file name of a VAE in the place of the checkpoint's own.
    pub vae: Option<String>,
    /// The adapters.
    pub loras: Vec<Lora>,
    /// What the picture should show.
    pub prompt: String,
    /// What it should not show. None is zeros in its place.
    pub negative: Option<String>,
    /// The layer of the text encoder, counted from the last, which is 1.
    pub clip_skip: Option<usize>,
    /// Decides the noise.
    pub seed: u64,
    /// Steps, all of which are taken.
    pub steps: usize,
    /// Guidance.
    pub cfg: f64,
    /// The sampler's name.
    pub sampler: String,
    /// The name of the spread of its sigmas.
    pub scheduler: String,
    /// How far down the noise the steps begin: 1 is at the top.
    pub denoise: f64,
    /// What it is drawn on.
    pub canvas: Canvas,
    /// The VAE decodes tiles of so many pixels on a side.
    pub vae_tile: Option<usize>,
    /// What of the workflow has no effect, or another one than in `ComfyUI`: a sentence each.
    pub notes: Vec<String>,
}

/// An adapter in a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// Its file name.
    pub name: String,
    /// Its strength on the U-Net.
    pub model: f64,
    /// Its strength on the text encoders.
    pub clip: f64,
}

/// What is drawn on.
#[derive(Debug, Clone, PartialEq)]
pub enum Canvas {
    /// Nothing but noise.
    Empty {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Pictures.
        count: usize,
    },
    /// A picture.
    Picture {
        /// Its file name.
        image: String,
        /// Where it is drawn over; without it, everywhere.
        mask: Option<Mask>,
    },
}

/// Where a picture is drawn over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// The file name of the picture that holds it.
    pub image: String,
    /// Where in that picture it stands.
    pub channel: Channel,
    /// Pixels that it is grown by, as the side of the square that each pixel of it becomes.
    pub grow: usize,
}

/// A channel of a picture as a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// What is transparent is drawn over.
    Alpha,
    /// What is red.
    Red,
    /// What is green.
    Green,
    /// What is blue.
    Blue,
}
