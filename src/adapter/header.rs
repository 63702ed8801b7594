//! The header of a trained adapter: the `ss_*` entries that sd-scripts always writes and other tools read, and the
//! model spec's `modelspec.*`.
//!
//! No wall-clock time, path or user name goes in: two runs of one configuration give the same file. The times stand in
//! the run record, and go into the header only when the caller gives them.

use std::collections::BTreeMap;

use serde_json::json;

use crate::digest::Sha256Digest;

/// How the weights were moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimisation {
    /// e.g. `AdamW`.
    pub optimizer: String,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// `constant`, `cosine`, …
    pub schedule: String,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Micro-batches summed before each step.
    pub accumulation: u64,
    /// Whether blocks were computed again in the backward pass.
    pub checkpointing: bool,
    /// Largest norm of the gradient; none for no clipping.
    pub max_grad_norm: Option<f64>,
    /// Largest norm of a module's update, where there is a bound.
    pub scale_weight_norms: Option<f64>,
    /// Share of captions replaced by the empty one, 0 to 1.
    pub caption_dropout: f64,
    /// γ of min-SNR weighting, where it is used.
    pub min_snr_gamma: Option<f64>,
    /// Offset added to the noise, where it is used.
    pub noise_offset: Option<f64>,
}

/// What the header says of a training run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingFacts {
    /// Name of the adapter, for people.
    pub title: String,
    /// A sentence on it.
    pub description: String,
    /// Version of this program.
    pub version: String,
    /// `sd_v1`, `sd_v2` or `sdxl_base_v1-0`.
    pub base_version: String,
    /// The model spec's name of the base's architecture without `/lora`, e.g. `stable-diffusion-v1`.
    pub architecture: String,
    /// `epsilon` or `v`.
    pub prediction: String,
    /// Overall digest of the base.
    pub base: Sha256Digest,
    /// Identity of the run; the session id is its first 32 bits.
    pub run: Sha256Digest,
    /// Rank of linear layers and 1×1 convolutions.
    pub rank: usize,
    /// Their alpha.
    pub alpha: f64,
    /// The module of sd-scripts that such an adapter comes from: `networks.lora` or `lycoris.kohya`.
    pub network_module: String,
    /// Its arguments.
    pub network_args: BTreeMap<String, String>,
    /// Dropout inside the adapter, 0 to 1.
    pub dropout: f64,
    /// Width and height of the pictures in pixels.
    pub resolution: (u32, u32),
    /// Pictures to be learned, with their repeats.
    pub images: usize,
    /// Pictures of an epoch with their repeats, those of regularization too, by the sizes that they were trained in: width
    /// and height in pixels.
    pub buckets: Vec<([u32; 2], usize)>,
    /// Pictures in a batch.
    pub batch: usize,
    /// Optimizer steps done.
    pub steps: u64,
    /// Optimizer steps planned.
    pub max_steps: u64,
    /// The seed.
    pub seed: u64,
    /// How the weights were moved.
    pub optimisation: Optimisation,
    /// Words a prompt should hold.
    pub trigger: Option<String>,
    /// Licence of the adapter as an SPDX expression.
    pub license: Option<String>,
    /// Start and end of the training in seconds since 1970, where the caller wants them in the file.
    pub times: Option<(i64, i64)>,
}

impl TrainingFacts {
    /// The header's entries. The hashes of the tensors are added when the file is laid out.
    pub fn header(&self) -> BTreeMap<String, String> {
        let o = &self.optimisation;
        let none = || "None".to_owned();
        let or_none = |v: Option<f64>| v.map_or_else(none, |v| v.to_string());
        let full = |(_, count): &([u32; 2], usize)| count.div_ceil(self.batch.max(1));
        let batches = self.buckets.iter().map(full).sum::<usize>().max(1) as u64;
        let epochs = |steps: u64| steps.saturating_mul(o.accumulation.max(1)).div_ceil(batches);
        let [a, b, c, d, ..] = *self.run.as_bytes();
        let (width, height) = self.resolution;
        let bucket = |(i, (resolution, count)): (usize, &([u32; 2], usize))| {
            (i.to_string(), json!({"count": count, "resolution": resolution}))
        };
        let buckets: BTreeMap<String, _> = self.buckets.iter().enumerate().map(bucket).collect();
        let mut h: BTreeMap<String, String> = [
            ("ss_session_id", u32::from_be_bytes([a, b, c, d]).to_string()),
            ("ss_steps", self.steps.to_string()),
            ("ss_epoch", epochs(self.steps).to_string()),
            ("ss_output_name", self.title.clone()),
            ("ss_learning_rate", o.learning_rate.to_string()),
            ("ss_unet_lr", o.learning_rate.to_string()),
            ("ss_text_encoder_lr", none()),
            ("ss_num_train_images", self.images.to_string()),
            ("ss_num_reg_images", "0".into()),
            ("ss_num_batches_per_epoch", batches.to_string()),
            ("ss_num_epochs", epochs(self.max_steps).to_string()),
            ("ss_batch_size_per_device", self.batch.to_string()),
            (
                "ss_total_batch_size",
                (self.batch as u64).saturating_mul(o.accumulation.max(1)).to_string(),
            ),
            (
                "ss_gradient_checkpointing",
                if o.checkpointing { "True" } else { "False" }.into(),
            ),
            ("ss_gradient_accumulation_steps", o.accumulation.to_string()),
            ("ss_max_train_steps", self.max_steps.to_string()),
            ("ss_lr_warmup_steps", o.warmup_steps.to_string()),
            ("ss_lr_scheduler", o.schedule.clone()),
            ("ss_network_module", self.network_module.clone()),
            ("ss_network_dim", self.rank.to_string()),
            ("ss_network_alpha", self.alpha.to_string()),
            ("ss_network_dropout", self.dropout.to_string()),
            ("ss_network_args", json!(self.network_args).to_string()),
            ("ss_mixed_precision", "no".into()),
            ("ss_full_fp16", "False".into()),
            (
                "ss_v2",
                if self.base_version == "sd_v2" { "True" } else { "False" }.into(),
            ),
            ("ss_base_model_version", self.base_version.clone()),
            ("ss_clip_skip", none()),
            ("ss_max_token_length", none()),
            ("ss_cache_latents", "True".into()),
            ("ss_seed", self.seed.to_string()),
            ("ss_noise_offset", or_none(o.noise_offset)),
            ("ss_training_comment", self.description.clone()),
            ("ss_optimizer", o.optimizer.clone()),
            ("ss_max_grad_norm", or_none(o.max_grad_norm)),
            ("ss_scale_weight_norms", or_none(o.scale_weight_norms)),
            ("ss_caption_dropout_rate", o.caption_dropout.to_string()),
            ("ss_min_snr_gamma", or_none(o.min_snr_gamma)),
            ("ss_zero_terminal_snr", "False".into()),
            ("ss_resolution", format!("({width}, {height})")),
            ("ss_bucket_info", json!({"buckets": buckets}).to_string()),
            // The captions may name people; how often each word occurs is nobody's business but the registry's.
            ("ss_tag_frequency", "{}".into()),
            ("ss_sd_model_hash", self.base.short()),
            ("ss_new_sd_model_hash", self.base.to_string()),
            ("modelspec.sai_model_spec", "1.0.1".into()),
            ("modelspec.architecture", format!("{}/lora", self.architecture)),
            ("modelspec.implementation", "diffusers".into()),
            ("modelspec.title", self.title.clone()),
            ("modelspec.description", self.description.clone()),
            ("modelspec.author", format!("assent {}", self.version)),
            ("modelspec.prediction_type", self.prediction.clone()),
            ("modelspec.resolution", format!("{width}x{height}")),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect();
        let mut put = |key: &str, value: Option<String>| value.map(|v| h.insert(key.to_owned(), v));
        put("modelspec.trigger_phrase", self.trigger.clone());
        put("modelspec.license", self.license.clone());
        put(
            "ss_training_started_at",
            self.times.map(|(start, _)| format!("{start}.0")),
        );
        put("ss_training_finished_at", self.times.map(|(_, end)| format!("{end}.0")));
        put(
            "modelspec.date",
            self.times
                .and_then(|(_, end)| jiff::Timestamp::from_second(end).ok())
                .map(|t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        );
        h
    }
}
