//! What a module of a Stable Diffusion is called: diffusers' paths, the names of the original LDM and SGM code, and
//! kohya's names with underscores for either.
//!
//! Strings only. A path is diffusers' (`down_blocks.0.attentions.0.proj_in`) wherever nothing else is said.

mod dotted;
mod kohya;
mod original;

pub use dotted::path_of_dotted;
pub use kohya::{kohya_name, path_of_kohya};
pub use original::{Key, clip, open_clip, unet_original, unet_path, vae_path};
