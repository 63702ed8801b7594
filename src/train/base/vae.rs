//! The first part: the autoencoder, on pictures alone.

use burn::tensor::{Tensor, TensorData};

use super::{BaseRun, plan, unsupported};
use crate::digest::write_atomic;
use crate::lora::frozen;
use crate::model::config::{VaeConfig, read};
use crate::model::layers::ParamMut;
use crate::model::params::{collect, for_each, to_vec};
use crate::model::recompute::Tape;
use crate::model::vae::Vae;
use crate::model::weights::{Draws, Weights, save};
use crate::sheet::{Row, Sheet, Tile};
use crate::train::data::{batch_at, split};
use crate::train::engine::{self, Finish, Objective};
use crate::train::error::TrainError;
use crate::train::watch::Stage;

#[derive(Clone)]
struct Autoencoder<'a> {
    run: &'a BaseRun<'a>,
    vae: Vae,
    training: Vec<usize>,
    held: Vec<usize>,
}

/// The error of a reconstruction: of each pixel, and of the differences of neighbours, which keeps outlines sharp.
fn sharp_error(error: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = error.dims();
    let rows = error.clone().narrow(2, 1, h - 1) - error.clone().narrow(2, 0, h - 1);
    let columns = error.clone().narrow(3, 1, w - 1) - error.clone().narrow(3, 0, w - 1);
    error.abs().mean() + (rows.abs().mean() + columns.abs().mean()).mul_scalar(0.5)
}

impl Objective for Autoencoder<'_> {
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        for_each(&mut self.vae, f);
    }

    fn loss(&mut self, micro_batch: u64, _: &mut Tape) -> Result<Tensor<1>, TrainError> {
        let (c, device) = (self.run.config, self.run.device.clone().autodiff());
        let places = batch_at(self.training.len(), c.vae.train_batch_size, micro_batch, c.seed);
        let indices: Vec<usize> = places.iter().map(|&p| self.training[p]).collect();
        let x = self.run.pictures.batch(&indices, &device);
        let (mean, logvar) = self.vae.encode(x.clone());
        let dims = mean.dims();
        let noise = Draws::new(c.seed, &format!("vae/{micro_batch}")).normals(dims.iter().product());
        let noise = Tensor::from_data(TensorData::new(noise, dims), &device);
        let z = mean.clone() + logvar.clone().mul_scalar(0.5).exp() * noise;
        let kl = (mean.square() + logvar.clone().exp() - logvar - 1.0)
            .mean()
            .mul_scalar(0.5);
        Ok(sharp_error(self.vae.decode(z) - x) + kl.mul_scalar(c.kl_weight))
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        let vae = frozen(&self.vae);
        let (mut total, mut n) = (0.0, 0);
        for part in self.held.chunks(16).take(16) {
            let x = self.run.pictures.batch(part, self.run.device);
            let error = vae.decode(vae.encode(x.clone()).0) - x;
            total += f64::from(to_vec(sharp_error(error))[0]) * part.len() as f64;
            n += part.len();
        }
        Ok(vec![("reconstruction".to_owned(), total / n.max(1) as f64)])
    }

    fn sample(&mut self, _step: u64) -> Result<Option<Vec<u8>>, TrainError> {
        let vae = frozen(&self.vae);
        let shown = &self.held[..self.held.len().min(10)];
        let x = self.run.pictures.batch(shown, self.run.device);
        let side = self.run.pictures.size as u32;
        let row = |label: &str, planes: Vec<f32>| -> Result<Row, TrainError> {
            let tiles = planes
                .chunks(3 * (side * side) as usize)
                .map(|p| Tile::from_planes(side, side, p).map(Some))
                .collect::<Result<_, _>>()?;
            Ok(Row {
                label: label.to_owned(),
                tiles,
            })
        };
        let rows = vec![
            row("held out", to_vec(x.clone()))?,
            row("decoded", to_vec(vae.decode(vae.encode(x).0)))?,
        ];
        let sheet = Sheet {
            title: "autoencoder".to_owned(),
            columns: vec![],
            rows,
            side,
        };
        Ok(Some(sheet.png()?))
    }
}

/// Trains the autoencoder and measures the scaling factor of its latents.
///
/// # Errors
/// As [`super::train_base`].
pub(super) fn train(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    let path = stage.out.join("vae/config.json");
    let mut config: VaeConfig = read(&path)?;
    let device = run.device.clone().autodiff();
    let vae = Vae::build(&config, &mut Weights::fresh(run.config.seed, &device)).map_err(unsupported(path.clone()))?;
    let (training, held) = split(run.pictures.len(), run.config.validation_split, run.config.seed);
    let mut objective = Autoencoder {
        run,
        vae,
        training,
        held,
    };
    let weights = stage.out.join("vae/diffusion_pytorch_model.safetensors");
    let (finish, _) = engine::run(&mut objective, &plan(run, "vae", &run.config.vae)?, run.resume, stage)?;
    if finish.complete {
        let mut vae = frozen(&objective.vae);
        save(&weights, &collect(&mut vae), true)?;
        config.scaling_factor = 1.0 / deviation(run, &vae, &objective.training);
        let text = serde_json::to_string_pretty(&config).map_err(|e| TrainError::Setting(e.to_string()))?
            + "
";
        write_atomic(&path, text.as_bytes()).map_err(TrainError::io(&path))?;
    }
    Ok(finish)
}

/// The standard deviation of the latents of (at most 512) pictures: with its inverse as scaling factor the U-Net sees
/// latents of about unit variance (Rombach et al. 2022, appendix G).
fn deviation(run: &BaseRun<'_>, vae: &Vae, training: &[usize]) -> f64 {
    let mut values = Vec::new();
    for part in training[..training.len().min(512)].chunks(16) {
        values.extend(to_vec(vae.encode(run.pictures.batch(part, run.device)).0));
    }
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n)
        .sqrt()
        .max(1e-6)
}
