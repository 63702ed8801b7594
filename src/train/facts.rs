//! What a run says of itself: the inputs of its record, and the header of its adapter.

mod datasets;

use std::collections::BTreeMap;
use std::path::Path;

use walkdir::WalkDir;

use super::config::{AdapterConfig, NetworkType};
use super::data::BucketCount;
use super::error::TrainError;
use super::sets::{Epoch, TrainingSet};
use crate::adapter::{Optimisation, TrainingFacts};
use crate::digest::Sha256Digest;
use crate::model::base::Family;
use crate::model::pipeline::Pipeline;
use crate::model::scheduler::PredictionType;
use crate::receipt::{BaseFacts, PolicyFacts, RunInputs, SetFacts, SnapshotFacts};
use crate::snapshot::{Role, VerifiedSnapshot};

/// The parts of a diffusers folder that shape what a run computes.
const PARTS: &[&str] = &[
    "model_index.json",
    "scheduler",
    "text_encoder",
    "tokenizer",
    "unet",
    "vae",
];
/// The same, where there are any: SDXL has a second encoder.
const MORE_PARTS: &[&str] = &["text_encoder_2", "tokenizer_2"];
/// What the record calls a base that is a single file, whatever its name is here.
const SINGLE: &str = "checkpoint.safetensors";

/// The digests of a base's files; `path` is a folder or a single file.
///
/// # Errors
/// If a file cannot be read.
pub fn base_facts(path: &Path) -> Result<BaseFacts, TrainError> {
    let mut files = BTreeMap::new();
    if path.is_file() {
        let digest = Sha256Digest::of_file(path).map_err(TrainError::io(path))?;
        files.insert(SINGLE.to_owned(), digest);
    } else {
        let more = MORE_PARTS.iter().filter(|part| path.join(part).exists());
        for part in PARTS.iter().chain(more) {
            for entry in WalkDir::new(path.join(part)).max_depth(1).sort_by_file_name() {
                let entry = entry.map_err(|e| TrainError::Setting(e.to_string()))?;
                if entry.file_type().is_file() {
                    let name = entry.path().strip_prefix(path).unwrap_or(entry.path());
                    let name: Vec<String> = name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                    let digest = Sha256Digest::of_file(entry.path()).map_err(TrainError::io(entry.path()))?;
                    files.insert(name.join("/"), digest);
                }
            }
        }
    }
    Ok(BaseFacts::new(files)?)
}

/// Everything that determines the weights.
///
/// # Errors
/// If settings do not fit each other.
pub fn inputs(
    config: &AdapterConfig,
    (config_digest, base): (Sha256Digest, BaseFacts),
    sets: &[TrainingSet<'_>],
    (epoch, held_out): (&Epoch, usize),
    device: &str,
) -> Result<RunInputs, TrainError> {
    let c = config;
    let mut facts = sets.iter().map(|set| SetFacts::of(set.role, set.snapshot.document()));
    let Some(first) = facts.next() else {
        return Err(TrainError::Setting(
            "expected a snapshot to train on, found none".to_owned(),
        ));
    };
    let settings = [
        ("base_precision", name_of(&c.run.base_precision)),
        ("network_dim", c.network.network_dim.to_string()),
        ("network_alpha", c.network.network_alpha.to_string()),
        ("resolution", c.data.resolution.to_string()),
        ("optimizer_type", format!("{:?}", c.optimisation.optimizer_type)),
        (
            "weight_decay",
            c.optimisation
                .method()
                .map_err(TrainError::Setting)?
                .weight_decay()
                .to_string(),
        ),
        ("learning_rate", c.optimisation.peak().to_string()),
        ("lr_scheduler", name_of(&c.optimisation.schedule())),
        ("lr_warmup_steps", c.optimisation.lr_warmup_steps.to_string()),
        ("max_train_steps", c.optimisation.max_train_steps.to_string()),
        ("train_batch_size", c.data.train_batch_size.to_string()),
        (
            "gradient_accumulation_steps",
            c.optimisation.gradient_accumulation_steps.to_string(),
        ),
        ("max_grad_norm", c.optimisation.max_grad_norm.to_string()),
        ("caption_dropout_rate", caption_dropout(c).to_string()),
        (
            "min_snr_gamma",
            c.target
                .min_snr_gamma
                .map_or_else(|| "none".to_owned(), |g| g.to_string()),
        ),
        ("validation_split", c.data.validation_split.to_string()),
        ("images_trained", epoch.learned.to_string()),
        ("images_held_out", held_out.to_string()),
    ];
    Ok(RunInputs {
        program: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
        base,
        snapshot: first.snapshot,
        policy: first.policy,
        further: facts.collect(),
        config: config_digest,
        settings: {
            let mut all = c.beyond_defaults();
            all.extend(settings.into_iter().map(|(k, v)| (k.to_owned(), v)));
            if c.regularizes() {
                let used = epoch.regularization.to_string();
                all.insert("images_regularization".to_owned(), used);
            }
            all
        },
        seed: c.run.seed,
        versions: versions(device),
    })
}

/// Of several sets the first one's, as readers of headers know a single rate.
fn caption_dropout(config: &AdapterConfig) -> f64 {
    let first = config.sources.first();
    first.map_or(0.0, |source| source.options.caption_dropout_rate)
}

/// What a configuration calls a value.
pub(super) fn name_of(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The adapter's header, but for hashes and receipt.
///
/// # Errors
/// If the inputs have no canonical form.
pub fn header(
    config: &AdapterConfig,
    inputs: &RunInputs,
    pipeline: &Pipeline,
    (epoch, buckets, steps): (&Epoch, &[BucketCount], u64),
) -> Result<BTreeMap<String, String>, TrainError> {
    let (c, images) = (config, epoch.learned);
    let velocity = matches!(pipeline.schedule.prediction_type(), PredictionType::Velocity);
    let (base_version, architecture) = match pipeline.family {
        Family::Sd1 => ("sd_v1", "stable-diffusion-v1"),
        Family::Sd2 if velocity => ("sd_v2_v", "stable-diffusion-v2-768-v"),
        Family::Sd2 => ("sd_v2", "stable-diffusion-v2-512"),
        Family::Xl => ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    };
    let (network_module, network_args) = c.network.module();
    // The difference from a start that is not zero has twice the rank.
    let twice = 1 + usize::from(c.network.recipe().is_ok_and(|recipe| recipe.start.changes_base()));
    let kind = match c.network.network_type {
        NetworkType::Lora => "LoRA",
        NetworkType::Locon => "LoCon",
        NetworkType::Loha => "LoHa",
        NetworkType::Lokr => "LoKr",
    };
    let facts = TrainingFacts {
        title: c.run.output_name.clone(),
        description: format!(
            "{kind} of rank {} trained on a frozen, cleared set of {images} images",
            c.network.network_dim
        ),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        base_version: base_version.to_owned(),
        architecture: architecture.to_owned(),
        prediction: match pipeline.schedule.prediction_type() {
            PredictionType::Epsilon => "epsilon",
            PredictionType::Velocity => "v",
            PredictionType::Sample => "sample",
        }
        .to_owned(),
        base: inputs.base.digest,
        run: inputs.identity()?,
        rank: c.network.network_dim * twice,
        alpha: c.network.network_alpha * twice as f64,
        network_module: network_module.to_owned(),
        network_args,
        dropout: c.network.network_dropout,
        resolution: c.data.resolution.sides().into(),
        images: datasets::images(c, epoch, Role::Training),
        buckets: buckets.iter().map(|b| ([b.width, b.height], b.turns)).collect(),
        batch: c.data.train_batch_size,
        steps,
        max_steps: c.optimisation.max_train_steps,
        seed: c.run.seed,
        optimisation: Optimisation {
            optimizer: format!("{:?}", c.optimisation.optimizer_type),
            learning_rate: c.optimisation.peak(),
            schedule: name_of(&c.optimisation.schedule()),
            warmup_steps: c.optimisation.warmup(),
            accumulation: c.optimisation.gradient_accumulation_steps,
            checkpointing: c.optimisation.gradient_checkpointing,
            max_grad_norm: (c.optimisation.max_grad_norm > 0.0).then_some(c.optimisation.max_grad_norm),
            scale_weight_norms: c.optimisation.scale_weight_norms,
            caption_dropout: caption_dropout(c),
            min_snr_gamma: c.target.min_snr_gamma.map(f64::from),
            noise_offset: c.target.noise_offset,
        },
        trigger: c.run.trigger_phrase.clone(),
        license: None,
        times: None,
    };
    let mut header = facts.header();
    header.extend(datasets::entries(c, inputs, epoch));
    if c.network.train_text_encoder {
        let rate = c.network.text_encoder_lr.unwrap_or(c.optimisation.peak());
        header.insert("ss_text_encoder_lr".to_owned(), rate.to_string());
    }
    // sd-scripts writes every option of its data and objective under this prefix; here those that were set.
    let of_one = |(option, _): &(String, String)| !option.contains('[');
    for (option, value) in c.objective_options().into_iter().chain(c.data_options()).filter(of_one) {
        let value = match value.as_str() {
            "true" => "True",
            other => other,
        };
        match option.as_str() {
            // These stand there already.
            "min_snr_gamma" | "noise_offset" | "resolution" | "caption_dropout_rate" => {}
            "debiased_estimation_loss" => drop(header.insert("ss_debiased_estimation".to_owned(), value.to_owned())),
            _ => drop(header.insert(format!("ss_{option}"), value.to_owned())),
        }
    }
    Ok(header)
}

/// What the repository keeps beside a base that was trained here: everything that determined it, and what came out.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BaseRecord {
    /// `assent.base/1`.
    pub format: String,
    /// The program and its version.
    pub program: String,
    /// The training set.
    pub snapshot: SnapshotFacts,
    /// The policy that cleared it.
    pub policy: PolicyFacts,
    /// SHA-256 of the configuration's text.
    pub config: Sha256Digest,
    /// The seed.
    pub seed: u64,
    /// Versions of what computed it.
    pub versions: BTreeMap<String, String>,
    /// Losses on held-out pictures at the start and the end.
    pub losses: BTreeMap<String, f64>,
    /// The model's files.
    pub files: BaseFacts,
}

impl BaseRecord {
    /// The record of a base that was trained into `folder`.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn new(
        folder: &Path,
        (config, seed): (Sha256Digest, u64),
        snapshot: &VerifiedSnapshot,
        losses: &BTreeMap<String, f64>,
        device: &str,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            format: "assent.base/1".to_owned(),
            program: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
            snapshot: SnapshotFacts::of(snapshot.document()),
            policy: PolicyFacts::of(snapshot.document()),
            config,
            seed,
            versions: versions(device),
            losses: losses.clone(),
            files: base_facts(folder)?,
        })
    }

    /// The bytes of `receipt.json`.
    ///
    /// # Errors
    /// Never for a record made by [`BaseRecord::new`].
    pub fn to_json(&self) -> Result<String, TrainError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| TrainError::Setting(e.to_string()))?;
        Ok(text + "\n")
    }
}

fn versions(device: &str) -> BTreeMap<String, String> {
    [("burn", "0.22.1"), ("device", device)]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}
