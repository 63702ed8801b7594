//! What becomes of the options of sd-scripts' `train_network.py` and `sdxl_train_network.py`.
//!
//! The options of a dataset configuration and the arguments of networks and optimizers stand among them.

use super::row::How::{Ask, Given, Idle, Later, Missing, Rule, Same, Words};
use super::row::Kind::{Flag, Number, Text, Whole};
use super::row::Row;
use super::{optimizer, rules};

const COMPUTED: &str = "how the machine computes; here as --device says";
const TOLD: &str = "logs, names and where things are put";
const KEPT: &str = "what is kept along the way; every run here can be resumed";
const CACHES: &str = "what is computed once and kept";
const AUGMENTED: &str = "pictures are flipped and cut, and otherwise trained on as they are";
const BLOCKS: &str = "blocks have ranks and rates by rank_pattern, alpha_pattern and lr_pattern; write them there";
const FOLDERS: &str =
    "a snapshot is trained on: `assent ingest FOLDER`, then `assent snapshot create NAME --policy FILE`";
const COURSE: &str = "the courses of the learning rate are those of lr_scheduler";
const FLOW: &str = "only for flow models, which are not trained here";

/// The rows.
pub(super) const TABLE: &[Row] = &[
    // What is trained on what.
    (
        "pretrained_model_name_or_path",
        Same("pretrained_model_name_or_path", Text),
        "",
    ),
    ("output_name", Given("output_name", Text), ""),
    ("train_data_dir", Ask, FOLDERS),
    ("image_dir", Ask, FOLDERS),
    (
        "reg_data_dir",
        Ask,
        "make a snapshot of it, and write both into `[[datasets.subsets]]`, this one with is_reg = true",
    ),
    ("is_reg", Later, ""),
    ("prior_loss_weight", Rule(rules::prior), ""),
    (
        "in_json",
        Ask,
        "captions lie beside the pictures or in the registry: `assent ingest --captions EXT`",
    ),
    (
        "metadata_file",
        Ask,
        "captions lie beside the pictures or in the registry: `assent ingest --captions EXT`",
    ),
    ("caption_extension", Ask, "say it to `assent ingest --captions EXT`"),
    ("caption_extention", Ask, "say it to `assent ingest --captions EXT`"),
    ("class_tokens", Given("class_tokens", Text), ""),
    ("dataset_repeats", Rule(rules::repeats), ""),
    ("dataset_class", Missing(&[]), "datasets are snapshots"),
    ("custom_attributes*", Missing(&[]), "datasets are snapshots"),
    (
        "network_multiplier",
        Missing(&["1"]),
        "adapters are trained at their full strength",
    ),
    ("vae", Missing(&[]), "the VAE is the base's own"),
    ("v2", Idle, "the base says itself what it is"),
    // Pictures.
    ("resolution", Rule(rules::resolution), ""),
    ("enable_bucket", Rule(rules::buckets), ""),
    ("min_bucket_reso", Given("min_bucket_reso", Whole), ""),
    ("max_bucket_reso", Given("max_bucket_reso", Whole), ""),
    ("bucket_reso_steps", Given("bucket_reso_steps", Whole), ""),
    ("bucket_no_upscale", Given("bucket_no_upscale", Flag), ""),
    ("resize_interpolation", Missing(&[]), AUGMENTED),
    ("color_aug", Missing(&[]), AUGMENTED),
    ("flip_aug", Rule(rules::flips), ""),
    ("random_crop", Given("random_crop", Flag), ""),
    ("face_crop_aug_range", Missing(&[]), AUGMENTED),
    ("alpha_mask", Given("alpha_mask", Flag), ""),
    ("masked_loss", Given("masked_loss", Flag), ""),
    ("conditioning_data_dir", Given("conditioning_data_dir", Text), ""),
    // Captions.
    ("caption_dropout_rate", Same("caption_dropout_rate", Number), ""),
    (
        "caption_dropout_every_n_epochs",
        Given("caption_dropout_every_n_epochs", Whole),
        "",
    ),
    (
        "caption_tag_dropout_rate",
        Given("caption_tag_dropout_rate", Number),
        "",
    ),
    ("shuffle_caption", Given("shuffle_caption", Flag), ""),
    ("keep_tokens", Given("keep_tokens", Whole), ""),
    ("keep_tokens_separator", Given("keep_tokens_separator", Text), ""),
    ("caption_separator", Given("caption_separator", Text), ""),
    ("secondary_separator", Given("secondary_separator", Text), ""),
    ("enable_wildcard", Given("enable_wildcard", Flag), ""),
    ("caption_prefix", Given("caption_prefix", Text), ""),
    ("caption_suffix", Given("caption_suffix", Text), ""),
    ("token_warmup_min", Given("token_warmup_min", Whole), ""),
    ("token_warmup_step", Given("token_warmup_step", Number), ""),
    ("weighted_captions", Missing(&[]), "words in captions have no weights"),
    ("max_token_length", Missing(&["75"]), "captions have up to 75 tokens"),
    (
        "clip_skip",
        Missing(&["1"]),
        "the text encoder is used as the base has it",
    ),
    // The adapter.
    ("network_module", Later, ""),
    ("network_dim", Same("network_dim", Whole), ""),
    ("network_alpha", Same("network_alpha", Number), ""),
    ("network_dropout", Given("network_dropout", Number), ""),
    ("network_weights", Missing(&[]), "every adapter starts anew"),
    ("dim_from_weights", Missing(&[]), "every adapter starts anew"),
    (
        "base_weights",
        Ask,
        "merge it first: `assent adapter merge`, and train on what comes of it",
    ),
    (
        "base_weights_multiplier",
        Ask,
        "merge it first: `assent adapter merge`, and train on what comes of it",
    ),
    ("scale_weight_norms", Given("scale_weight_norms", Number), ""),
    ("network_args.algo", Later, ""),
    (
        "network_args.preset",
        Missing(&["full"]),
        "choose layers by target_modules and exclude_modules",
    ),
    ("network_args.conv_dim", Given("conv_dim", Whole), ""),
    ("network_args.conv_alpha", Given("conv_alpha", Number), ""),
    ("network_args.conv_lora_dim", Given("conv_dim", Whole), ""),
    ("network_args.dropout", Given("network_dropout", Number), ""),
    ("network_args.rank_dropout", Given("rank_dropout", Number), ""),
    ("network_args.module_dropout", Given("module_dropout", Number), ""),
    ("network_args.use_tucker", Given("use_tucker", Flag), ""),
    ("network_args.use_cp", Given("use_tucker", Flag), ""),
    ("network_args.dora_wd", Given("dora_wd", Flag), ""),
    ("network_args.rs_lora", Given("rs_lora", Flag), ""),
    ("network_args.factor", Rule(rules::factor), ""),
    ("network_args.decompose_both", Given("decompose_both", Flag), ""),
    ("network_args.loraplus_lr_ratio", Given("loraplus_lr_ratio", Number), ""),
    (
        "network_args.loraplus_unet_lr_ratio",
        Missing(&[]),
        "loraplus_lr_ratio is one for U-Net and text encoders",
    ),
    (
        "network_args.loraplus_text_encoder_lr_ratio",
        Missing(&[]),
        "loraplus_lr_ratio is one for U-Net and text encoders",
    ),
    ("network_args.bypass_mode", Idle, COMPUTED),
    (
        "network_args.wd_on_output",
        Missing(&["true"]),
        "lengths are those of the output's channels",
    ),
    (
        "network_args.block_lr_zero_threshold",
        Idle,
        "only beside weights of blocks",
    ),
    ("network_args.block_*", Missing(&[]), BLOCKS),
    ("network_args.conv_block_*", Missing(&[]), BLOCKS),
    ("network_args.down_lr_weight", Missing(&[]), BLOCKS),
    ("network_args.mid_lr_weight", Missing(&[]), BLOCKS),
    ("network_args.up_lr_weight", Missing(&[]), BLOCKS),
    ("network_args.*", Missing(&[]), "the network has no such argument here"),
    // Rates.
    ("learning_rate", Later, ""),
    ("unet_lr", Later, ""),
    ("text_encoder_lr", Later, ""),
    ("network_train_unet_only", Later, ""),
    ("network_train_text_encoder_only", Later, ""),
    // The optimizer.
    (
        "optimizer_type",
        Words("optimizer_type", optimizer::SD_SCRIPTS),
        "there is no such optimizer",
    ),
    ("use_8bit_adam", Rule(optimizer::old_switch), ""),
    ("use_lion_optimizer", Rule(optimizer::old_switch), ""),
    ("optimizer_args.*", Later, ""),
    (
        "optimizer_schedulefree_wrapper",
        Missing(&[]),
        "only AdamWScheduleFree is schedule-free",
    ),
    (
        "schedulefree_wrapper_args*",
        Missing(&[]),
        "only AdamWScheduleFree is schedule-free",
    ),
    ("fused_backward_pass", Idle, COMPUTED),
    ("max_grad_norm", Same("max_grad_norm", Number), ""),
    (
        "gradient_accumulation_steps",
        Same("gradient_accumulation_steps", Whole),
        "",
    ),
    ("train_batch_size", Same("train_batch_size", Whole), ""),
    ("lr_scheduler", Words("lr_scheduler", COURSES), COURSE),
    ("lr_scheduler_type", Missing(&[]), COURSE),
    ("lr_scheduler_args*", Missing(&[]), COURSE),
    ("lr_warmup_steps", Given("lr_warmup_steps", Number), ""),
    ("lr_decay_steps", Missing(&[]), COURSE),
    ("lr_scheduler_num_cycles", Given("lr_scheduler_num_cycles", Whole), ""),
    ("lr_scheduler_power", Given("lr_scheduler_power", Number), ""),
    ("lr_scheduler_timescale", Missing(&[]), COURSE),
    ("lr_scheduler_min_lr_ratio", Missing(&[]), COURSE),
    ("max_train_steps", Rule(rules::steps), ""),
    ("max_train_epochs", Later, ""),
    // The objective.
    ("v_parameterization", Given("v_parameterization", Flag), ""),
    ("zero_terminal_snr", Given("zero_terminal_snr", Flag), ""),
    ("min_snr_gamma", Given("min_snr_gamma", Number), ""),
    ("debiased_estimation_loss", Given("debiased_estimation_loss", Flag), ""),
    (
        "scale_v_pred_loss_like_noise_pred",
        Given("scale_v_pred_loss_like_noise_pred", Flag),
        "",
    ),
    ("v_pred_like_loss", Given("v_pred_like_loss", Number), ""),
    ("loss_type", Words("loss_type", LOSSES), "there is no such loss"),
    (
        "huber_schedule",
        Words("huber_schedule", HUBER),
        "there is no such course",
    ),
    ("huber_c", Given("huber_c", Number), ""),
    ("huber_scale", Given("huber_scale", Number), ""),
    ("noise_offset", Given("noise_offset", Number), ""),
    (
        "noise_offset_random_strength",
        Given("noise_offset_random_strength", Flag),
        "",
    ),
    ("adaptive_noise_scale", Given("adaptive_noise_scale", Number), ""),
    (
        "multires_noise_iterations",
        Given("multires_noise_iterations", Whole),
        "",
    ),
    ("multires_noise_discount", Given("multires_noise_discount", Number), ""),
    ("ip_noise_gamma", Given("ip_noise_gamma", Number), ""),
    (
        "ip_noise_gamma_random_strength",
        Given("ip_noise_gamma_random_strength", Flag),
        "",
    ),
    ("perlin_noise", Missing(&[]), "there is no such noise"),
    ("min_timestep", Given("min_timestep", Whole), ""),
    ("max_timestep", Given("max_timestep", Whole), ""),
    ("weighting_scheme", Missing(&["uniform"]), FLOW),
    ("logit_mean", Idle, FLOW),
    ("logit_std", Idle, FLOW),
    ("mode_scale", Idle, FLOW),
    ("timestep_sampling", Idle, FLOW),
    ("discrete_flow_shift", Idle, FLOW),
    ("guidance_scale", Idle, FLOW),
    ("model_prediction_type", Idle, FLOW),
    // Watching.
    ("validation_split", Given("validation_split", Number), ""),
    ("validate_every_n_steps", Given("validate_every_n_steps", Whole), ""),
    ("validate_every_n_epochs", Idle, KEPT),
    ("max_validation_steps", Idle, TOLD),
    ("validation_seed", Idle, "which pictures are held out follows from seed"),
    ("sample_every_n_steps", Given("sample_every_n_steps", Whole), ""),
    ("sample_every_n_epochs", Idle, KEPT),
    ("sample_at_first", Idle, KEPT),
    ("sample_sampler", Idle, KEPT),
    ("sample_prompts", Rule(rules::sample_prompts), ""),
    ("seed", Rule(rules::seed), ""),
    // What is left behind.
    (
        "save_precision",
        Words("save_precision", PRECISIONS),
        "there is no such precision",
    ),
    ("save_every_n_steps", Given("save_every_n_steps", Whole), ""),
    (
        "save_model_as",
        Words("", &[("safetensors", "")]),
        "adapters are safetensors; `assent export` converts them",
    ),
    ("use_safetensors", Idle, "adapters are safetensors"),
    ("save_*", Idle, KEPT),
    (
        "resume",
        Missing(&[]),
        "a run is resumed with `assent train --resume`, and only one of its own",
    ),
    (
        "resume_from_huggingface",
        Missing(&[]),
        "a run is resumed with `assent train --resume`, and only one of its own",
    ),
    (
        "skip_until_initial_step",
        Missing(&[]),
        "a run is resumed with `assent train --resume`, and only one of its own",
    ),
    (
        "initial_epoch",
        Missing(&["1"]),
        "a run is resumed with `assent train --resume`, and only one of its own",
    ),
    (
        "initial_step",
        Missing(&[]),
        "a run is resumed with `assent train --resume`, and only one of its own",
    ),
    ("output_dir", Idle, "say it to `assent train --out DIR`"),
    ("no_metadata", Idle, "adapters always carry their receipt"),
    ("metadata_*", Idle, TOLD),
    ("training_comment", Idle, TOLD),
    ("logging_dir", Given("logging_dir", Text), ""),
    (
        "log_with",
        Words("log_with", LOGS),
        "events are written for TensorBoard alone",
    ),
    ("log_prefix", Given("log_prefix", Text), ""),
    ("log_*", Idle, TOLD),
    ("console_log_*", Idle, TOLD),
    ("wandb_*", Idle, TOLD),
    ("huggingface_*", Idle, TOLD),
    ("async_upload", Idle, TOLD),
    ("config_file", Idle, TOLD),
    ("output_config", Idle, TOLD),
    ("debug_dataset", Idle, TOLD),
    ("dataset_config", Ask, "give the file with --dataset-config"),
    // Computing.
    ("cache_latents_to_disk", Given("cache_latents_to_disk", Flag), ""),
    (
        "cache_text_encoder_outputs_to_disk",
        Given("cache_text_encoder_outputs_to_disk", Flag),
        "",
    ),
    ("cache_*", Idle, CACHES),
    ("skip_cache_check", Idle, CACHES),
    ("vae_batch_size", Idle, CACHES),
    ("text_encoder_batch_size", Idle, CACHES),
    ("tokenizer_cache_dir", Idle, CACHES),
    ("mixed_precision", Idle, COMPUTED),
    ("full_fp16", Idle, COMPUTED),
    ("full_bf16", Idle, COMPUTED),
    ("fp8_base", Idle, COMPUTED),
    ("fp8_base_unet", Idle, COMPUTED),
    ("no_half_vae", Idle, COMPUTED),
    ("gradient_checkpointing", Given("gradient_checkpointing", Flag), ""),
    ("cpu_offload_checkpointing", Idle, COMPUTED),
    ("blocks_to_swap", Idle, COMPUTED),
    ("mem_eff_attn", Idle, COMPUTED),
    ("xformers", Idle, COMPUTED),
    ("sdpa", Idle, COMPUTED),
    ("torch_compile", Idle, COMPUTED),
    ("dynamo_*", Idle, COMPUTED),
    ("lowram", Idle, COMPUTED),
    ("highvram", Idle, COMPUTED),
    ("max_data_loader_n_workers", Idle, COMPUTED),
    ("persistent_data_loader_workers", Idle, COMPUTED),
    ("ddp_*", Idle, COMPUTED),
    ("disable_mmap_load_safetensors", Idle, COMPUTED),
    ("deepspeed", Idle, COMPUTED),
    ("zero_stage", Idle, COMPUTED),
    ("zero3_*", Idle, COMPUTED),
    ("offload_*", Idle, COMPUTED),
    ("fp16_master_weights_and_gradients", Idle, COMPUTED),
];

const COURSES: &[(&str, &str)] = &[
    ("constant", "constant"),
    ("constant_with_warmup", "constant_with_warmup"),
    ("linear", "linear"),
    ("cosine", "cosine"),
    ("cosine_with_restarts", "cosine_with_restarts"),
    ("polynomial", "polynomial"),
    ("adafactor", "constant"),
];

const LOSSES: &[(&str, &str)] = &[
    ("l1", "l1"),
    ("l2", "l2"),
    ("huber", "huber"),
    ("smooth_l1", "smooth_l1"),
];

const HUBER: &[(&str, &str)] = &[("constant", "constant"), ("exponential", "exponential"), ("snr", "snr")];

const LOGS: &[(&str, &str)] = &[("tensorboard", "tensorboard"), ("all", "tensorboard")];

const PRECISIONS: &[(&str, &str)] = &[("float", "float"), ("fp16", "fp16"), ("bf16", "bf16")];
