//! Adapters on their way into the files of a base, one stored tensor at a time.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::put::{branch, fits, misfit, sum, vector};
use super::{LoraError, check_family, split};
use crate::adapter::{AdapterFile, Form, Module};
use crate::model::base::{Family, Network};
use crate::model::copy::Edit;
use crate::model::params::to_vec;
use crate::model::weights::LoadError;

/// Why adapters could not be written into a base.
#[derive(Debug, thiserror::Error)]
pub enum BakeError {
    /// They do not fit it.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The base cannot be read, or the result not written.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A module of one of the adapters, and what of it was added.
struct Part {
    module: Module,
    weight: f64,
    to_weight: bool,
    to_bias: bool,
}

/// The adapters by the layers that they change.
pub struct Baking {
    parts: BTreeMap<(Network, String), Vec<Part>>,
    device: Device,
}

impl Baking {
    /// Of adapters for a base of this kind, each as strong as said on the U-Net and on the text encoders.
    ///
    /// # Errors
    /// If one is for another kind of base.
    pub fn new(family: Family, adapters: &[(&AdapterFile, [f64; 2])]) -> Result<Self, LoraError> {
        let mut parts: BTreeMap<(Network, String), Vec<Part>> = BTreeMap::new();
        for (file, [weight, clip]) in adapters {
            check_family(file, family)?;
            let networks = [Network::UNet, Network::Text, Network::Text2];
            for (network, modules) in networks.into_iter().zip(split(file, family == Family::Xl)) {
                let weight = if network == Network::UNet { *weight } else { *clip };
                for module in modules {
                    parts.entry((network, module.path.clone())).or_default().push(Part {
                        module,
                        weight,
                        to_weight: false,
                        to_bias: false,
                    });
                }
            }
        }
        Ok(Self {
            parts,
            device: Device::flex(),
        })
    }

    /// How many modules there are.
    #[must_use]
    pub fn modules(&self) -> usize {
        self.parts.values().map(Vec::len).sum()
    }
}

impl Edit for Baking {
    type Error = BakeError;

    fn wants(&self, network: Network, name: &str) -> bool {
        let Some((path, end)) = name.rsplit_once('.') else {
            return false;
        };
        let parts = self.parts.get(&(network, path.to_owned()));
        parts.into_iter().flatten().any(|part| match end {
            "weight" => !matches!(part.module.form, Form::Full { diff: None }),
            "bias" => part.module.bias.is_some(),
            _ => false,
        })
    }

    /// Each of several adapters is relative to the tensor as it was.
    fn apply(
        &mut self,
        network: Network,
        name: &str,
        shape: &[usize],
        values: Vec<f32>,
    ) -> Result<Vec<f32>, BakeError> {
        let (path, end) = name.rsplit_once('.').unwrap_or((name, ""));
        let Some(parts) = self.parts.get_mut(&(network, path.to_owned())) else {
            return Ok(values);
        };
        let (n, device) = (values.len(), &self.device);
        let line = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [n]), device);
        if end == "bias" {
            let mut sum = line(values);
            for part in parts.iter_mut() {
                let Some(bias) = &part.module.bias else { continue };
                if bias.values.len() != n {
                    return Err(misfit(&part.module, shape).into());
                }
                sum = sum + vector(bias, device).mul_scalar(part.weight);
                part.to_bias = true;
            }
            return Ok(to_vec(sum));
        }
        for part in parts.iter_mut() {
            if !fits(&part.module, shape) {
                return Err(misfit(&part.module, shape).into());
            }
            part.to_weight = true;
        }
        if let &[_] = shape {
            let mut sum = line(values);
            for part in parts.iter() {
                if let Form::Norm { diff } = &part.module.form {
                    sum = sum + vector(diff, device).mul_scalar(part.weight);
                }
            }
            return Ok(to_vec(sum));
        }
        let mut branches = parts
            .iter()
            .filter_map(|part| branch(&part.module, part.weight, device))
            .collect();
        let (rows, inputs) = (shape[0].max(1), shape[1]);
        let weight = Tensor::<2>::from_data(TensorData::new(values, [rows, n / rows]), device);
        Ok(to_vec(match sum(&mut branches, &weight, inputs) {
            Some(sum) => sum,
            None => weight,
        }))
    }

    /// A module that the base has no layer for, or a change of a bias that it has not, is refused.
    fn finished(&self) -> Result<(), BakeError> {
        let all: Vec<&Part> = self.parts.values().flatten().collect();
        let weightless = |part: &Part| matches!(part.module.form, Form::Full { diff: None });
        let unknown: Vec<&str> = all
            .iter()
            .filter(|part| !(part.to_weight || weightless(part) && part.to_bias))
            .map(|part| part.module.path.as_str())
            .collect();
        if !unknown.is_empty() {
            return Err(BakeError::Lora(LoraError::Unknown {
                count: unknown.len(),
                shown: unknown.iter().take(3).copied().collect::<Vec<_>>().join(", "),
            }));
        }
        match all.iter().find(|part| part.module.bias.is_some() && !part.to_bias) {
            Some(part) => Err(LoraError::NoBias(part.module.path.clone()).into()),
            None => Ok(()),
        }
    }
}
