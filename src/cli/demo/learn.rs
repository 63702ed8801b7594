//! The second half of the demo: draw with the base, train, draw with the adapter, compare.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result, anyhow};
use burn::tensor::Device;
use serde_json::json;

use super::assets::Assets;
use super::curate::CHOSEN;
use super::story::Story;
use crate::adapter;
use crate::cli::bar::Bar;
use crate::cli::device::DeviceArgs;
use crate::cli::{Context, Exit, train};
use crate::digest::write_atomic;
use crate::generate::{Drawing, Job, Picture};
use crate::lora;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::registry::Registry;
use crate::sheet::{Row, Sheet, Tile};
use crate::snapshot;
use crate::train::adapter::{AdapterRun, Trained, sample_settings, train_adapter};
use crate::train::config::AdapterConfig;
use crate::train::forecast::Start;
use crate::train::watch::Stage;

/// Where and when the demo trains.
pub(super) struct Studio<'a> {
    pub context: &'a Context,
    pub story: &'a Story<'a>,
    pub assets: &'a Assets,
    pub out: &'a Path,
    pub device: &'a DeviceArgs,
    pub stop: &'a AtomicBool,
}

impl Studio<'_> {
    /// Draws, trains, draws again. [`Exit::Findings`] when Ctrl-C came first.
    pub(super) fn learn(&self, registry: &mut Registry) -> Result<Exit> {
        let (config, digest) = AdapterConfig::read(&self.assets.training)?;
        let device = self.device.get()?;

        self.story.chapter("Draw with the base alone")?;
        let mut pipeline = Pipeline::load(&Base::open(&config.run.pretrained_model_name_or_path, None)?, &device)?;
        let before = self.draw(&pipeline, &config, &device)?;

        self.story
            .chapter(&format!("Train an adapter on the pictures by {CHOSEN}"))?;
        let verify = |name: &str| snapshot::verify(registry, name, self.context.now);
        let sets = train::verified(&config, |name| Ok(verify(name)?))?;
        let others = config.run.validation_snapshot.as_deref().map(verify).transpose()?;
        let job = AdapterRun {
            config: &config,
            config_digest: digest,
            sets: &train::training_sets(&sets),
            others: others.as_ref(),
            device: &device,
            device_name: &self.device.name(),
            key: None,
            supersedes: None,
            resume: false,
            start: Start::PLAIN,
            clock: &|| self.context.clock(),
        };
        let mut watch = Bar::new(self.context);
        let trained = train_adapter(
            &job,
            &mut Stage {
                out: self.out,
                watch: &mut watch,
                stop: self.stop,
            },
        )?;
        drop(watch);
        let Some(product) = &trained.product else {
            self.story
                .line("stopped before the end; run the demo again for the rest")?;
            return Ok(Exit::Findings);
        };
        train::record(registry, &trained, self.out, self.context)?;
        self.compare(&trained)?;

        self.story.chapter("Draw the same with the adapter")?;
        let file = adapter::read(&product.path)?;
        lora::attach_modules(&mut pipeline.unet, &file.modules, 1.0)?;
        let after = self.draw(&pipeline, &config, &device)?;
        self.sheet(&config, &before, &after)?;
        self.story.line("side by side in `before-after.png`")?;
        Ok(Exit::Done)
    }

    fn draw(&self, pipeline: &Pipeline, config: &AdapterConfig, device: &Device) -> Result<Vec<Picture>> {
        let settings = sample_settings(config);
        let prompts: Vec<_> = config.run.sample_prompts.iter().map(String::as_str).collect();
        let bar = self.story.bar(settings.steps as u64, "steps");
        let drawn = Drawing::new(pipeline, &pipeline.unet, &settings, device).draw(
            &Job::each(&prompts, config.run.seed),
            &mut |seen| {
                bar.set_position(seen.done as u64);
                Ok(())
            },
        )?;
        bar.finish_and_clear();
        self.story
            .line(format!("{} pictures, {} steps each", drawn.len(), settings.steps))?;
        Ok(drawn)
    }

    /// Tells how the held-out losses changed, and writes them to `demo.json`.
    fn compare(&self, trained: &Trained) -> Result<()> {
        let losses = &trained.finish.losses;
        let mut held_out = BTreeMap::new();
        for (whose, set, told) in [
            ("chosen", "held_out", format!("held-out pictures by {CHOSEN}")),
            ("others", "others", "the other artists' pictures".to_string()),
        ] {
            let loss = |key: &str| {
                losses
                    .get(key)
                    .copied()
                    .ok_or_else(|| anyhow!("the training did not measure `{key}`"))
            };
            let (before, after) = (loss(&format!("{set}_before"))?, loss(set)?);
            let change = (after / before - 1.0) * 100.0;
            self.story
                .line(format!("loss on {told}: {before:.4} → {after:.4} ({change:+.0} %)"))?;
            held_out.insert(whose, json!({"before": before, "after": after}));
        }
        let text = serde_json::to_vec_pretty(&json!({"held_out": held_out}))?;
        write_atomic(&self.out.join("demo.json"), &text).context("cannot write `demo.json`")?;
        Ok(())
    }

    fn sheet(&self, config: &AdapterConfig, before: &[Picture], after: &[Picture]) -> Result<()> {
        let row = |label: &str, pictures: &[Picture]| -> Result<Row> {
            let tile = |p: &Picture| Tile::from_planes(p.size[0] as u32, p.size[1] as u32, &p.planes).map(Some);
            Ok(Row {
                label: label.to_string(),
                tiles: pictures.iter().map(tile).collect::<Result<_, _>>()?,
            })
        };
        let subject = |prompt: &String| prompt.split(',').next().unwrap_or_default().to_string();
        let style = config.run.trigger_phrase.as_deref().unwrap_or(&config.run.output_name);
        let sheet = Sheet {
            title: format!("“…, {style}”, drawn before and after the training"),
            columns: config.run.sample_prompts.iter().map(subject).collect(),
            rows: vec![row("the base alone", before)?, row("with the adapter", after)?],
            side: 128,
        };
        write_atomic(&self.out.join("before-after.png"), &sheet.png()?).context("cannot write `before-after.png`")?;
        Ok(())
    }
}
