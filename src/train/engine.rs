//! The training loop, the same for an adapter and for a whole model.
//!
//! It reads from top to bottom: learning rate, loss, backward, clip, update, validate, save. What is trained and on what is
//! an [`Objective`].

use std::collections::BTreeMap;

use super::error::TrainError;
use super::optimizer::{AdamW, AdamWConfig, Schedule, accumulate, clip};
use super::state;
use super::watch::{Event, Metrics, Stage};
use crate::digest::write_atomic;
use crate::model::layers::ParamMut;
use crate::model::params::to_vec;

/// What is trained.
pub trait Objective {
    /// Calls `f` with each parameter under training, always in the same order.
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>));

    /// The loss `[1]` of a micro-batch, which its number alone decides; in autodiff.
    ///
    /// # Errors
    /// If the batch cannot be made.
    fn loss(&mut self, micro_batch: u64) -> Result<burn::tensor::Tensor<1>, TrainError>;

    /// The loss of each held-out set.
    ///
    /// # Errors
    /// If a set cannot be measured.
    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError>;

    /// A picture of what the model draws now, as PNG, if it draws.
    ///
    /// # Errors
    /// If drawing fails.
    fn sample(&mut self, _step: u64) -> Result<Option<Vec<u8>>, TrainError> {
        Ok(None)
    }
}

/// How it is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Names the state and the samples: `adapter`, `vae`, `unet`.
    pub name: String,
    /// The file of the metrics.
    pub metrics: String,
    /// What a resumed run must share with the run before.
    pub identity: String,
    /// Updates.
    pub max_train_steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Its course.
    pub lr_scheduler: Schedule,
    /// Updates of warm-up.
    pub lr_warmup_steps: u64,
    /// Micro-batches summed for an update.
    pub gradient_accumulation_steps: u64,
    /// Largest norm of the gradient; 0 for any.
    pub max_grad_norm: f64,
    /// The optimizer.
    pub adam: AdamWConfig,
    /// Decay of the weights' average, where that is what is kept.
    pub ema_decay: Option<f64>,
    /// Updates between two saved states; 0 for the last one only.
    pub save_every_n_steps: u64,
    /// Updates between two validations; 0 for the first and last only.
    pub validate_every_n_steps: u64,
    /// Updates between two samples; 0 for none.
    pub sample_every_n_steps: u64,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finish {
    /// Updates done.
    pub step: u64,
    /// Whether all are done (false after Ctrl-C).
    pub complete: bool,
    /// The last loss of each held-out set; before the first update under `NAME_before`.
    pub losses: BTreeMap<String, f64>,
}

/// Trains, from the saved state if `resume` and there is one. At the end the parameters hold what is to be kept: the
/// averaged weights where an average is made.
///
/// The micro-batches of an update run side by side, each on a copy of the model with its own thread: that keeps all cores
/// busy where the tensors are too small to be divided. Their gradients are summed in the order of their numbers, so that
/// the weights do not depend on how many cores there are.
///
/// # Errors
/// If files cannot be read or written, or the loss is no longer a number.
pub fn run<O: Objective + Clone + Send>(
    objective: &mut O,
    plan: &Plan,
    resume: bool,
    stage: &mut Stage<'_>,
) -> Result<Finish, TrainError> {
    let folder = stage.out.join("state");
    let mut adam = AdamW::new(plan.adam, plan.ema_decay);
    objective.params(&mut |name, param| adam.add(name, param.values()));
    if resume {
        state::restore(&folder, &plan.name, &plan.identity, &mut adam)?;
    }
    let total = plan.max_train_steps;
    let mut finish = Finish {
        step: adam.step,
        ..Finish::default()
    };
    let metrics_path = stage.out.join(&plan.metrics);
    let mut metrics = Metrics::open(&metrics_path, adam.step)?;
    stage.tell(&Event::Phase {
        name: plan.name.clone(),
        total,
        done: adam.step,
    });
    if adam.step == 0 {
        validate(objective, 0, &mut metrics, stage, &mut finish)?;
    }
    let mut replicas = Replicas::new(objective, plan.gradient_accumulation_steps.max(1))?;
    while adam.step < total {
        let factor = plan.lr_scheduler.factor(adam.step, plan.lr_warmup_steps, total);
        let lr = plan.learning_rate * factor;
        let (mut gradients, loss) = replicas.gradients(&adam)?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: adam.step, loss });
        }
        let grad_norm = clip(&mut gradients, plan.max_grad_norm);
        adam.update(&gradients, lr);
        let step = adam.step;
        let event = Event::Step {
            step,
            loss,
            lr,
            grad_norm,
        };
        metrics.add(&event)?;
        stage.tell(&event);
        let due = |every: u64| step == total || (every > 0 && step.is_multiple_of(every));
        let stopped = stage.stopped();
        if due(plan.validate_every_n_steps) {
            show(objective, &adam, true);
            validate(objective, step, &mut metrics, stage, &mut finish)?;
        }
        if plan.sample_every_n_steps > 0 && due(plan.sample_every_n_steps) {
            show(objective, &adam, true);
            draw(objective, plan, step, stage)?;
        }
        if due(plan.save_every_n_steps) || stopped {
            state::store(&folder, &plan.name, &plan.identity, &adam)?;
        }
        if stopped {
            break;
        }
    }
    show(objective, &adam, true);
    finish.step = adam.step;
    finish.complete = adam.step >= total;
    // The metrics know the losses before the first update and, of a run resumed after its last one, those at the end.
    for (set, points) in Metrics::read(&metrics_path)?.validation {
        if let (Some((first, before)), Some((_, last))) = (points.first(), points.last()) {
            finish.losses.entry(set.clone()).or_insert(*last);
            if *first == 0.0 {
                finish.losses.insert(format!("{set}_before"), *before);
            }
        }
    }
    Ok(finish)
}

/// Copies of the model, each with a thread of its own.
struct Replicas<O> {
    copies: Vec<(O, rayon::ThreadPool)>,
    micro_batches: u64,
}

impl<O: Objective + Clone + Send> Replicas<O> {
    fn new(objective: &O, micro_batches: u64) -> Result<Self, TrainError> {
        let threads = rayon::current_num_threads();
        let n = threads.min(usize::try_from(micro_batches).unwrap_or(usize::MAX));
        let pool = || {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads / n);
            builder
                .build()
                .map_err(|e| TrainError::Setting(format!("cannot start threads: {e}")))
        };
        let copies = (0..n)
            .map(|_| Ok((objective.clone(), pool()?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self { copies, micro_batches })
    }

    /// The mean gradient and loss of the next update's micro-batches.
    fn gradients(&mut self, adam: &AdamW) -> Result<(Gradients, f64), TrainError> {
        let (n, micro_batches) = (self.copies.len() as u64, self.micro_batches);
        let first = adam.step * micro_batches;
        let work = |(r, (copy, pool)): (usize, &mut (O, rayon::ThreadPool))| {
            pool.install(|| {
                show(copy, adam, false);
                let mine = (r as u64..micro_batches).step_by(n as usize);
                mine.map(|k| micro_batch(copy, first + k))
                    .collect::<Result<Vec<_>, TrainError>>()
            })
        };
        let parts: Vec<Result<Vec<(Gradients, f64)>, TrainError>> = std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .copies
                .iter_mut()
                .enumerate()
                .map(|part| scope.spawn(move || work(part)))
                .collect();
            let stopped = || TrainError::Setting("a training thread stopped".to_owned());
            handles
                .into_iter()
                .map(|h| h.join().unwrap_or_else(|_| Err(stopped())))
                .collect()
        });
        let mut parts = parts
            .into_iter()
            .map(|p| p.map(Vec::into_iter))
            .collect::<Result<Vec<_>, _>>()?;
        let (mut sum, mut loss) = (Gradients::new(), 0.0);
        for k in 0..micro_batches {
            if let Some((gradients, one)) = parts[(k % n) as usize].next() {
                accumulate(&mut sum, gradients, 1.0 / micro_batches as f32);
                loss += one / micro_batches as f64;
            }
        }
        Ok((sum, loss))
    }
}

/// Gradients by the names of the parameters.
type Gradients = BTreeMap<String, Vec<f32>>;

fn micro_batch(objective: &mut dyn Objective, number: u64) -> Result<(Gradients, f64), TrainError> {
    let loss = objective.loss(number)?;
    let mut found = loss.backward();
    let mut named = Gradients::new();
    objective.params(&mut |name, param| {
        if let Some(gradient) = param.gradient(&mut found) {
            named.insert(name.to_owned(), gradient);
        }
    });
    Ok((named, f64::from(to_vec(loss)[0])))
}

/// Puts the optimizer's values into the model: tracked for the next update, or as they are kept.
fn show(objective: &mut dyn Objective, adam: &AdamW, kept: bool) {
    objective.params(&mut |name, mut param| {
        if let Some(slot) = adam.slots.get(name) {
            let values = slot.ema.as_ref().filter(|_| kept).unwrap_or(&slot.value);
            param.set(values.clone(), !kept);
        }
    });
}

fn validate(
    objective: &mut dyn Objective,
    step: u64,
    metrics: &mut Metrics,
    stage: &mut Stage<'_>,
    finish: &mut Finish,
) -> Result<(), TrainError> {
    for (set, loss) in objective.validate()? {
        let event = Event::Validation {
            step,
            set: set.clone(),
            loss,
        };
        metrics.add(&event)?;
        stage.tell(&event);
        finish.losses.insert(set, loss);
    }
    Ok(())
}

fn draw(objective: &mut dyn Objective, plan: &Plan, step: u64, stage: &mut Stage<'_>) -> Result<(), TrainError> {
    if let Some(png) = objective.sample(step)? {
        let folder = stage.out.join("samples");
        std::fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        let name = format!("{}-{step:06}.png", plan.name);
        let path = folder.join(&name);
        write_atomic(&path, &png).map_err(TrainError::io(&path))?;
        stage.tell(&Event::Wrote {
            file: format!("samples/{name}"),
        });
    }
    Ok(())
}
