//! Every option of a training, stopped and resumed, and on one thread or two: the same bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use assent::registry::Registry;
use assent::snapshot;
use assent::train::adapter::{AdapterRun, train_adapter};
use assent::train::config::AdapterConfig;
use assent::train::forecast::Start;
use assent::train::sets::TrainingSet;
use assent::train::watch::{Event, Stage, Watch};
use burn::tensor::Device;
use jiff::Timestamp;

#[path = "support/studio.rs"]
mod studio;

use studio::Studio;

const STEPS: u64 = 4;
const PLAIN: &str = "output_name = \"rings\"\npretrained_model_name_or_path = \"base\"\nsnapshot = \"rings\"\n\
                     resolution = 32\nnetwork_dim = 2\nnetwork_alpha = 2\nmax_train_steps = 4\nseed = 5\n\
                     gradient_accumulation_steps = 2\n";

/// Options that go together; each option of data, objective and optimisation is in one of them.
const CASES: &[(&str, &str)] = &[
    (
        "prodigy",
        "optimizer_type = \"Prodigy\"\noptimizer_args = [\"d0=1e-3\", \"safeguard_warmup=True\"]\n\
         lr_scheduler = \"cosine_with_restarts\"\nlr_scheduler_num_cycles = 2\nmin_snr_gamma = 5.0\nnoise_offset = 0.1\n\
         noise_offset_random_strength = true\nadaptive_noise_scale = 0.05\nip_noise_gamma = 0.1\n\
         ip_noise_gamma_random_strength = true\ntimestep_sampling = \"sigmoid\"\nsigmoid_scale = 1.2\n",
    ),
    (
        "adafactor",
        "optimizer_type = \"Adafactor\"\np2_gamma = 0.5\np2_k = 1.0\nmultires_noise_iterations = 4\n\
         multires_noise_discount = 0.2\nloss_type = \"huber\"\nhuber_schedule = \"exponential\"\nhuber_c = 0.2\n\
         huber_scale = 1.5\nalpha_mask = true\n",
    ),
    (
        "schedule-free",
        "optimizer_type = \"AdamWScheduleFree\"\nlearning_rate = 1e-3\ntimestep_sampling = \"loss\"\nmin_timestep = 500\n\
         max_timestep = 502\ntrain_batch_size = 4\nloss_type = \"smooth_l1\"\nv_parameterization = true\n\
         zero_terminal_snr = true\nscale_v_pred_loss_like_noise_pred = true\ndebiased_estimation_loss = true\n",
    ),
    (
        "early",
        "optimizer_type = \"AdamW8bit\"\noptimizer_args = { min_8bit_size = 16 }\nlearning_rate = 1e-3\n\
         lr_scheduler = \"linear\"\nlr_warmup_steps = 0.25\nema_decay = 0.9\nearly_stopping_patience = 2\n\
         early_stopping_threshold = 10.0\n         validation_split = 0.2\nvalidate_every_n_steps = 1\n",
    ),
    (
        "lion",
        "optimizer_type = \"Lion\"\nlearning_rate = 1e-3\nlr_scheduler = \"polynomial\"\nlr_scheduler_power = 2.0\n\
         loss_type = \"l1\"\nv_pred_like_loss = 0.2\nmasked_loss = true\nconditioning_data_dir = \"masks\"\n",
    ),
    (
        "words",
        "learning_rate = 1e-3\ntrain_batch_size = 3\nnum_repeats = 2\nshuffle_caption = true\nkeep_tokens = 1\n\
         caption_separator = \" \"\ncaption_tag_dropout_rate = 0.3\ncaption_dropout_rate = 0.2\n\
         caption_dropout_every_n_epochs = 3\ncaption_prefix = \"{old|new} ink\"\nenable_wildcard = true\n\
         caption_templates = [\"a drawing of {}\", \"{} on paper\"]\ntrigger_phrase = \"night\"\ncaption_trigger = true\n\
         token_warmup_step = 0.5\n",
    ),
    (
        "sets",
        "learning_rate = 1e-3\ntrain_batch_size = 2\nprior_loss_weight = 0.3\nmin_snr_gamma = 5.0\n\
         validation_split = 0.2\n[[datasets]]\n[[datasets.subsets]]\nsnapshot = \"rings\"\n[[datasets.subsets]]\n\
         snapshot = \"bens\"\nis_reg = true\nshuffle_caption = true\n",
    ),
    (
        "sample",
        "learning_rate = 1e-3\nlr_scheduler = \"rex\"\nprediction_type = \"sample\"\ntrain_text_encoder = true\n\
         gradient_checkpointing = true\n",
    ),
];

/// Stops a run after an update.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Watch for StopAfter<'_> {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Step { step, .. } if *step == self.0) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// Trains into a folder on so many threads, from where it was stopped, until an update; says whether it is complete.
fn train(studio: &Studio, config: &Path, out: &str, threads: usize, until: u64) -> bool {
    let (config, config_digest) = AdapterConfig::read(config).unwrap();
    let registry = Registry::open(&studio.at("assent.db")).unwrap();
    let verify = |(name, role)| (role, snapshot::verify(&registry, name, Timestamp::now()).unwrap());
    let verified: Vec<_> = config.sets().into_iter().map(verify).collect();
    let set = |(role, snapshot)| TrainingSet { role, snapshot };
    let sets: Vec<_> = verified.iter().map(|(role, snapshot)| set((*role, snapshot))).collect();
    let run = AdapterRun {
        config: &config,
        config_digest,
        sets: &sets,
        others: None,
        device: &Device::flex(),
        device_name: "flex",
        key: None,
        supersedes: None,
        resume: true,
        start: Start::PLAIN,
        clock: &|| Timestamp::UNIX_EPOCH,
    };
    let (out, stop) = (studio.at(out), AtomicBool::new(false));
    fs::create_dir_all(&out).unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut watch = StopAfter(until, &stop);
        let mut stage = Stage {
            out: &out,
            watch: &mut watch,
            stop: &stop,
        };
        train_adapter(&run, &mut stage).unwrap().finish.complete
    })
}

#[test]
fn every_option_is_the_same_when_stopped_and_on_any_number_of_threads() {
    let studio = Studio::new();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
    let bens = ["bens", "--policy", policy, "--artist", "Ben Example"];
    studio.ok(&[&["snapshot", "create"][..], &bens].concat());
    fs::create_dir(studio.at("masks")).unwrap();
    for i in 0..8u32 {
        let mask = image::GrayImage::from_fn(32, 32, |x, y| image::Luma([((x * i + y) % 3 * 127) as u8]));
        mask.save(studio.at("masks").join(format!("{i}.png"))).unwrap();
    }
    let mut adapters = std::collections::BTreeSet::new();
    for (name, options) in CASES {
        let config = studio.at(&format!("{name}.toml"));
        let plain = match options.contains("[[datasets]]") {
            true => PLAIN.replace("snapshot = \"rings\"\n", ""),
            false => PLAIN.to_owned(),
        };
        fs::write(&config, format!("{plain}{options}")).unwrap();
        let whole = format!("{name}-whole");
        assert!(train(&studio, &config, &whole, 2, 0));
        for (way, threads, stops) in [("stopped", 2, &[1, 3][..]), ("alone", 1, &[2])] {
            let out = format!("{name}-{way}");
            for stop in stops {
                train(&studio, &config, &out, threads, *stop);
            }
            assert!(train(&studio, &config, &out, threads, 0));
            for file in ["adapter.safetensors", "metrics.jsonl", "run.json"] {
                let same = studio.bytes(&whole, file) == studio.bytes(&out, file);
                assert!(same, "{file} of {name}, {way}");
            }
        }
        let metrics = String::from_utf8(studio.bytes(&whole, "metrics.jsonl")).unwrap();
        let steps = metrics.matches("\"event\":\"step\"").count() as u64;
        // No loss is lower than the first by so much: two more validations, and it ends.
        assert_eq!(steps, if *name == "early" { 2 } else { STEPS }, "{metrics}");
        assert!(
            adapters.insert(studio.bytes(&whole, "adapter.safetensors")),
            "{name} is like another"
        );
    }
}

#[test]
fn gradient_checkpointing_changes_no_weight() {
    let studio = Studio::new();
    let options = "learning_rate = 1e-2\nnetwork_dropout = 0.2\nmodule_dropout = 0.2\nconv_dim = 2\nconv_alpha = 2\n";
    let tensors = |name: &str, more: &str| {
        let config = studio.at(&format!("{name}.toml"));
        fs::write(&config, format!("{PLAIN}{options}{more}")).unwrap();
        assert!(train(&studio, &config, name, 2, 0));
        let file = assent::adapter::read(&studio.at(name).join("adapter.safetensors")).unwrap();
        (file.header["ss_gradient_checkpointing"].clone(), file.modules)
    };
    let (off, plain) = tensors("kept", "");
    let (on, recomputed) = tensors("recomputed", "gradient_checkpointing = true\n");
    assert_eq!((off.as_str(), on.as_str()), ("False", "True"));
    assert!(plain == recomputed);
}
