//! What a run will do and need, known and checked before its first step.

pub mod memory;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use burn::tensor::{Tensor, TensorData};
use serde::Serialize;

use self::memory::{Memory, Unet, VALIDATION_BATCH};
use super::adapter::AdapterRun;
use super::adapter::{MOST_BYTES as TEXTS, MOST_HELD as HELD};
use super::aim::Aim;
use super::error::TrainError;
use super::loss::{Batch, Special, diffusion_loss};
use super::networks::Networks;
use super::optimizer::Optimizer;
use crate::adapter::Dtype;
use crate::model::params::for_each;
use crate::model::pipeline::Pipeline;
use crate::model::recompute::Tape;
use crate::model::weights::Draws;
use crate::snapshot::VerifiedSnapshot;

/// The computer as far as a plan asks for it; only the command line knows it.
pub trait Computer: Sync {
    /// Bytes of memory that can be taken without swapping, if the system says.
    fn memory(&self) -> Option<u64>;
    /// Bytes that the output folder has room for, if the system says.
    fn disk(&self) -> Option<u64>;
    /// Time since some moment.
    fn elapsed(&self) -> Duration;
}

/// How a run begins.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// Asked for memory, disk and time.
    pub computer: &'a dyn Computer,
    /// Whether to try where there seems to be too little memory.
    pub ignore_memory: bool,
    /// Whether to end with the plan.
    pub only_plan: bool,
}

impl Start<'_> {
    /// On a computer of which nothing is known.
    pub const PLAIN: Start<'static> = Start {
        computer: &Unknown,
        ignore_memory: false,
        only_plan: false,
    };
}

/// A computer of which nothing is known, on which no time passes.
pub struct Unknown;

impl Computer for Unknown {
    fn memory(&self) -> Option<u64> {
        None
    }
    fn disk(&self) -> Option<u64> {
        None
    }
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// The plan of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// Pictures that are trained on, held out, and of another set that is only measured.
    pub pictures: Pictures,
    /// Pictures by width × height as the run takes them.
    pub sizes: BTreeMap<String, u64>,
    /// Pictures that the sets kept out, by reason code.
    pub excluded: BTreeMap<String, u64>,
    /// Modules that have an adapter.
    pub modules: u64,
    /// Modules that there should be.
    pub modules_expected: u64,
    /// Values under training.
    pub parameters: u64,
    /// Updates in all.
    pub steps: u64,
    /// Updates that were done before.
    pub done: u64,
    /// Pictures of an update.
    pub pictures_per_step: u64,
    /// Pictures of an epoch, each as often as it is repeated.
    pub epoch: u64,
    /// Epochs in all.
    pub epochs: f64,
    /// Micro-batches of an update that run at a time.
    pub side_by_side: u64,
    /// Bytes of memory at the peak, by [`memory`].
    pub memory: Memory,
    /// Bytes of memory there were before the base was loaded; none on a GPU.
    pub memory_available: Option<u64>,
    /// Bytes that the run writes at most.
    pub disk: u64,
    /// Bytes there is room for.
    pub disk_available: Option<u64>,
    /// Seconds of an update and of what is left, without validation and samples: measured on a micro-batch of random
    /// latents before the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

/// Numbers of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pictures {
    /// Trained on.
    pub trained: u64,
    /// Of regularization, as far as they come at all.
    #[serde(skip_serializing_if = "is_zero")]
    pub regularization: u64,
    /// Held out of the training set.
    pub held_out: u64,
    /// Of another set.
    pub others: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How long it takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Time {
    /// An update.
    pub step: f64,
    /// All that are left.
    pub left: f64,
}

/// The shapes that a run works on.
pub struct Shapes {
    /// Height and width of the largest latents.
    pub latents: [usize; 2],
    /// Height and width of the largest pictures.
    pub pictures: [usize; 2],
    /// Pictures of all sets.
    pub count: u64,
}

impl Forecast {
    /// Fills in what follows from the model: memory, and room on the disk.
    ///
    /// # Errors
    /// If the configuration's optimizer has wrong arguments.
    pub(super) fn measure(
        &mut self,
        run: &AdapterRun<'_>,
        pipeline: &Pipeline,
        networks: &mut Networks,
        shapes: &Shapes,
    ) -> Result<(), TrainError> {
        let c = run.config;
        let (mut values, mut tensors) = (0, 0);
        let method = c.optimisation.method().map_err(TrainError::Setting)?;
        let mut optimizer = Optimizer::new(method, None);
        networks.for_each(&mut |name, param| {
            let shape = param.shape();
            let n: usize = shape.iter().product();
            values += n as u64;
            tensors += 1u64;
            optimizer.add(name, shape, vec![0.0; n], 1.0);
        });
        let state = optimizer.state_bytes() as u64;
        drop(optimizer);
        let o = &c.optimisation;
        let averages = u64::from(o.ema_decay.is_some()) + u64::from(o.early_stopping_patience.is_some());
        let batch = c.data.train_batch_size as u64;
        let unet = Unet::new(
            pipeline.unet.config(),
            shapes.latents,
            c.network.network_dim,
            c.network.conv().is_some(),
        );
        let recomputes = o.gradient_checkpointing;
        let mut update = unet.training(batch, recomputes);
        if c.network.train_text_encoder {
            let second = pipeline.second.iter().map(|second| second.text.config());
            let texts = std::iter::once(pipeline.text.config()).chain(second);
            update += texts.map(|text| memory::text(text, batch, recomputes)).sum::<u64>();
        }
        let threads = rayon::current_num_threads() as u64;
        let replicas = memory::side_by_side(update, o.gradient_accumulation_steps, threads);
        self.side_by_side = replicas;
        // On the host: the weights, those before the update, the sum of the gradients. On each replica: weights, gradients.
        let adapter = state + 4 * values * (3 + averages + 2 * replicas);
        let measured = self.pictures.held_out > 0 || self.pictures.others > 0;
        let samples = match c.run.sample_every_n_steps {
            0 => 0,
            _ => c.run.sample_prompts.len() as u64,
        };
        let vae = memory::vae(pipeline.vae.config(), shapes.pictures);
        let work = [
            update * replicas,
            if measured { unet.drawing(VALIDATION_BATCH) } else { 0 },
            // With guidance, each prompt is drawn twice.
            unet.drawing(2 * samples),
            vae * samples.max(1),
        ];
        self.memory = Memory::of(
            base_bytes(pipeline),
            adapter,
            cached(pipeline, shapes, &self.pictures),
            work.into_iter().max().unwrap_or(0),
        );
        self.parameters = values;
        let width = match Dtype::from(c.run.save_precision) {
            Dtype::F32 => 4,
            _ => 2,
        };
        // A start that changes the base doubles the rank of what is written.
        let files = (1 + u64::from(c.run.save_last_weights)) * (values * width * 2 + tensors * 512);
        // The state is replaced by a new one beside it.
        let states = 2 * (state + 4 * values * (1 + averages) + tensors * 512);
        let drawn = match c.run.sample_every_n_steps {
            0 => 0,
            every => self.steps.div_ceil(every) * samples * (shapes.pictures[0] * shapes.pictures[1] * 3) as u64,
        };
        self.disk = files + states + self.steps * LINE + drawn + PAGES;
        Ok(())
    }

    /// Refuses a run that there is not enough memory or disk for.
    ///
    /// # Errors
    /// [`TrainError::Room`]
    pub fn check(&self, ignore_memory: bool) -> Result<(), TrainError> {
        let short = |what, needed: u64, found: Option<u64>, hint: &str| match found {
            Some(found) if found < needed => Err(TrainError::Room {
                what,
                needed,
                found,
                hint: hint.to_owned(),
            }),
            _ => Ok(()),
        };
        if !ignore_memory {
            short(
                "of memory",
                self.memory.total,
                self.memory_available,
                "a smaller `train_batch_size` or `resolution` takes less, `gradient_checkpointing` keeps the \
                 inputs of blocks alone, `base_precision = \"fp16\"` halves the base and `\"int8\"` quarters it; `--ignore-memory` tries all the same",
            )?;
        }
        short(
            "in the output folder",
            self.disk,
            self.disk_available,
            "make room, or name a folder on another disk with --out",
        )
    }

    /// Fills in how long it will take, from one micro-batch that changes nothing.
    ///
    /// # Errors
    /// If the micro-batch cannot be made.
    pub(super) fn rehearse(
        &mut self,
        run: &AdapterRun<'_>,
        pipeline: &Pipeline,
        networks: &mut Networks,
        shapes: &Shapes,
    ) -> Result<(), TrainError> {
        let start = run.start.computer.elapsed();
        micro_batch(run, pipeline, networks, shapes)?;
        let one = run.start.computer.elapsed().saturating_sub(start).as_secs_f64();
        // Micro-batches side by side share the cores, so that together they take as long as one after the other.
        let step = one * run.config.optimisation.gradient_accumulation_steps as f64;
        self.time = (one > 0.0).then(|| Time {
            step,
            left: step * self.steps.saturating_sub(self.done) as f64,
        });
        Ok(())
    }

    /// Counts pictures that a set kept out.
    pub fn exclude(&mut self, set: &VerifiedSnapshot) {
        for exclusion in set.excluded() {
            *self.excluded.entry(exclusion.reason_code.to_string()).or_insert(0) += 1;
        }
    }
}

/// Bytes of a step in the metrics, and at most in the event file beside them.
const LINE: u64 = 1024;
/// Bytes of the page and the curve.
const PAGES: u64 = 1 << 20;

fn micro_batch(
    run: &AdapterRun<'_>,
    pipeline: &Pipeline,
    networks: &mut Networks,
    shapes: &Shapes,
) -> Result<(), TrainError> {
    let (device, batch) = (run.device.clone().autodiff(), run.config.data.train_batch_size);
    let mut tape = Tape::new(run.config.optimisation.gradient_checkpointing);
    networks.roll(0);
    let [height, width] = shapes.latents;
    let shape = [batch, pipeline.vae.config().latent_channels, height, width];
    let n = shape.iter().product();
    let random = |what: &str| {
        let values = Draws::new(0, &format!("rehearsal/{what}")).normals(n);
        Tensor::<4>::from_data(TensorData::new(values, shape), &device)
    };
    let captions = vec![""; batch];
    let size_ids = vec![Pipeline::uncropped([shapes.pictures[1], shapes.pictures[0]]); batch];
    let (context, added) = networks.conditions(&captions, &size_ids, &mut tape).unwrap_or_else(|| {
        let embedded = pipeline.embed(&captions, &device);
        (embedded.context, Pipeline::added(embedded.pooled, &size_ids))
    });
    let inputs = Batch {
        latents: random("latents"),
        noise: random("noise"),
        timesteps: vec![pipeline.schedule.len() / 2; batch],
        context,
        added,
        special: Special::default(),
    };
    let (loss, _) = diffusion_loss(&networks.unet, &pipeline.schedule, &inputs, &Aim::default(), &mut tape)?;
    let mut found = tape.backward(&loss);
    networks.for_each(&mut |_, param| drop(param.gradient(&mut found)));
    Ok(())
}

/// Bytes of latents, of those that are measured as many as are kept, and of as many embedded captions as are kept.
fn cached(pipeline: &Pipeline, shapes: &Shapes, pictures: &Pictures) -> u64 {
    let [height, width] = shapes.latents;
    let latent = 4 * (pipeline.vae.config().latent_channels * height * width) as u64;
    let text = pipeline.text.config().max_position_embeddings * pipeline.unet.config().cross_attention_dim;
    let measured = [pictures.held_out, pictures.others];
    let trained = shapes.count.saturating_sub(measured.iter().sum());
    let held: u64 = measured.iter().map(|count| (count * latent).min(HELD as u64)).sum();
    trained * latent + held + (shapes.count * 4 * text as u64).min(TEXTS as u64)
}

/// Bytes of the weights as they are stored.
fn base_bytes(pipeline: &Pipeline) -> u64 {
    let mut sum = 0;
    let mut count = |_: &str, param: crate::model::layers::ParamMut<'_>| sum += param.bytes() as u64;
    // Copies share their tensors.
    for_each(&mut pipeline.unet.clone(), &mut count);
    for_each(&mut pipeline.vae.clone(), &mut count);
    for_each(&mut pipeline.text.clone(), &mut count);
    if let Some(second) = &pipeline.second {
        for_each(&mut second.text.clone(), &mut count);
    }
    sum
}

/// Refuses a caption that one of the base's text encoders would cut. `captions`: of each what it belongs to, and its text.
///
/// # Errors
/// [`TrainError::LongCaption`] with the first.
pub fn check_captions<N: Display>(
    pipeline: &Pipeline,
    captions: impl Iterator<Item = (N, String)>,
) -> Result<(), TrainError> {
    let second = pipeline.second.iter();
    let second = second.map(|s| (&s.tokenizer, s.text.config().max_position_embeddings));
    let first = (&pipeline.tokenizer, pipeline.text.config().max_position_embeddings);
    let encoders: Vec<_> = std::iter::once(first).chain(second).collect();
    for (of, text) in captions {
        for (tokenizer, room) in &encoders {
            // Without the tokens of the beginning and the end, which nobody writes.
            let (found, room) = (tokenizer.encode(&text).len().saturating_sub(2), room.saturating_sub(2));
            if found > room {
                return Err(TrainError::LongCaption {
                    of: of.to_string(),
                    found,
                    room,
                });
            }
        }
    }
    Ok(())
}

/// What a folder holds when a run has been there.
const TRACES: [&str; 3] = ["run.json", "adapter.safetensors", "state/adapter.json"];

/// Refuses an output folder that cannot be written to, or that holds another run unless that is to be continued.
///
/// # Errors
/// [`TrainError::Occupied`], or what the system says.
pub fn check_folder(out: &Path, resume: bool) -> Result<(), TrainError> {
    let trace = TRACES.iter().find(|trace| out.join(trace).exists());
    if let (Some(trace), false) = (trace, resume) {
        return Err(TrainError::Occupied {
            path: out.to_owned(),
            trace: (*trace).to_owned(),
        });
    }
    // Only writing shows whether one may write.
    let mut folder = out;
    while !folder.as_os_str().is_empty() && !folder.exists() {
        folder = folder.parent().unwrap_or(Path::new(""));
    }
    if folder.as_os_str().is_empty() {
        folder = Path::new(".");
    }
    let probe = tempfile::Builder::new().prefix(".assent-").tempfile_in(folder);
    probe.map(drop).map_err(|source| TrainError::Closed {
        path: folder.to_owned(),
        source,
    })
}
