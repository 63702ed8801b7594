//! What becomes of OneTrainer's settings.

mod own;

use super::row::How::{Ask, Given, Idle, Later, Missing, Rule, Same, Words};
use super::row::Kind::{Flag, Number, Text, Whole};
use super::row::Row;
use super::{optimizer, rules};

const COMPUTED: &str = "how the machine computes; here as --device says";
const TOLD: &str = "logs, names and where things are put";
const KEPT: &str = "what is kept along the way; every run here can be resumed";
const PARTS: &str = "of parts that other models have, or how they are kept";
const MASKS: &str = "masks count as they are";
const FOLDERS: &str =
    "a snapshot is trained on: `assent ingest FOLDER`, then `assent snapshot create NAME --policy FILE`";
const LOSSES: &str = "one loss counts alone: mse as l2, or mae as l1";
const AUGMENTED: &str = "pictures and captions are trained on as the snapshot froze them";

/// The rows.
pub(super) const TABLE: &[Row] = &[
    (
        "training_method",
        Words("", &[("LORA", "")]),
        "adapters are trained, nothing else",
    ),
    ("model_type", Rule(own::model_type), ""),
    ("base_model_name", Same("pretrained_model_name_or_path", Text), ""),
    ("output_model_destination", Rule(own::output), ""),
    (
        "output_model_format",
        Idle,
        "adapters are kohya's safetensors; `assent export` converts them",
    ),
    (
        "output_dtype",
        Words("save_precision", PRECISIONS),
        "there is no such precision",
    ),
    ("lora_model_name", Missing(&[]), "every adapter starts anew"),
    // Pictures.
    ("concept_file_name", Ask, FOLDERS),
    ("concepts.path", Ask, FOLDERS),
    ("concepts.name", Idle, TOLD),
    ("concepts.seed", Idle, TOLD),
    ("concepts.enabled", Ask, "leave out of the snapshot what is not enabled"),
    (
        "concepts.type",
        Missing(&["STANDARD"]),
        "only pictures to train on; hold some out with validation_split",
    ),
    (
        "concepts.include_subdirectories",
        Ask,
        "`assent ingest` reads folders with all that is in them",
    ),
    (
        "concepts.text.prompt_source",
        Ask,
        "captions lie beside the pictures: `assent ingest --captions EXT`",
    ),
    (
        "concepts.text.prompt_path",
        Ask,
        "captions lie beside the pictures: `assent ingest --captions EXT`",
    ),
    ("concepts.balancing", Rule(own::of_balance), ""),
    ("concepts.balancing_strategy", Idle, "as balancing says"),
    (
        "concepts.loss_weight",
        Missing(&["1"]),
        "sets have repeats, and no weights of their loss",
    ),
    ("concepts.image_variations", Idle, "only beside augmentations"),
    ("concepts.text_variations", Idle, "only beside augmentations"),
    ("concepts.concept_stats*", Idle, TOLD),
    ("concepts.image.enable_random_flip", Rule(rules::flips), ""),
    ("concepts.text.enable_tag_shuffling", Given("shuffle_caption", Flag), ""),
    ("concepts.text.keep_tags_count", Given("keep_tokens", Whole), ""),
    ("concepts.text.tag_delimiter", Given("caption_separator", Text), ""),
    ("concepts.*", Missing(&[]), AUGMENTED),
    ("aspect_ratio_bucketing", Rule(rules::buckets), ""),
    ("resolution", Rule(rules::resolution), ""),
    (
        "masked_training",
        Ask,
        "set masked_loss = true and conditioning_data_dir to the folder of the masks",
    ),
    ("unmasked_probability", Rule(own::of_masks), MASKS),
    ("unmasked_weight", Rule(own::of_masks), MASKS),
    ("normalize_masked_area_loss", Rule(own::of_masks), MASKS),
    ("masked_prior_preservation_weight", Rule(own::of_masks), MASKS),
    (
        "custom_conditioning_image",
        Missing(&[]),
        "there are no pictures that lead others",
    ),
    // The adapter; kind and size are read together.
    ("peft_type", Later, ""),
    ("lora_rank", Later, ""),
    ("lora_alpha", Same("network_alpha", Number), ""),
    ("lora_decompose*", Later, ""),
    ("lokr_*", Later, ""),
    ("oft_*", Idle, "of other kinds of adapters"),
    ("dropout_probability", Given("network_dropout", Number), ""),
    ("layer_filter_preset", Later, ""),
    ("layer_filter", Rule(own::filter), ""),
    ("layer_filter_regex", Rule(own::filter), ""),
    ("lora_weight_dtype", Idle, COMPUTED),
    // The parts.
    ("learning_rate", Later, ""),
    ("unet.learning_rate", Later, ""),
    ("unet.train", Later, ""),
    (
        "unet.stop_training_after",
        Missing(&[]),
        "the U-Net is trained to the end",
    ),
    ("unet.stop_training_after_unit", Idle, "beside stop_training_after"),
    ("text_encoder.train", Later, ""),
    ("text_encoder.learning_rate", Later, ""),
    ("text_encoder.stop_training_after", Later, ""),
    (
        "text_encoder.dropout_probability",
        Missing(&[]),
        "a caption is left out as a whole: caption_dropout_rate",
    ),
    ("text_encoder_2.train", Later, ""),
    ("text_encoder_2.learning_rate", Later, ""),
    (
        "text_encoder_2.dropout_probability",
        Missing(&[]),
        "a caption is left out as a whole: caption_dropout_rate",
    ),
    (
        "text_encoder_layer_skip",
        Missing(&[]),
        "the text encoder is used as the base has it",
    ),
    (
        "text_encoder_2_layer_skip",
        Missing(&[]),
        "the text encoder is used as the base has it",
    ),
    ("vae.model_name", Missing(&[]), "the VAE is the base's own"),
    ("unet.weight_dtype", Rule(own::base_precision), ""),
    ("unet.*", Idle, COMPUTED),
    ("text_encoder*", Idle, PARTS),
    ("vae.*", Idle, COMPUTED),
    ("prior.*", Idle, PARTS),
    ("transformer.*", Idle, PARTS),
    ("unconditional_transformer.*", Idle, PARTS),
    ("effnet_encoder.*", Idle, PARTS),
    ("decoder*", Idle, PARTS),
    ("quantization.*", Idle, COMPUTED),
    ("embedding.*", Idle, PARTS),
    ("embedding_*", Idle, PARTS),
    ("preserve_embedding_norm", Idle, PARTS),
    ("bundle_additional_embeddings", Idle, PARTS),
    ("additional_embeddings*", Missing(&[]), "embeddings are not trained"),
    // The optimizer.
    (
        "optimizer.optimizer",
        Words("optimizer_type", optimizer::ONE_TRAINER),
        "there is no such optimizer",
    ),
    (
        "optimizer.amsgrad",
        Missing(&[]),
        "the optimizer has no such argument here",
    ),
    (
        "optimizer.maximize",
        Missing(&[]),
        "the optimizer has no such argument here",
    ),
    (
        "optimizer.percentile_clipping",
        Missing(&["100"]),
        "the optimizer has no such argument here",
    ),
    (
        "optimizer.slice_p",
        Missing(&["1"]),
        "the optimizer has no such argument here",
    ),
    ("optimizer.*", Later, ""),
    (
        "optimizer_defaults*",
        Idle,
        "what the page puts in when the optimizer is changed",
    ),
    ("batch_size", Same("train_batch_size", Whole), ""),
    (
        "gradient_accumulation_steps",
        Same("gradient_accumulation_steps", Whole),
        "",
    ),
    ("clip_grad_norm", Same("max_grad_norm", Number), ""),
    ("epochs", Later, ""),
    (
        "learning_rate_scheduler",
        Words("lr_scheduler", COURSES),
        "there is no such course of the learning rate",
    ),
    ("learning_rate_warmup_steps", Rule(own::warmup), ""),
    ("learning_rate_cycles", Given("lr_scheduler_num_cycles", Whole), ""),
    ("learning_rate_min_factor", Missing(&[]), "courses end at zero"),
    ("learning_rate_scaler", Missing(&["NONE"]), "rates are what they are"),
    ("loss_scaler", Missing(&["NONE"]), "losses are what they are"),
    (
        "custom_learning_rate_scheduler",
        Missing(&[]),
        "there is no such course of the learning rate",
    ),
    (
        "scheduler_params*",
        Missing(&[]),
        "there is no such course of the learning rate",
    ),
    ("ema", Rule(own::ema), ""),
    ("ema_decay", Rule(own::ema), ""),
    ("ema_update_step_interval", Rule(own::ema), ""),
    // The objective.
    ("mse_strength", Rule(own::loss), LOSSES),
    ("mae_strength", Rule(own::loss), LOSSES),
    ("log_cosh_strength", Missing(&[]), LOSSES),
    (
        "huber_strength",
        Missing(&[]),
        "its threshold is constant; see loss_type = \"huber\" with huber_schedule",
    ),
    ("huber_delta", Idle, "beside huber_strength"),
    ("vb_loss_strength", Idle, "only for models that predict variances"),
    ("loss_weight_fn", Rule(own::weights), ""),
    ("loss_weight_strength", Rule(own::weights), ""),
    ("offset_noise_weight", Given("noise_offset", Number), ""),
    (
        "generalized_offset_noise",
        Missing(&[]),
        "the shift is as strong at every timestep",
    ),
    (
        "perturbation_noise_weight",
        Missing(&[]),
        "it is part of the target there; ip_noise_gamma is not",
    ),
    (
        "rescale_noise_scheduler_to_zero_terminal_snr",
        Given("zero_terminal_snr", Flag),
        "",
    ),
    ("force_v_prediction", Given("v_parameterization", Flag), ""),
    (
        "force_epsilon_prediction",
        Words("prediction_type", &[("true", "epsilon")]),
        "",
    ),
    ("min_noising_strength", Rule(own::range), ""),
    ("max_noising_strength", Rule(own::range), ""),
    ("timestep_distribution", Rule(own::timesteps), ""),
    ("noising_weight", Rule(own::timesteps), ""),
    ("noising_bias", Rule(own::timesteps), ""),
    ("timestep_shift", Missing(&["1"]), "timesteps are not shifted"),
    ("dynamic_timestep_shifting", Missing(&[]), "timesteps are not shifted"),
    (
        "force_circular_padding",
        Missing(&[]),
        "convolutions are as the base has them",
    ),
    // Watching.
    ("validation", Ask, "set validation_split and validate_every_n_steps"),
    ("validate_after*", Idle, "beside validation"),
    (
        "samples.prompt",
        Ask,
        "write the prompts themselves: sample_prompts = [\"…\"]",
    ),
    ("samples.*", Idle, KEPT),
    ("sample_*", Idle, KEPT),
    ("samples_to_tensorboard", Idle, TOLD),
    ("non_ema_sampling", Idle, KEPT),
    ("backup_*", Idle, KEPT),
    ("rolling_backup*", Idle, KEPT),
    ("save_*", Idle, KEPT),
    (
        "continue_last_backup",
        Idle,
        "a run is resumed with `assent train --resume`",
    ),
    ("seed", Rule(rules::seed), ""),
    // Computing and telling.
    ("__version", Idle, TOLD),
    ("debug_*", Idle, TOLD),
    ("workspace_dir", Idle, TOLD),
    ("cache_dir", Idle, TOLD),
    ("huggingface_cache_dir", Idle, TOLD),
    ("offline_mode", Idle, TOLD),
    ("tensorboard*", Idle, TOLD),
    ("prevent_overwrites", Idle, TOLD),
    ("include_train_config", Idle, TOLD),
    ("cloud.*", Idle, TOLD),
    ("secrets*", Idle, TOLD),
    ("multi_gpu", Idle, COMPUTED),
    ("device_indexes", Idle, COMPUTED),
    ("gradient_reduce_precision", Idle, COMPUTED),
    ("fused_gradient_reduce", Idle, COMPUTED),
    ("async_*", Idle, COMPUTED),
    ("compile", Idle, COMPUTED),
    ("latent_caching", Idle, COMPUTED),
    ("clear_cache_before_training", Idle, COMPUTED),
    ("only_cache", Idle, COMPUTED),
    ("dataloader_threads", Idle, COMPUTED),
    ("train_device", Idle, COMPUTED),
    ("temp_device", Idle, COMPUTED),
    ("train_dtype", Idle, COMPUTED),
    ("fallback_train_dtype", Idle, COMPUTED),
    ("enable_autocast_cache", Idle, COMPUTED),
    ("attention_mechanism", Idle, COMPUTED),
    ("gradient_checkpointing", Rule(own::recomputes), ""),
    ("frames", Idle, "only for moving pictures"),
];

const PRECISIONS: &[(&str, &str)] = &[("FLOAT_32", "float"), ("FLOAT_16", "fp16"), ("BFLOAT_16", "bf16")];

/// Its REX has other numbers, its `COSINE_WITH_RESTARTS` rises as slowly as it falls.
const COURSES: &[(&str, &str)] = &[
    ("CONSTANT", "constant"),
    ("LINEAR", "linear"),
    ("COSINE", "cosine"),
    ("COSINE_WITH_HARD_RESTARTS", "cosine_with_restarts"),
    ("ADAFACTOR", "constant"),
];
