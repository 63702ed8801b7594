//! A folder to train in: a tiny base with weights from a seed, pictures of two artists, a registry, frozen sets.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use assent::model::config::{PerBlock, TextConfig, UNetConfig, VaeConfig};
use assent::model::layers::Module;
use assent::model::params::collect;
use assent::model::text::TextEncoder;
use assent::model::unet::UNet;
use assent::model::vae::Vae;
use assent::model::weights::{Weights, save};
use burn::tensor::Device;

/// A folder with a tiny base, pictures of two artists, a registry and a frozen training set.
pub struct Studio {
    pub folder: tempfile::TempDir,
}

pub const STEPS: usize = 60;

impl Studio {
    pub fn new() -> Self {
        let studio = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        tiny_base(&studio.at("base"));
        fs::create_dir(studio.at("art")).unwrap();
        for i in 0..8u8 {
            let name = studio.at("art").join(format!("{i}.png"));
            let picture = image::RgbImage::from_fn(32, 32, |x, y| {
                let ring = (x as i32 - 16).pow(2) + (y as i32 - 16).pow(2);
                let on = (ring / (20 + 9 * i32::from(i))) % 2 == 0;
                image::Rgb(if on {
                    [250, 200 - 20 * i, 40 + 20 * i]
                } else {
                    [10 * i, 20, 60]
                })
            });
            picture.save(&name).unwrap();
            fs::write(name.with_extension("txt"), format!("rings number {i}")).unwrap();
            let artist = if i < 6 { "Ada Example" } else { "Ben Example" };
            let license = format!("SPDX-FileCopyrightText: {artist}\nSPDX-License-Identifier: CC0-1.0\n");
            fs::write(studio.at("art").join(format!("{i}.png.license")), license).unwrap();
        }
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
        studio.ok(&["ingest", "art"]);
        studio.ok(&[
            "snapshot",
            "create",
            "rings",
            "--policy",
            policy,
            "--artist",
            "Ada Example",
        ]);
        fs::write(
            studio.at("train.toml"),
            format!(
                "output_name = \"rings\"\npretrained_model_name_or_path = \"base\"\nsnapshot = \"rings\"\n\
                 resolution = 32\nnetwork_dim = 4\nnetwork_alpha = 4\nlearning_rate = 1e-3\nlr_warmup_steps = 2\n\
                 max_train_steps = {STEPS}\ntrain_batch_size = 2\ngradient_accumulation_steps = 3\n\
                 caption_dropout_rate = 0.2\nseed = 5\nvalidation_split = 0.2\nvalidate_every_n_steps = 20\n\
                 save_every_n_steps = 7\nsample_every_n_steps = 30\nsample_prompts = [\"rings\"]\n"
            ),
        )
        .unwrap();
        studio
    }

    /// Draws pictures of these widths and heights with these captions into a folder, each by the artist, and freezes them
    /// under the folder's name.
    pub fn add_set(&self, folder: &str, artist: &str, pictures: &[([u32; 2], &str)]) {
        fs::create_dir(self.at(folder)).unwrap();
        for (i, ([width, height], caption)) in pictures.iter().enumerate() {
            let shade = (40 * i) as u8;
            let picture = image::RgbImage::from_fn(*width, *height, |x, y| {
                image::Rgb([(7 * x) as u8, (5 * y) as u8 ^ shade, 255 - shade])
            });
            let path = self.at(folder).join(format!("{folder}-{i}.png"));
            picture.save(&path).unwrap();
            fs::write(path.with_extension("txt"), caption).unwrap();
            let license = format!("SPDX-FileCopyrightText: {artist}\nSPDX-License-Identifier: CC0-1.0\n");
            fs::write(self.at(folder).join(format!("{folder}-{i}.png.license")), license).unwrap();
        }
        self.ok(&["ingest", folder]);
        self.freeze(folder, artist);
    }

    /// Freezes what there is of an artist under a name.
    pub fn freeze(&self, name: &str, artist: &str) {
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
        self.ok(&["snapshot", "create", name, "--policy", policy, "--artist", artist]);
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assent"));
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .env_remove("ASSENT_REGISTRY");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a training and waits until it has done so many steps.
    pub fn started(&self, out: &str, steps: usize) -> Child {
        let mut child = self
            .command(&["train", "train.toml", "--out", out, "-q"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let metrics = self.at(out).join("metrics.jsonl");
        let begin = Instant::now();
        while fs::read_to_string(&metrics)
            .unwrap_or_default()
            .matches("\"event\":\"step\"")
            .count()
            < steps
        {
            assert!(begin.elapsed() < Duration::from_secs(300), "no progress");
            assert!(child.try_wait().unwrap().is_none(), "ended before it could be stopped");
            std::thread::sleep(Duration::from_millis(5));
        }
        child
    }

    /// Trains as `config` says, from the saved state if there is one, until the events of this process show so many updates
    /// (0: until the model is about to be trained), and sends it the signal; gives back how it ended.
    pub fn signalled(&self, config: &str, out: &str, steps: u64, signal: &str) -> ExitStatus {
        let resume: &[&str] = match self.at(out).join("state/adapter.json").exists() {
            true => &["--resume"],
            false => &[],
        };
        let arguments = [&["--json", "train", config, "--out", out], resume].concat();
        let mut child = self
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
        let is_there = |line: String| {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            match steps {
                0 => event["event"] == "phase" && event["name"] == "adapter",
                steps => event["event"] == "step" && event["step"].as_u64() >= Some(steps),
            }
        };
        assert!(
            events.any(|line| is_there(line.unwrap())),
            "{out} ended before update {steps}"
        );
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        events.for_each(drop);
        child.wait().unwrap()
    }

    pub fn bytes(&self, out: &str, file: &str) -> Vec<u8> {
        fs::read(self.at(out).join(file)).unwrap_or_else(|e| panic!("{out}/{file}: {e}"))
    }

    pub fn assert_same(&self, one: &str, other: &str) {
        for file in [
            "adapter.safetensors",
            "metrics.jsonl",
            "loss.png",
            "samples/adapter-000060.png",
        ] {
            assert!(
                self.bytes(one, file) == self.bytes(other, file),
                "{file} of {one} and {other} differ"
            );
        }
    }
}

/// A Stable Diffusion 1.x with very few channels and weights from a seed.
pub fn tiny_base(folder: &Path) {
    base_of_channels(folder, 4);
}

/// The same with a U-Net that takes so many channels; one for inpainting takes nine.
pub fn base_of_channels(folder: &Path, in_channels: usize) {
    let device = Device::flex();
    let mut weights = Weights::fresh(3, &device);
    let blocks = |name: &str, n: usize| vec![name.to_owned(); n];
    let unet = UNetConfig {
        in_channels,
        sample_size: 16,
        block_out_channels: vec![8, 16],
        down_block_types: vec!["CrossAttnDownBlock2D".to_owned(), "DownBlock2D".to_owned()],
        up_block_types: vec!["UpBlock2D".to_owned(), "CrossAttnUpBlock2D".to_owned()],
        layers_per_block: 1,
        norm_num_groups: 4,
        cross_attention_dim: 8,
        attention_head_dim: PerBlock::One(2),
        ..UNetConfig::default()
    };
    let vae = VaeConfig {
        block_out_channels: vec![8, 8],
        down_block_types: blocks("DownEncoderBlock2D", 2),
        up_block_types: blocks("UpDecoderBlock2D", 2),
        norm_num_groups: 4,
        ..VaeConfig::default()
    };
    let text = TextConfig {
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        ..TextConfig::default()
    };
    put(folder, "unet", &unet, &mut UNet::build(&unet, &mut weights).unwrap());
    put(folder, "vae", &vae, &mut Vae::build(&vae, &mut weights).unwrap());
    let mut encoder = TextEncoder::build(&text, &mut weights).unwrap();
    put(folder, "text_encoder", &text, &mut encoder);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/base");
    for part in ["tokenizer", "scheduler"] {
        fs::create_dir_all(folder.join(part)).unwrap();
        for entry in fs::read_dir(base.join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(part).join(entry.file_name())).unwrap();
        }
    }
    fs::copy(base.join("model_index.json"), folder.join("model_index.json")).unwrap();
}

/// Writes a network and its configuration into a part of a diffusers folder.
fn put(folder: &Path, part: &str, config: &impl serde::Serialize, module: &mut dyn Module) {
    let folder = folder.join(part);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let file = match part.starts_with("text") {
        true => "model.safetensors",
        false => "diffusion_pytorch_model.safetensors",
    };
    save(&folder.join(file), &collect(module), false).unwrap();
}

/// The same as an SDXL: two encoders, a pooled vector, and two blocks in an attention.
pub fn tiny_xl_base(folder: &Path) {
    tiny_base(folder);
    let mut weights = Weights::fresh(4, &Device::flex());
    let read = |part: &str| fs::read(folder.join(part).join("config.json")).unwrap();
    let unet = UNetConfig {
        cross_attention_dim: 16,
        transformer_layers_per_block: PerBlock::Each(vec![2, 1]),
        use_linear_projection: true,
        addition_embed_type: Some("text_time".to_owned()),
        addition_time_embed_dim: Some(4),
        projection_class_embeddings_input_dim: Some(6 * 4 + 5),
        ..serde_json::from_slice(&read("unet")).unwrap()
    };
    let text = TextConfig {
        architectures: vec!["CLIPTextModelWithProjection".to_owned()],
        projection_dim: 5,
        num_hidden_layers: 2,
        ..serde_json::from_slice(&read("text_encoder")).unwrap()
    };
    put(folder, "unet", &unet, &mut UNet::build(&unet, &mut weights).unwrap());
    let mut encoder = TextEncoder::build(&text, &mut weights).unwrap();
    put(folder, "text_encoder_2", &text, &mut encoder);
    fs::create_dir(folder.join("tokenizer_2")).unwrap();
    for entry in fs::read_dir(folder.join("tokenizer")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join("tokenizer_2").join(entry.file_name())).unwrap();
    }
}
