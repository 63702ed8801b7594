//! Stable Diffusion: the tokenizer, the networks and the noise schedule, driven by a diffusers folder's
//! configuration.
//!
//! Tensors and numbers only: no SQL, no training loop, no command line. Makes no artefact.

pub mod blocks;
pub mod config;
pub mod layers;
pub mod params;
pub mod pipeline;
pub mod samplers;
pub mod scheduler;
pub mod text;
pub mod tokenizer;
pub mod transformer;
pub mod unet;
pub mod vae;
pub mod weights;
