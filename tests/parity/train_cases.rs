//! Training's cases: the loss, an adapter's gradients, and what AdamW makes of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use assent::adapter;
use assent::lora;
use assent::model::params::to_vec;
use assent::model::recompute::Tape;
use assent::model::scheduler::NoiseSchedule;
use assent::model::unet::UNet;
use assent::train::aim::{Aim, Weighting};
use assent::train::loss::{Batch, Special, diffusion_loss};
use assent::train::optimizer::{AdamWConfig, Method, Optimizer};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use crate::check::Check;
use crate::fixture::{Case, Fixture};

/// The shapes in the adapter's file by the names of the tensors under training, which are matrices.
type Shapes = BTreeMap<String, Vec<usize>>;

/// The U-Net with the case's adapter, whose tensors autodiff follows.
fn with_adapter(fixture: &Fixture, case: &Case) -> Result<(UNet, Shapes)> {
    let file = adapter::read(&fixture.root.join(case.text("file")?))?;
    let mut unet = fixture.unet(true, case.weights()?)?;
    lora::attach_modules(&mut unet, &file.modules, 1.0)?;
    lora::for_each(&mut unet, &mut |_, mut param| param.track());
    let mut shapes = Shapes::new();
    for module in &file.modules {
        let adapter::Form::Lora { down, up, .. } = &module.form else {
            bail!("`{}` is no LoRA", module.path);
        };
        shapes.insert(format!("{}.lora_A.weight", module.path), down.shape.clone());
        shapes.insert(format!("{}.lora_B.weight", module.path), up.shape.clone());
    }
    Ok((unet, shapes))
}

/// The loss over the batch, and of each sample without its weight.
struct Loss {
    mean: Tensor<1>,
    per_sample: Vec<f32>,
}

fn loss(unet: &UNet, fixture: &Fixture, case: &Case, tape: &mut Tape) -> Result<Loss> {
    let device = Device::flex().autodiff();
    let batch = Batch {
        latents: case.input(fixture, "latents", &device)?,
        noise: case.input(fixture, "noise", &device)?,
        timesteps: case.timesteps(fixture)?,
        context: case.input(fixture, "encoder_hidden_states", &device)?,
        added: case.added(fixture, &device)?,
        special: Special::default(),
    };
    let schedule = NoiseSchedule::new(&fixture.schedule()?);
    let (mean, per_sample) = diffusion_loss(unet, &schedule, &batch, &aim(case)?, tape)?;
    let per_sample = to_vec(per_sample);
    Ok(Loss { mean, per_sample })
}

/// What the case minimises.
fn aim(case: &Case) -> Result<Aim> {
    let weighting = match case.text("objective")? {
        "min_snr" => Weighting::MinSnr(case.number("gamma")? as f32),
        "mse" => Weighting::Even,
        other => bail!("no objective `{other}`"),
    };
    Ok(Aim {
        weighting,
        ..Aim::default()
    })
}

/// The weight of each sample in the loss.
fn weights(fixture: &Fixture, case: &Case) -> Result<Vec<f32>> {
    let (schedule, aim) = (NoiseSchedule::new(&fixture.schedule()?), aim(case)?);
    let weight = |t: &usize| Ok(aim.weight(&schedule, *t)?);
    case.timesteps(fixture)?.iter().map(weight).collect()
}

/// Tensors by name.
type Named = BTreeMap<String, Vec<f32>>;

/// The gradients of an adapter's tensors.
fn gradients(unet: &mut UNet, loss: &Loss, tape: Tape) -> Result<Named> {
    let mut all = tape.backward(&loss.mean);
    let mut out = BTreeMap::new();
    let mut without = None;
    lora::for_each(unet, &mut |name, param| match param.gradient(&mut all) {
        Some(gradient) => drop(out.insert(name.to_owned(), gradient)),
        None => without = Some(name.to_owned()),
    });
    match without {
        Some(name) => bail!("`{name}` has no gradient"),
        None => Ok(out),
    }
}

fn scalar(tensor: &Tensor<1>) -> Result<f32> {
    to_vec(tensor.clone()).first().copied().context("an empty loss")
}

pub fn train(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let (mut unet, shapes) = with_adapter(fixture, case)?;
    let found = |unet: &mut UNet, recomputes: bool| {
        let mut tape = Tape::new(recomputes);
        let loss = loss(unet, fixture, case, &mut tape)?;
        Ok::<_, anyhow::Error>((gradients(unet, &loss, tape)?, loss))
    };
    let (all, loss) = found(&mut unet, false)?;
    let (again, same) = found(&mut unet, true)?;
    ensure!(
        all == again && loss.per_sample == same.per_sample,
        "gradient checkpointing changes the gradients"
    );
    for (name, gradient) in all {
        check.output(&format!("grad/{name}"), &shapes[&name], &gradient)?;
    }
    check.value("loss", &json!(scalar(&loss.mean)?))?;
    check.value("per_sample", &json!(loss.per_sample))?;
    check.value("weights", &json!(weights(fixture, case)?))?;
    check.value("prediction_type", &json!(fixture.schedule()?.prediction_type.as_str()))
}

/// A share of a thousandth may be further off than this, and none as far as the other.
const NEAR: f64 = 1e-5;
const FAR: f64 = 6e-3;

pub fn adamw(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let (mut unet, shapes) = with_adapter(fixture, case)?;
    let config = AdamWConfig {
        betas: case.param("betas")?,
        eps: case.number("eps")?,
        weight_decay: case.number("weight_decay")?,
    };
    let mut optimizer = Optimizer::new(Method::AdamW(config), None);
    lora::for_each(&mut unet, &mut |name, param| {
        optimizer.add(name, param.shape(), param.values(), 1.0)
    });
    let start = optimizer.clone();
    let mut losses = Vec::new();
    for _ in 0..case.count("steps")? {
        let mut tape = Tape::new(false);
        let loss = loss(&unet, fixture, case, &mut tape)?;
        losses.push(scalar(&loss.mean)?);
        let gradients = gradients(&mut unet, &loss, tape)?;
        optimizer.update(&gradients, case.number("lr")?);
        lora::for_each(&mut unet, &mut |name, mut param| {
            param.set(optimizer.slots[name].value.clone(), true)
        });
    }
    losses.push(scalar(&loss(&unet, fixture, case, &mut Tape::new(false))?.mean)?);

    // The first updates are the learning rate in the direction of the gradient's sign, whatever its size: where it is
    // next to nothing, another rounding gives another sign. So some elements may go astray, but few.
    let (mut far, mut count, mut worst) = (0usize, 0usize, 0.0f64);
    for (name, slot) in &optimizer.slots {
        let expected = check.expected(&format!("weight/{name}"), &shapes[name])?;
        for ((end, begin), expected) in slot.value.iter().zip(&start.slots[name].value).zip(expected) {
            let begin = f64::from(*begin);
            let difference = ((f64::from(*end) - begin) - (f64::from(*expected) - begin)).abs();
            ensure!(difference.is_finite(), "`{name}` has a weight that is no number");
            (far, count, worst) = (far + usize::from(difference > NEAR), count + 1, worst.max(difference));
        }
    }
    check.note(
        far as f64 / (1e-3 * count as f64),
        &format!("{far} of {count} updates off by more than {NEAR:e}"),
    );
    check.note(worst / FAR, &format!("an update off by {worst:.1e} of {FAR:.0e}"));
    check.value("losses", &json!(losses))
}
