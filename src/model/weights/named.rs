//! The tensors of a base's networks under diffusers' names, whatever its layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checkpoint::Entry;
use super::{Checkpoint, LoadError, Saved};
use crate::model::base::{Base, Family, Network};
use crate::names::{self, Key};

/// Tensors of U-Net and text encoders by name, in their files.
pub struct Named {
    checkpoints: Vec<Arc<Checkpoint>>,
    entries: BTreeMap<(Network, String), (usize, Entry)>,
}

impl Named {
    /// Those of a base.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn of(base: &Base) -> Result<Self, LoadError> {
        let mut named = Self {
            checkpoints: Vec::new(),
            entries: BTreeMap::new(),
        };
        let root = base.path();
        if root.is_file() {
            named.add(Checkpoint::open(root)?, &|key| base.meaning(key));
            return Ok(named);
        }
        let unet = Checkpoint::of_part(&root.join("unet"), "diffusion_pytorch_model")?;
        named.add(unet, &|key| Some((Network::UNet, Key::Tensor(key.to_owned()))));
        let text = Checkpoint::of_part(&root.join("text_encoder"), "model")?;
        named.add(text, &|key| Some((Network::Text, names::clip(key))));
        if base.family() == Family::Xl {
            let text = Checkpoint::of_part(&root.join("text_encoder_2"), "model")?;
            named.add(text, &|key| Some((Network::Text2, names::clip(key))));
        }
        Ok(named)
    }

    fn add(&mut self, checkpoint: Checkpoint, meaning: &dyn Fn(&str) -> Option<(Network, Key)>) {
        let place = self.checkpoints.len();
        for (key, entry) in checkpoint.entries() {
            let Some((network, key)) = meaning(key) else { continue };
            let parts = match key {
                Key::Unneeded => continue,
                Key::Tensor(name) => vec![(name, Some(entry.clone()))],
                Key::Transposed(name) => vec![(name, entry.transpose())],
                Key::Fused(names) => {
                    let part = |(i, name)| (name, entry.part(i, 3));
                    names.into_iter().enumerate().map(part).collect()
                }
            };
            for (name, entry) in parts {
                if let Some(entry) = entry {
                    self.entries.insert((network, name), (place, entry));
                }
            }
        }
        self.checkpoints.push(Arc::new(checkpoint));
    }

    /// The names, by network.
    pub fn names(&self) -> impl Iterator<Item = (Network, &str)> {
        self.entries.keys().map(|(network, name)| (*network, name.as_str()))
    }

    /// A tensor; none if there is no such one.
    ///
    /// # Errors
    /// If it is of another type than f32, f16 and bf16, or holds a value that is not finite.
    pub fn read(&self, network: Network, name: &str) -> Result<Option<Saved>, LoadError> {
        let Some((place, entry)) = self.entries.get(&(network, name.to_owned())) else {
            return Ok(None);
        };
        let checkpoint = &self.checkpoints[*place];
        let values = checkpoint.read(entry).map_err(|why| LoadError::Format {
            path: checkpoint.path().to_owned(),
            message: format!("`{name}` {why}"),
        })?;
        Ok(Some(Saved {
            name: name.to_owned(),
            shape: entry.shape.clone(),
            values,
        }))
    }
}
