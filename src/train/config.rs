//! The configuration of an adapter's training: flat TOML with kohya's option names, read in sections.
//!
//! Each section takes its own keys from the same table; a key that no section knows is refused with the nearest name.

mod data;
mod datasets;
mod keys;
mod network;
mod objective;
mod optimisation;
mod optimizer;
mod run;
mod subset;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use data::{Data, Fit, Resolution};
pub use datasets::Source;
pub use network::{InitLoraWeights, Network, NetworkType};
pub use objective::Target;
pub use optimisation::Optimisation;
pub use optimizer::{Arguments, OptimizerType};
pub use run::{BasePrecision, Precision, Run};
pub use subset::Subset;

use super::error::TrainError;
use crate::digest::Sha256Digest;
use crate::snapshot::Role;

/// `assent train CONFIG.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// What is trained on what, and what is left behind.
    pub run: Run,
    /// How pictures are made equal and batched.
    pub data: Data,
    /// The snapshots that are trained on, in their order, each with how its pictures and captions are drawn; at least
    /// one, and one that is to be learned.
    pub sources: Vec<Source>,
    /// The adapter's form.
    pub network: Network,
    /// What is asked of the model.
    pub target: Target,
    /// How it gets there.
    pub optimisation: Optimisation,
}

impl AdapterConfig {
    /// Reads a configuration; the base's path becomes relative to the current folder. Also gives the digest of its text.
    ///
    /// # Errors
    /// If it cannot be read, does not parse, or a value is outside its range.
    pub fn read(path: &Path) -> Result<(Self, Sha256Digest), TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io(path))?;
        let config = |message: String| TrainError::Config {
            path: path.to_owned(),
            message,
        };
        let parsed = Self::parse(&text).map_err(config)?;
        let placed = parsed.placed(path.parent().unwrap_or(Path::new(".")));
        Ok((placed, Sha256Digest::of_bytes(text.as_bytes())))
    }

    /// The same with its paths relative to this folder.
    #[must_use]
    pub fn placed(mut self, folder: &Path) -> Self {
        let place = |path: &mut PathBuf| *path = folder.join(&*path);
        place(&mut self.run.pretrained_model_name_or_path);
        self.run.logging_dir.iter_mut().for_each(place);
        self.data.cache_dir.iter_mut().for_each(place);
        self.sources.iter_mut().for_each(|source| source.resolve(folder));
        self
    }

    /// The options of data, adapter, objective and optimisation that are not as they are without the user's word, as text.
    #[must_use]
    pub fn beyond_defaults(&self) -> BTreeMap<String, String> {
        let mut all = self.objective_options();
        all.extend(self.data_options());
        all.extend(keys::differing(&self.network, "network_dim = 1\nnetwork_alpha = 1.0"));
        all.extend(keys::differing(&self.optimisation, "max_train_steps = 1"));
        all
    }

    /// The snapshots by name, each once for what its pictures are for: those to be learned first. In this order they stand
    /// in record and receipt.
    #[must_use]
    pub fn sets(&self) -> Vec<(&str, Role)> {
        let mut sets: Vec<(&str, Role)> = Vec::new();
        for role in [Role::Training, Role::Regularization] {
            for source in self.sources.iter().filter(|source| source.role == role) {
                let set = (source.snapshot.as_str(), role);
                if !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        sets
    }

    /// The same on these snapshots in the place of those that it names, in the order of [`Self::sets`], and with this one
    /// only measured.
    ///
    /// # Errors
    /// If there are more or fewer than it names.
    pub fn on(mut self, sets: &[String], measured: Option<String>) -> Result<Self, String> {
        let named = self.sets();
        if named.len() != sets.len() {
            return Err(format!("expected {} snapshots, found {}", named.len(), sets.len()));
        }
        let place = |source: &Source| {
            let is_its = |set: &&(&str, Role)| **set == (source.snapshot.as_str(), source.role);
            named
                .iter()
                .zip(sets)
                .find(|(set, _)| is_its(set))
                .map(|(_, new)| new.clone())
        };
        let places: Vec<_> = self.sources.iter().map(place).collect();
        for (source, place) in self.sources.iter_mut().zip(places) {
            source.snapshot = place.unwrap_or_default();
        }
        self.run.validation_snapshot = measured;
        Ok(self)
    }

    /// Whether there are regularization pictures.
    #[must_use]
    pub fn regularizes(&self) -> bool {
        self.sources.iter().any(|source| source.role == Role::Regularization)
    }

    /// Those of the data; of several sources each under its place.
    #[must_use]
    pub fn data_options(&self) -> BTreeMap<String, String> {
        let mut all = keys::differing(&self.data, "resolution = 1");
        match self.sources.as_slice() {
            [one] => all.extend(keys::differing(&*one.options, "")),
            several => {
                let sets = self.sets();
                for source in several {
                    let place = source.place();
                    let mut put = |key: &str, value: String| all.insert(format!("{place}.{key}"), value);
                    let set = sets
                        .iter()
                        .position(|set| *set == (source.snapshot.as_str(), source.role));
                    put("set", set.map_or(0, |at| at + 1).to_string());
                    for (key, value) in keys::differing(&*source.options, "") {
                        put(&key, value);
                    }
                }
            }
        }
        all
    }

    /// Those of the objective.
    #[must_use]
    pub fn objective_options(&self) -> BTreeMap<String, String> {
        keys::differing(&self.target, "")
    }

    /// Checks the text of a configuration; paths stay as they stand there.
    ///
    /// # Errors
    /// As for [`Self::read`], as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut known = keys::of::<Run>();
        known.extend(keys::of::<Data>());
        known.extend(keys::of::<Subset>());
        known.extend(keys::of::<Network>());
        known.extend(keys::of::<Target>());
        known.extend(keys::of::<Optimisation>());
        known.extend(["snapshot", "datasets"]);
        keys::check(text, &known)?;
        let run: Run = keys::section(text)?;
        let config = Self {
            sources: datasets::read(text, &known, run.trigger_phrase.as_deref())?,
            run,
            data: keys::section(text)?,
            network: keys::section(text)?,
            target: keys::section(text)?,
            optimisation: keys::section(text)?,
        };
        config.run.check()?;
        config.run.check_shards(config.sources.len() == 1)?;
        config.data.check(&config.sources)?;
        if config.data.cache_text_encoder_outputs_to_disk && config.network.train_text_encoder {
            return Err(
                "cache_text_encoder_outputs_to_disk: what changes is not kept; hint: leave it or train_text_encoder out"
                    .to_owned(),
            );
        }
        config.network.check()?;
        if config.run.base_precision == BasePrecision::Int8 && config.network.changes_base() {
            return Err(
                "init_lora_weights: pissa and olora take a part out of the base's weights, and what is left would be rounded \
                 to int8 a second time; hint: set base_precision = \"fp16\", or another start"
                    .to_owned(),
            );
        }
        config.target.check()?;
        config.optimisation.check()?;
        if config.optimisation.scale_weight_norms.is_some() {
            config.network.check_lengths()?;
        }
        needs(
            config.target.prior_loss_weight != 1.0,
            "prior_loss_weight",
            config.regularizes(),
            "set is_reg = true for a `[[datasets.subsets]]`",
        )?;
        if config.run.save_last_weights && !config.optimisation.keeps_others() {
            return Err(
                "save_last_weights: the last weights are kept already; hint: it is for ema_decay, AdamWScheduleFree and \
                 early_stopping_patience"
                    .to_owned(),
            );
        }
        if config.optimisation.early_stopping_patience.is_some()
            && (config.data.validation_split == 0.0 || config.run.validate_every_n_steps == 0)
        {
            return Err(
                "early_stopping_patience: there is nothing to watch; hint: set validation_split and validate_every_n_steps"
                    .to_owned(),
            );
        }
        Ok(config)
    }
}

/// Fails with a hint where something is set that has no effect without something else.
fn needs(is_set: bool, key: &str, there: bool, hint: &str) -> Result<(), String> {
    if is_set && !there {
        Err(format!("{key}: it has no effect alone; hint: {hint}"))
    } else {
        Ok(())
    }
}

/// A share of a whole; `below_one` leaves 1 itself out.
fn share(name: &str, value: f64, below_one: bool) -> Result<(), String> {
    let within = (0.0..=1.0).contains(&value) && !(below_one && value >= 1.0);
    if within {
        Ok(())
    } else {
        Err(format!("{name}: expected a share from 0 to 1, found {value}"))
    }
}

/// A finite number above zero.
fn positive(name: &str, value: f64) -> Result<(), String> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(format!("{name}: expected a number above 0, found {value}"))
    }
}
