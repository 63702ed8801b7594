//! The training loop, the same for an adapter and for a whole model.
//!
//! It reads from top to bottom: learning rate, loss, backward, clip, update, validate, save. What is trained and on what is
//! an [`Objective`].

use std::collections::BTreeMap;

use super::error::TrainError;
use super::max_norm::{Length, scale_down};
use super::norms::Norms;
use super::optimizer::{Gradients, Method, Optimizer, Part, Slot, accumulate, clip};
use super::schedule::Course;
use super::state;
use super::stopping::{Best, EarlyStopping, HELD_OUT};
use super::watch::{Event, Metrics, Stage};
use crate::digest::write_atomic;
use crate::model::layers::ParamMut;
use crate::model::params::to_vec;
use crate::model::recompute::Tape;

/// What is trained.
pub trait Objective {
    /// Calls `f` with each parameter under training, always in the same order.
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>));

    /// The loss `[1]` of a micro-batch, which its number alone decides, on a fresh tape; in autodiff.
    ///
    /// # Errors
    /// If the batch cannot be made.
    fn loss(&mut self, micro_batch: u64, tape: &mut Tape) -> Result<burn::tensor::Tensor<1>, TrainError>;

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

    /// A factor on the learning rate of a parameter.
    fn rate(&self, _param: &str) -> f64 {
        1.0
    }

    /// Takes what the last [`Objective::loss`] saw of its samples: timestep and loss of each, for whoever learns from
    /// them what to draw next.
    fn take_seen(&mut self) -> Vec<(usize, f32)> {
        Vec::new()
    }

    /// Learns from what the micro-batches of an update saw, in the order of their numbers.
    fn learn(&mut self, _seen: &[(usize, f32)]) {}

    /// How long the updates of its modules are as they are now.
    ///
    /// # Errors
    /// If a module has no such length.
    fn lengths(&mut self) -> Result<Vec<Length>, TrainError> {
        Ok(Vec::new())
    }

    /// What it learned, which a resumed run needs.
    fn memory(&mut self) -> Option<&mut Vec<f64>> {
        None
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
    /// The learning rate, and the number of updates.
    pub course: Course,
    /// Micro-batches summed for an update.
    pub gradient_accumulation_steps: u64,
    /// Most of them at a time; the gradients do not depend on it.
    pub side_by_side: usize,
    /// Whether blocks are computed again in the backward pass.
    pub gradient_checkpointing: bool,
    /// Largest norm of the gradient; 0 for any.
    pub max_grad_norm: f64,
    /// Most that the update of a module may be long, where there is a bound.
    pub scale_weight_norms: Option<f64>,
    /// The optimizer.
    pub method: Method,
    /// Decay of the weights' average, where that is what is kept.
    pub ema_decay: Option<f64>,
    /// When to end before the last update.
    pub early_stopping: Option<EarlyStopping>,
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
    /// Whether all are done, or as many as were of use (false after Ctrl-C).
    pub complete: bool,
    /// The update whose weights are kept: the last one, or that of the best validation.
    pub kept_step: u64,
    /// The loss of each held-out set with the weights that are kept; before the first update under `NAME_before`.
    pub losses: BTreeMap<String, f64>,
}

/// Trains, from the saved state if `resume` and there is one. At the end the parameters hold what is to be kept: the
/// averaged weights where an average is made, those of the best validation where a run may end early. The optimizer that
/// is given back holds the last ones too.
///
/// Micro-batches of an update run side by side, each on a copy of the model with its own share of the threads: that keeps
/// all cores busy where the tensors are too small to be divided. Their gradients are summed in the order of their numbers, so that
/// the weights do not depend on how many cores there are.
///
/// # Errors
/// If files cannot be read or written, or the loss is no longer a number.
pub fn run<O: Objective + Clone + Send>(
    objective: &mut O,
    plan: &Plan,
    resume: bool,
    stage: &mut Stage<'_>,
) -> Result<(Finish, Optimizer), TrainError> {
    let folder = stage.out.join("state");
    let mut optimizer = Optimizer::new(plan.method, plan.ema_decay);
    let mut params = Vec::new();
    objective.params(&mut |name, param| params.push((name.to_owned(), param.shape(), param.values())));
    for (name, shape, values) in params {
        let rate = objective.rate(&name);
        optimizer.add(&name, shape, values, rate);
    }
    let mut best = Best::default();
    if plan.early_stopping.is_some() {
        optimizer.note_best();
    }
    if resume && let Some(mark) = state::find(&folder, &plan.name, &plan.identity)? {
        state::restore(&folder, &mark, parts(&mut optimizer, &mut best, objective, plan))?;
        optimizer.step = mark.step;
    }
    let total = plan.course.total;
    let mut finish = Finish::default();
    let metrics_path = stage.out.join(&plan.metrics);
    let mut metrics = Metrics::open(&metrics_path, optimizer.step)?;
    stage.tell(&Event::Phase {
        name: plan.name.clone(),
        total,
        done: optimizer.step,
    });
    let watch = |step: u64, losses: Vec<(String, f64)>, optimizer: &mut Optimizer, best: &mut Best| {
        if let (Some(rule), Some((_, loss))) = (plan.early_stopping, losses.iter().find(|(set, _)| set == HELD_OUT))
            && best.improves(step, *loss, rule)
        {
            optimizer.note_best();
        }
    };
    if optimizer.step == 0 {
        let losses = validate(objective, 0, &mut metrics, stage)?;
        watch(0, losses, &mut optimizer, &mut best);
    }
    let mut replicas = Replicas::new(objective, plan)?;
    while optimizer.step < total && !best.ends(plan.early_stopping) {
        let lr = plan.course.peak * plan.course.factor(optimizer.step);
        let (mut gradients, loss, seen) = replicas.gradients(&optimizer)?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                step: optimizer.step,
                loss,
            });
        }
        let grad_norm = clip(&mut gradients, plan.max_grad_norm);
        let before: Vec<Vec<f32>> = optimizer.slots.values().map(|slot| slot.value.clone()).collect();
        let lr = optimizer.update(&gradients, lr);
        let scaled = match plan.scale_weight_norms {
            Some(most) => {
                show_last(objective, &optimizer);
                Some(scale_down(&mut optimizer.slots, &objective.lengths()?, most))
            }
            None => None,
        };
        optimizer.average(&gradients);
        let norms = Norms::of(&optimizer.slots, &before);
        drop(before);
        objective.learn(&seen);
        replicas.learn(&seen);
        let step = optimizer.step;
        let (weight_norm, update_norm) = norms.total();
        let event = Event::Step {
            step,
            loss,
            lr,
            grad_norm,
            weight_norm,
            update_norm,
        };
        metrics.add(&event)?;
        stage.tell(&event);
        if let Some(scaled) = scaled {
            let event = Event::MaxNorm { step, scaled };
            metrics.add(&event)?;
            stage.tell(&event);
        }
        let due = |every: u64| step == total || (every > 0 && step.is_multiple_of(every));
        let stopped = stage.stopped();
        if due(plan.validate_every_n_steps) {
            let Norms { weights, updates } = norms;
            let event = Event::Norms { step, weights, updates };
            metrics.add(&event)?;
            stage.tell(&event);
            show(objective, &optimizer, Some(Optimizer::kept));
            let losses = validate(objective, step, &mut metrics, stage)?;
            watch(step, losses, &mut optimizer, &mut best);
        }
        if plan.sample_every_n_steps > 0 && due(plan.sample_every_n_steps) {
            show(objective, &optimizer, Some(Optimizer::kept));
            draw(objective, plan, step, stage)?;
        }
        if due(plan.save_every_n_steps) || stopped || best.ends(plan.early_stopping) {
            let parts = parts(&mut optimizer, &mut best, objective, plan);
            state::store(&folder, &plan.name, &plan.identity, step, parts)?;
        }
        if stopped {
            break;
        }
    }
    show(objective, &optimizer, Some(Optimizer::best));
    finish.step = optimizer.step;
    finish.complete = optimizer.step >= total || best.ends(plan.early_stopping);
    finish.kept_step = match plan.early_stopping {
        Some(_) => best.step(),
        None => finish.step,
    };
    // The metrics know the losses before the first update and, of a run resumed after its last one, those at the end.
    for (set, points) in Metrics::read(&metrics_path)?.validation {
        let kept = points.iter().rev().find(|(step, _)| *step <= finish.kept_step as f64);
        if let (Some((first, before)), Some((_, last))) = (points.first(), kept) {
            finish.losses.insert(set.clone(), *last);
            if *first == 0.0 {
                finish.losses.insert(format!("{set}_before"), *before);
            }
        }
    }
    Ok((finish, optimizer))
}

/// Puts the weights after the last update into the model, whatever is kept.
pub fn show_last<O: Objective>(objective: &mut O, optimizer: &Optimizer) {
    show(objective, optimizer, Some(|_, slot| slot.value.clone()));
}

/// Everything that a checkpoint holds.
fn parts<'a, O: Objective>(
    optimizer: &'a mut Optimizer,
    best: &'a mut Best,
    objective: &'a mut O,
    plan: &Plan,
) -> Vec<(String, Part<'a>)> {
    let mut parts = Vec::new();
    optimizer.visit(&mut |name, part| parts.push((name, part)));
    if plan.early_stopping.is_some() {
        parts.push(("best_validation".to_owned(), Part::F64(&mut best.numbers)));
    }
    if let Some(memory) = objective.memory() {
        parts.push(("objective".to_owned(), Part::F64(memory)));
    }
    parts
}

/// Copies of the model, each with a thread of its own.
struct Replicas<O> {
    copies: Vec<(O, rayon::ThreadPool)>,
    micro_batches: u64,
    recomputes: bool,
}

impl<O: Objective + Clone + Send> Replicas<O> {
    fn new(objective: &O, plan: &Plan) -> Result<Self, TrainError> {
        let micro_batches = plan.gradient_accumulation_steps.max(1);
        let threads = rayon::current_num_threads();
        let most = usize::try_from(micro_batches).unwrap_or(usize::MAX);
        let n = threads.min(most).min(plan.side_by_side).max(1);
        let pool = || {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(threads / n);
            builder
                .build()
                .map_err(|e| TrainError::Setting(format!("cannot start threads: {e}")))
        };
        let copies = (0..n)
            .map(|_| Ok((objective.clone(), pool()?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self {
            copies,
            micro_batches,
            recomputes: plan.gradient_checkpointing,
        })
    }

    /// The mean gradient and loss of the next update's micro-batches, and what they saw.
    fn gradients(&mut self, optimizer: &Optimizer) -> Result<MicroBatch, TrainError> {
        let (n, micro_batches, recomputes) = (self.copies.len() as u64, self.micro_batches, self.recomputes);
        let first = optimizer.step * micro_batches;
        let work = |(r, (copy, pool)): (usize, &mut (O, rayon::ThreadPool))| {
            pool.install(|| {
                show(copy, optimizer, None);
                let mine = (r as u64..micro_batches).step_by(n as usize);
                mine.map(|k| micro_batch(copy, first + k, recomputes))
                    .collect::<Result<Vec<_>, TrainError>>()
            })
        };
        let parts: Vec<Result<Vec<MicroBatch>, TrainError>> = std::thread::scope(|scope| {
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
        let (mut sum, mut loss, mut seen) = (Gradients::new(), 0.0, Vec::new());
        for k in 0..micro_batches {
            if let Some((gradients, one, more)) = parts[(k % n) as usize].next() {
                accumulate(&mut sum, gradients, 1.0 / micro_batches as f32);
                loss += one / micro_batches as f64;
                seen.extend(more);
            }
        }
        Ok((sum, loss, seen))
    }

    fn learn(&mut self, seen: &[(usize, f32)]) {
        for (copy, _) in &mut self.copies {
            copy.learn(seen);
        }
    }
}

/// Gradients, loss, and the timestep and loss of each sample.
type MicroBatch = (Gradients, f64, Vec<(usize, f32)>);

fn micro_batch(objective: &mut dyn Objective, number: u64, recomputes: bool) -> Result<MicroBatch, TrainError> {
    let mut tape = Tape::new(recomputes);
    let loss = objective.loss(number, &mut tape)?;
    let mut found = tape.backward(&loss);
    let mut named = Gradients::new();
    objective.params(&mut |name, param| {
        if let Some(gradient) = param.gradient(&mut found) {
            named.insert(name.to_owned(), gradient);
        }
    });
    Ok((named, f64::from(to_vec(loss)[0]), objective.take_seen()))
}

/// Puts the optimizer's values into the model: a view of them as they are, or the ones under training, tracked for the
/// next update.
fn show(objective: &mut dyn Objective, optimizer: &Optimizer, view: Option<fn(&Optimizer, &Slot) -> Vec<f32>>) {
    objective.params(&mut |name, mut param| {
        if let Some(slot) = optimizer.slots.get(name) {
            let values = view.map_or_else(|| slot.value.clone(), |view| view(optimizer, slot));
            param.set(values, view.is_none());
        }
    });
}

fn validate(
    objective: &mut dyn Objective,
    step: u64,
    metrics: &mut Metrics,
    stage: &mut Stage<'_>,
) -> Result<Vec<(String, f64)>, TrainError> {
    let losses = objective.validate()?;
    for (set, loss) in &losses {
        let event = Event::Validation {
            step,
            set: set.clone(),
            loss: *loss,
        };
        metrics.add(&event)?;
        stage.tell(&event);
    }
    Ok(losses)
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
