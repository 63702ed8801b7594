//! The classes of nodes that are followed.

/// The classes that are followed, and the inputs of each that are read.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("CheckpointLoaderSimple", &["ckpt_name"]),
    (
        "LoraLoader",
        &["model", "clip", "lora_name", "strength_model", "strength_clip"],
    ),
    ("LoraLoaderModelOnly", &["model", "lora_name", "strength_model"]),
    ("VAELoader", &["vae_name"]),
    ("CLIPSetLastLayer", &["clip", "stop_at_clip_layer"]),
    ("CLIPTextEncode", &["clip", "text"]),
    ("ConditioningZeroOut", &["conditioning"]),
    ("EmptyLatentImage", &["width", "height", "batch_size"]),
    ("LoadImage", &["image", "upload", "choose file to upload"]),
    (
        "LoadImageMask",
        &["image", "channel", "upload", "choose file to upload"],
    ),
    ("VAEEncode", &["pixels", "vae"]),
    ("VAEEncodeForInpaint", &["pixels", "vae", "mask", "grow_mask_by"]),
    ("SetLatentNoiseMask", &["samples", "mask"]),
    (
        "KSampler",
        &[
            "model",
            "positive",
            "negative",
            "latent_image",
            "seed",
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "denoise",
        ],
    ),
    (
        "KSamplerAdvanced",
        &[
            "model",
            "positive",
            "negative",
            "latent_image",
            "add_noise",
            "noise_seed",
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "start_at_step",
            "end_at_step",
            "return_with_leftover_noise",
        ],
    ),
    ("VAEDecode", &["samples", "vae"]),
    ("VAEDecodeTiled", &["samples", "vae", "tile_size"]),
    ("SaveImage", &["images"]),
    ("PreviewImage", &["images"]),
    ("PrimitiveInt", &["value"]),
    ("PrimitiveFloat", &["value"]),
    ("PrimitiveString", &["value"]),
    ("PrimitiveStringMultiline", &["value"]),
];

/// The inputs that are read of a class, if it is known.
pub(super) fn known(class: &str) -> Option<&'static [&'static str]> {
    KNOWN.iter().find(|(name, _)| *name == class).map(|(_, inputs)| *inputs)
}
