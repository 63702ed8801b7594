//! Stable Diffusion 1.x, 2.x and SDXL: the tokenizer, the networks and the noise schedule, driven by a diffusers folder's
//! configuration or by what the keys and shapes of a single file say.
//!
//! Tensors and numbers only: no SQL, no training loop, no command line. Makes no artefact.

pub mod base;
pub mod blocks;
pub mod branch;
pub mod config;
pub mod copy;
pub mod layers;
pub mod params;
pub mod pipeline;
pub mod prompt;
pub mod recompute;
pub mod samplers;
pub mod scheduler;
mod single;
pub mod text;
pub mod tokenizer;
pub mod transformer;
pub mod unet;
pub mod vae;
pub mod weights;
