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

use std::collections::BTreeMap;
use std::path::Path;

pub use data::{Data, Fit};
pub use datasets::Source;
pub use network::{InitLoraWeights, Network, NetworkType};
pub use objective::Target;
pub use optimisation::Optimisation;
pub use optimizer::{Arguments, OptimizerType};
pub use run::{Precision, Run};
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
        let mut parsed = Self::parse(&text).map_err(config)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        let base = &mut parsed.run.pretrained_model_name_or_path;
        *base = beside.join(&*base);
        if let Some(logs) = &mut parsed.run.logging_dir {
            *logs = beside.join(&*logs);
        }
        parsed.sources.iter_mut().for_each(|source| source.resolve(beside));
        Ok((parsed, Sha256Digest::of_bytes(text.as_bytes())))
    }

    /// The options of data, adapter, objective and optimisation that are not as they are without the user's word, as text.
    #[must_use]
    pub fn beyond_defaults(&self) -> BTreeMap<String, String> {
        let mut all = self.objective_options();
        all.extend(keys::differing(&self.data, "resolution = 1"));
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

    /// Whether there are regularization pictures.
    #[must_use]
    pub fn regularizes(&self) -> bool {
        self.sources.iter().any(|source| source.role == Role::Regularization)
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
        config.data.check(&config.sources)?;
        config.network.check()?;
        config.target.check()?;
        config.optimisation.check()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "pretrained_model_name_or_path = \"b\"\nsnapshot = \"s\"\nresolution = 64\nnetwork_dim = 4\n\
                         network_alpha = 4\nlearning_rate = 1e-4\nmax_train_steps = 10\n";

    #[test]
    fn refuses_what_it_does_not_know_and_what_is_out_of_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        for (more, wrong) in [
            ("", None),
            ("learnin_rate = 1\n", Some("did you mean `learning_rate`?")),
            ("colour = 1\n", Some("line 8: unknown key `colour`")),
            ("learning_rate = 1\n", Some("duplicate key")),
            ("seed = \"x\"\n", Some("line 8")),
            ("validation_split = 1.0\n", Some("validation_split")),
            ("caption_dropout_rate = -0.1\n", Some("caption_dropout_rate")),
            ("optimizer_type = \"lion\"\n", None),
            ("optimizer_type = \"Tiger\"\n", Some("expected one of AdamW, AdamW8bit")),
            ("optimizer_args = [\"betas=0.9,0.99\", \"weight_decay=0\"]\n", None),
            ("optimizer_args = { betas = [0.9, 0.99], eps = 1e-6 }\n", None),
            (
                "optimizer_args = [\"betas=0.9,1\"]\n",
                Some("betas: expected 0 to below 1"),
            ),
            ("optimizer_args = [\"betas=0.9\"]\n", Some("array of length 2")),
            ("optimizer_args = [\"amsgrad=True\"]\n", Some("amsgrad")),
            ("optimizer_args = [\"eps\"]\n", Some("expected `name=value`")),
            (
                "weight_decay = 0.1\noptimizer_args = [\"weight_decay=0.1\"]\n",
                Some("twice"),
            ),
            ("optimizer_type = \"Adafactor\"\n", Some("relative_step=False")),
            (
                "optimizer_type = \"AdaFactor\"\noptimizer_args = [\"relative_step=False\"]\n",
                None,
            ),
            (
                "optimizer_type = \"Prodigy\"\noptimizer_args = [\"decouple=True\", \"d_coef=2\"]\n",
                None,
            ),
            (
                "optimizer_type = \"AdamWScheduleFree\"\nlr_scheduler = \"cosine\"\n",
                Some("leave lr_scheduler out"),
            ),
            (
                "optimizer_type = \"AdamWScheduleFree\"\nema_decay = 0.9\n",
                Some("average already"),
            ),
            (
                "lr_scheduler = \"constant\"\nlr_warmup_steps = 5\n",
                Some("constant_with_warmup"),
            ),
            ("lr_scheduler = \"rex\"\nlr_warmup_steps = 0.05\n", None),
            ("lr_warmup_steps = 1.5\n", Some("whole number")),
            ("lr_scheduler_power = 2.0\n", Some("polynomial")),
            ("lr_scheduler_num_cycles = 3\n", Some("cosine_with_restarts")),
            ("max_grad_norm = -1\n", Some("max_grad_norm")),
            (
                "min_snr_gamma = 5\ndebiased_estimation_loss = true\n",
                Some("leave one of them out"),
            ),
            ("p2_gamma = 1\nmin_snr_gamma = 5\n", Some("min_snr_gamma and p2_gamma")),
            ("p2_k = 1.0\n", Some("set p2_gamma")),
            ("huber_c = 0.2\n", Some("loss_type")),
            (
                "loss_type = \"huber\"\nhuber_c = 0.2\nhuber_schedule = \"exponential\"\n",
                None,
            ),
            ("loss_type = \"huber\"\nhuber_scale = 2.0\n", Some("huber_schedule")),
            ("loss_type = \"l3\"\n", Some("line 8")),
            ("adaptive_noise_scale = 0.1\n", Some("set noise_offset")),
            (
                "noise_offset = 0.05\nadaptive_noise_scale = -0.1\nnoise_offset_random_strength = true\n",
                None,
            ),
            ("noise_offset = -1.0\n", Some("noise_offset")),
            ("multires_noise_discount = 0.4\n", Some("multires_noise_iterations")),
            ("multires_noise_iterations = 64\n", Some("0 to 32")),
            ("sigmoid_scale = 2\n", Some("timestep_sampling")),
            (
                "v_parameterization = true\nprediction_type = \"epsilon\"\n",
                Some("something else"),
            ),
            ("masked_loss = true\n", Some("conditioning_data_dir")),
            ("conditioning_data_dir = \"m\"\n", Some("masked_loss = true")),
            ("masked_loss = true\nconditioning_data_dir = \"m\"\n", None),
            ("ema_decay = 1.0\n", Some("ema_decay")),
            ("early_stopping_patience = 2\n", Some("set validation_split")),
            (
                "logging_dir = \"logs\"\nlog_with = \"tensorboard\"\nlog_prefix = \"a\"\n",
                None,
            ),
            ("log_with = \"tensorboard\"\n", Some("set logging_dir")),
            ("log_prefix = \"a\"\n", Some("set logging_dir")),
            ("logging_dir = \"logs\"\nlog_with = \"wandb\"\n", Some("wandb")),
            (
                "logging_dir = \"logs\"\nlog_prefix = \"../a\"\n",
                Some("beginning of a name"),
            ),
            ("save_last_weights = true\n", Some("ema_decay")),
            ("save_last_weights = true\nema_decay = 0.9\n", None),
            ("prior_loss_weight = 0.5\n", Some("set is_reg = true")),
            ("prior_loss_weight = -1.0\n", Some("prior_loss_weight")),
            ("use = \"commercial\"\n", None),
            ("use = \"fun\"\n", Some("fun")),
        ] {
            std::fs::write(&path, format!("{LEAST}{more}")).unwrap();
            match (AdapterConfig::read(&path), wrong) {
                (Ok((c, _)), None) => assert_eq!(c.run.pretrained_model_name_or_path, folder.path().join("b")),
                (Err(e), Some(word)) => assert!(e.to_string().contains(word), "{e}"),
                (other, _) => panic!("{more}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_key_belongs_to_one_section() {
        let sections = [
            keys::of::<Run>(),
            keys::of::<Data>(),
            keys::of::<Subset>(),
            keys::of::<Network>(),
            keys::of::<Target>(),
            keys::of::<Optimisation>(),
        ];
        let mut all = sections.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_does_not_fit_the_base_says_what_would() {
        let base = crate::model::scheduler::ScheduleConfig::default();
        for (more, wrong) in [
            ("", None),
            ("v_parameterization = true\nzero_terminal_snr = true\n", None),
            ("prediction_type = \"sample\"\nzero_terminal_snr = true\n", None),
            ("zero_terminal_snr = true\n", Some("v_parameterization = true")),
            (
                "scale_v_pred_loss_like_noise_pred = true\n",
                Some("v_parameterization = true"),
            ),
            (
                "v_parameterization = true\nv_pred_like_loss = 0.2\n",
                Some("leave it out"),
            ),
            (
                "min_timestep = 500\nmax_timestep = 500\n",
                Some("the first below the second"),
            ),
            ("max_timestep = 1001\n", Some("0 to 1000")),
            ("min_timestep = 200\nmax_timestep = 1000\n", None),
        ] {
            let config = AdapterConfig::parse(&format!("{LEAST}{more}")).unwrap();
            match (config.target.schedule(&base), wrong) {
                (Ok(schedule), None) => assert_eq!(schedule.len(), 1000),
                (Err(e), Some(word)) => assert!(e.contains(word), "{e}"),
                (other, _) => panic!("{more}: {other:?}"),
            }
        }
    }

    #[test]
    fn several_sets_are_told_apart() {
        let least = LEAST.replace("snapshot = \"s\"\n", "prior_loss_weight = 0.5\n");
        let text = format!(
            "{least}[[datasets]]\n[[datasets.subsets]]\nsnapshot = \"r\"\nis_reg = true\n[[datasets.subsets]]\n\
             snapshot = \"s\"\nnum_repeats = 3\n[[datasets.subsets]]\nsnapshot = \"t\"\n[[datasets.subsets]]\n\
             snapshot = \"s\"\n"
        );
        let config = AdapterConfig::parse(&text).unwrap();
        let sets = config.sets();
        assert_eq!(
            sets,
            [
                ("s", Role::Training),
                ("t", Role::Training),
                ("r", Role::Regularization)
            ]
        );
        let told = config.beyond_defaults();
        let place = |at| format!("datasets[0].subsets[{at}]");
        assert_eq!(told[&format!("{}.num_repeats", place(1))], "3");
        let sets: Vec<_> = (0..4).map(|at| told[&format!("{}.set", place(at))].as_str()).collect();
        assert_eq!(sets, ["3", "1", "2", "1"]);
        assert_eq!(told["prior_loss_weight"], "0.5");
    }

    #[test]
    fn options_beyond_the_defaults_are_told() {
        let told = |more: &str| {
            AdapterConfig::parse(&format!("{LEAST}{more}"))
                .unwrap()
                .beyond_defaults()
        };
        assert_eq!(
            told("").into_keys().collect::<Vec<_>>(),
            [
                "learning_rate",
                "max_train_steps",
                "network_alpha",
                "network_dim",
                "resolution"
            ]
        );
        let more = told("loss_type = \"huber\"\nema_decay = 0.99\noptimizer_args = [\"eps=1e-6\"]\n");
        assert_eq!(more["loss_type"], "huber");
        assert_eq!(more["ema_decay"], "0.99");
        assert!(more["optimizer_args"].contains("eps=1e-6"));
    }
}
