//! The training objective, and the loss on held-out pictures that does not depend on chance.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::aim::{Aim, LossType};
use super::data::stack;
use crate::model::params::to_vec;
use crate::model::pipeline::{Conditions, Pipeline};
use crate::model::recompute::Tape;
use crate::model::scheduler::{NoiseSchedule, ScheduleError};
use crate::model::unet::{Added, UNet};
use crate::model::weights::Draws;

/// What goes into one loss.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Scaled latents `[B, C, H, W]`.
    pub latents: Tensor<4>,
    /// Standard normal noise of the same shape.
    pub noise: Tensor<4>,
    /// `B` timesteps.
    pub timesteps: Vec<usize>,
    /// Text embeddings `[B, N, D]`.
    pub context: Tensor<3>,
    /// What SDXL takes besides.
    pub added: Option<Added>,
    /// What differs from the plain case.
    pub special: Special,
}

/// What a micro-batch may have besides.
#[derive(Debug, Clone, Default)]
pub struct Special {
    /// The noise of the input, where it is not that of the target: as the latents.
    pub input_noise: Option<Tensor<4>>,
    /// How much each place counts, 0 to 1: `[B, 1, H, W]`.
    pub mask: Option<Tensor<4>>,
    /// How much each sample counts.
    pub weights: Option<Vec<f32>>,
}

/// The loss of diffusers' `train_text_to_image_lora.py` and of sd-scripts: the error of the predicted noise (or velocity,
/// or clean sample) as `aim` measures it, its mean over each sample, times the sample's weights. The U-Net's blocks are
/// parts of `tape`.
///
/// # Shapes
/// The weighted mean `[1]`, and the loss of each sample before the weights `[B]`.
///
/// # Errors
/// If a timestep is outside the schedule.
pub fn diffusion_loss(
    unet: &UNet,
    schedule: &NoiseSchedule,
    batch: &Batch,
    aim: &Aim,
    tape: &mut Tape,
) -> Result<(Tensor<1>, Tensor<1>), ScheduleError> {
    let Batch {
        latents,
        noise,
        timesteps,
        context,
        added,
        special,
    } = batch;
    let input_noise = special.input_noise.as_ref().unwrap_or(noise).clone();
    let noisy = schedule.add_noise(latents.clone(), input_noise, timesteps)?;
    let target = schedule.target(latents.clone(), noise.clone(), timesteps)?;
    let steps: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
    let prediction = unet.forward_on(tape, noisy, &steps, context, added.as_ref());
    reduce(prediction - target, (schedule, timesteps), aim, special)
}

/// The loss of what was predicted wrongly, `[B, C, H, W]` at `B` timesteps: as [`diffusion_loss`].
pub(super) fn reduce(
    difference: Tensor<4>,
    (schedule, timesteps): (&NoiseSchedule, &[usize]),
    aim: &Aim,
    special: &Special,
) -> Result<(Tensor<1>, Tensor<1>), ScheduleError> {
    let n = timesteps.len();
    let column = |of: &dyn Fn(usize) -> Result<f32, ScheduleError>| {
        let values = timesteps.iter().map(|&t| of(t)).collect::<Result<Vec<f32>, _>>()?;
        Ok::<_, ScheduleError>(TensorData::new(values, [n]))
    };
    let device = difference.device();
    let mut error = measure(difference, aim.loss, || {
        let c = column(&|t| aim.threshold(schedule, t))?;
        Ok(Tensor::<1>::from_data(c, &device).reshape([n, 1, 1, 1]))
    })?;
    if let Some(mask) = &special.mask {
        error = error * mask.clone();
    }
    let per_sample = error.reshape([n as i32, -1]).mean_dim(1).reshape([n]); // [B]
    let mut weighted = per_sample.clone();
    if !aim.is_even() {
        weighted = weighted * Tensor::from_data(column(&|t| aim.weight(schedule, t))?, &device);
    }
    if let Some(weights) = &special.weights {
        weighted = weighted * Tensor::from_data(TensorData::new(weights.clone(), [n]), &device);
    }
    Ok((weighted.mean(), per_sample))
}

/// What the samples of a batch count: by the chances of their timesteps, and by what their pictures are for, given for
/// each picture there is (nothing where all count the same).
pub(super) fn weighed(chances: Option<Vec<f32>>, prior: &[f32], indices: &[usize]) -> Option<Vec<f32>> {
    if prior.is_empty() {
        return chances;
    }
    let of_pictures = indices.iter().map(|&i| prior[i]);
    Some(match chances {
        Some(chances) => chances.iter().zip(of_pictures).map(|(a, b)| a * b).collect(),
        None => of_pictures.collect(),
    })
}

/// The error of each value; the smooth measures ask for the threshold of each sample, `[B, 1, 1, 1]`.
pub(super) fn measure(
    difference: Tensor<4>,
    loss: LossType,
    threshold: impl FnOnce() -> Result<Tensor<4>, ScheduleError>,
) -> Result<Tensor<4>, ScheduleError> {
    let bowl = |c: Tensor<4>| ((difference.clone().square() + c.clone().square()).sqrt() - c).mul_scalar(2.0);
    Ok(match loss {
        LossType::L2 => difference.square(),
        LossType::L1 => difference.abs(),
        LossType::SmoothL1 => bowl(threshold()?),
        LossType::Huber => {
            let c = threshold()?;
            bowl(c.clone()) * c
        }
    })
}

/// Held-out pictures, but for what is large of each.
#[derive(Debug, Clone, Default)]
pub struct HeldOut {
    /// Name of the set.
    pub name: String,
    /// SHA-256 of each picture, which decides its noises.
    pub ids: Vec<String>,
    /// `[C, H, W]` of each.
    pub shapes: Vec<[usize; 3]>,
    /// What SDXL is told of the size of each.
    pub size_ids: Vec<[f32; 6]>,
}

/// What is large of a held-out picture: it is asked for when it is its turn, and let go.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Scaled latents.
    pub latents: Vec<f32>,
    /// Its caption.
    pub caption: Arc<Caption>,
}

/// A caption as plain values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caption {
    /// `[77 · D]`
    pub context: Vec<f32>,
    /// SDXL: `[P]`; else empty.
    pub pooled: Vec<f32>,
}

impl From<Conditions> for Caption {
    /// Of one caption.
    fn from(conditions: Conditions) -> Self {
        Self {
            context: to_vec(conditions.context),
            pooled: conditions.pooled.map(to_vec).unwrap_or_default(),
        }
    }
}

/// Timesteps at which every held-out picture is measured: the middles of this many equal parts of the schedule.
pub const VALIDATION_TIMESTEPS: usize = 8;

/// The middles of `count` equal parts of the schedule.
#[must_use]
pub fn timesteps(schedule: &NoiseSchedule, count: usize) -> Vec<usize> {
    let per_part = schedule.len() as f64 / count.max(1) as f64;
    (0..count).map(|k| ((k as f64 + 0.5) * per_part) as usize).collect()
}

/// The mean loss over all held-out pictures at fixed timesteps with fixed noises, so that two models (or two moments of one)
/// are compared on exactly the same question. `unet` is out of autodiff.
///
/// # Errors
/// If the schedule is too short, or a picture cannot be had.
pub fn validate<E: From<ScheduleError>>(
    unet: &UNet,
    schedule: &NoiseSchedule,
    set: (&HeldOut, &dyn Fn(usize) -> Result<Example, E>),
    batch: usize,
    device: &Device,
) -> Result<f64, E> {
    let at = timesteps(schedule, VALIDATION_TIMESTEPS);
    let each = losses(unet, schedule, set, ("validation", &at), batch, device, &mut |_| {})?;
    Ok(each.iter().sum::<f64>() / each.len().max(1) as f64)
}

/// The loss of each picture at each of these timesteps, the pictures one after the other, with noises that the label, the
/// picture's digest and the timestep decide. `unet` is out of autodiff; `done` is told how many pictures' worth is done.
/// `of` gives the pictures by their number in the set; those of one batch at a time are held.
///
/// # Errors
/// If the schedule is too short, or a picture cannot be had.
pub fn losses<E: From<ScheduleError>>(
    unet: &UNet,
    schedule: &NoiseSchedule,
    (set, of): (&HeldOut, &dyn Fn(usize) -> Result<Example, E>),
    (label, at): (&str, &[usize]),
    batch: usize,
    device: &Device,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<f64>, E> {
    // Those of one shape together, otherwise in their order.
    let mut order: Vec<usize> = (0..set.ids.len()).collect();
    order.sort_by_key(|&i| set.shapes[i]);
    let questions: Vec<(usize, usize)> = order
        .into_iter()
        .flat_map(|i| (0..at.len()).map(move |k| (i, k)))
        .collect();
    let mut found = vec![0.0; questions.len()];
    let mut answered = 0;
    let alike = questions.chunk_by(|(i, _), (j, _)| set.shapes[*i] == set.shapes[*j]);
    for part in alike.flat_map(|alike| alike.chunks(batch.max(1))) {
        let shape = part.first().map_or([0; 3], |(i, _)| set.shapes[*i]);
        let noise = |(i, k): &(usize, usize)| {
            Draws::new(0, &format!("{label}/{}/{}", set.ids[*i], at[*k])).normals(shape.iter().product())
        };
        let noises: Vec<Vec<f32>> = part.iter().map(noise).collect();
        // The questions on one picture stand together.
        let mut examples = Vec::new();
        for same in part.chunk_by(|(i, _), (j, _)| i == j) {
            let example = same.first().map(|(i, _)| of(*i)).transpose()?;
            examples.extend(example.map(|example| (example, same.len())));
        }
        let repeated = || {
            let each = examples.iter();
            each.flat_map(|(example, questions)| std::iter::repeat_n(example, *questions))
        };
        let captions = repeated().map(|example| &*example.caption);
        let size_ids: Vec<[f32; 6]> = part.iter().map(|(i, _)| set.size_ids[*i]).collect();
        let (context, added) = conditions(captions, unet, &size_ids, device);
        let inputs = Batch {
            latents: stack(repeated().map(|example| example.latents.as_slice()), shape, device),
            noise: stack(noises.iter().map(Vec::as_slice), shape, device),
            timesteps: part.iter().map(|(_, k)| at[*k]).collect(),
            context,
            added,
            special: Special::default(),
        };
        let (_, each) = diffusion_loss(unet, schedule, &inputs, &Aim::default(), &mut Tape::new(false))?;
        for ((i, k), loss) in part.iter().zip(to_vec(each)) {
            found[i * at.len() + k] = f64::from(loss);
        }
        answered += part.len();
        done(answered / at.len().max(1));
    }
    Ok(found)
}

/// Captions as the U-Net takes them: context `[B, N, D]`, and for SDXL what is added, with what it is told of each picture's
/// size.
pub fn conditions<'a>(
    captions: impl Iterator<Item = &'a Caption>,
    unet: &UNet,
    size_ids: &[[f32; 6]],
    device: &Device,
) -> (Tensor<3>, Option<Added>) {
    let width = unet.config().cross_attention_dim;
    let (mut values, mut pooled) = (Vec::new(), Vec::new());
    let (mut n, mut tokens) = (0, 0);
    for caption in captions {
        values.extend_from_slice(&caption.context);
        pooled.extend_from_slice(&caption.pooled);
        tokens = caption.context.len() / width;
        n += 1;
    }
    let context = Tensor::from_data(TensorData::new(values, [n, tokens, width]), device);
    let across = pooled.len() / n.max(1);
    let pooled = (across > 0).then(|| Tensor::from_data(TensorData::new(pooled, [n, across]), device));
    (context, Pipeline::added(pooled, size_ids))
}
