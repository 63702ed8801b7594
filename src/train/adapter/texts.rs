//! Captions → what the U-Net takes of them: encoded at need, and kept within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;

use crate::model::pipeline::Pipeline;
use crate::train::data::cache::{Found, Store};
use crate::train::error::TrainError;
use crate::train::loss::Caption;
use crate::train::watch::{Event, Stage};

/// Bytes of embeddings that are kept: beyond it those that were not asked for longest are encoded again at need.
pub(in crate::train) const MOST_BYTES: usize = 256 << 20;

/// The frozen text encoders and what they made of the last captions. What it gives does not depend on what is kept.
pub(super) struct Texts {
    pipeline: Pipeline,
    device: Device,
    kept: Mutex<Kept>,
    store: Option<Store>,
    /// Whether captions are encoded here, and not by encoders under training.
    serves: bool,
}

#[derive(Default)]
struct Kept {
    embedded: HashMap<String, (Arc<Caption>, u64)>,
    bytes: usize,
    clock: u64,
}

impl Texts {
    /// Encoders that `serve` the training, and not only what is measured and drawn.
    pub fn new(pipeline: &Pipeline, device: &Device, store: Option<Store>, serves: bool) -> Self {
        Self {
            pipeline: pipeline.clone(),
            device: device.clone(),
            kept: Mutex::default(),
            store,
            serves,
        }
    }

    /// The embedding of one caption. Captions are encoded one at a time, so that none depends on its neighbours.
    pub fn get(&self, text: &str) -> Arc<Caption> {
        if let Some(known) = self.kept().find(text) {
            return known;
        }
        let caption = self.stored(text).unwrap_or_else(|| self.encode(text));
        let caption = Arc::new(caption);
        self.kept().keep(text, &caption, MOST_BYTES);
        caption
    }

    /// Encodes a caption before the first step, if it will be asked for and there is room for it; with files, all that do
    /// not vary get theirs.
    pub fn prepare(&self, text: &str, varies: bool, stage: &mut Stage<'_>) -> Result<(), TrainError> {
        if !self.serves || varies {
            return Ok(());
        }
        let Some(store) = &self.store else {
            if !self.is_full() {
                self.get(text);
            }
            return Ok(());
        };
        let key = store.key(&text)?;
        match store.read(&key) {
            Found::Parts(_) => return Ok(()),
            Found::Broken(name) => stage.tell(&Event::Warning {
                text: format!("`{name}` in the cache is damaged: it is computed again"),
            }),
            Found::Nothing => {}
        }
        let caption = self.get(text);
        store.write(&key, &[&caption.context, &caption.pooled])
    }

    fn encode(&self, text: &str) -> Caption {
        self.pipeline.embed(&[text], &self.device).into()
    }

    fn stored(&self, text: &str) -> Option<Caption> {
        let store = self.store.as_ref()?;
        match store.read(&store.key(&text).ok()?) {
            Found::Parts(parts) => {
                let [context, pooled] = <[Vec<f32>; 2]>::try_from(parts).ok()?;
                Some(Caption { context, pooled })
            }
            Found::Broken(_) | Found::Nothing => None,
        }
    }

    /// Whether another caption would push one out.
    fn is_full(&self) -> bool {
        let kept = self.kept();
        kept.bytes + kept.bytes / kept.embedded.len().max(1) > MOST_BYTES
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // A thread that panicked left the map whole: entries are added in one step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, text: &str) -> Option<Arc<Caption>> {
        self.clock += 1;
        let (found, used) = self.embedded.get_mut(text)?;
        *used = self.clock;
        Some(found.clone())
    }

    fn keep(&mut self, text: &str, caption: &Arc<Caption>, most: usize) {
        let size = |text: &str, caption: &Caption| text.len() + 4 * (caption.context.len() + caption.pooled.len());
        let bytes = size(text, caption);
        while self.bytes + bytes > most {
            let Some(oldest) = self.embedded.iter().min_by_key(|(_, (_, used))| *used) else {
                return;
            };
            let oldest = oldest.0.clone();
            if let Some((gone, _)) = self.embedded.remove(&oldest) {
                self.bytes -= size(&oldest, &gone);
            }
        }
        self.clock += 1;
        if self
            .embedded
            .insert(text.to_owned(), (caption.clone(), self.clock))
            .is_none()
        {
            self.bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_last_is_kept() {
        let mut kept = Kept::default();
        let caption = Arc::new(Caption {
            context: vec![0.0; 25],
            pooled: Vec::new(),
        });
        // 101 bytes each, room for three.
        for text in ["a", "b", "c"] {
            kept.keep(text, &caption, 303);
        }
        assert!(kept.find("a").is_some());
        kept.keep("d", &caption, 303);
        assert_eq!(kept.bytes, 303);
        assert!(kept.find("b").is_none(), "b was not asked for longest");
        assert!(["a", "c", "d"].iter().all(|text| kept.find(text).is_some()));
        kept.keep("larger than all room", &caption, 20);
        assert_eq!((kept.embedded.len(), kept.bytes), (0, 0));
    }
}
