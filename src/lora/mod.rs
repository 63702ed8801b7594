//! Adapters on a model's layers: which layers get one, how they start, attaching, merging, reading them back.
//!
//! The layers themselves do the arithmetic (`model::branch`). Knows the adapter's values (`adapter::Module`) and the
//! model; no files, no training loop.

mod bake;
mod decompose;
mod fresh;
mod parts;
mod put;
mod recipe;
#[cfg(test)]
mod recompute_tests;
mod targets;

pub use bake::{BakeError, Baking};
pub use fresh::{attach, roll};
pub use parts::{extract, for_each};
pub use put::{attach_modules, merge};
pub use recipe::{Algo, Drop, Recipe, Rule, Start};
pub use targets::{Census, Targets, module_paths};

use crate::adapter::{self, AdapterFile};
use crate::model::base::Family;
use crate::model::layers::Module;
use crate::model::pipeline::Pipeline;

/// Why an adapter could not be put on a model.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LoraError {
    /// An adapter for another kind of base.
    #[error("it is for {adapter}, the base is {base}; hint: use it with the kind of base that it was trained on")]
    Family {
        /// What the adapter is for.
        adapter: Family,
        /// What the base is.
        base: Family,
    },
    /// Modules of the adapter that the model does not have.
    #[error("{count} of the adapter's modules are not in this model: {shown}; hint: is it made for another base?")]
    Unknown {
        /// How many.
        count: usize,
        /// The first of them.
        shown: String,
    },
    /// A module whose shapes are not those of the model's layer.
    #[error(
        "module `{path}`: expected an update of a weight {expected:?}, found {form} of {found:?}; hint: is it made for \
         another base?"
    )]
    Shape {
        /// Which module.
        path: String,
        /// Shape of the layer's weight.
        expected: Vec<usize>,
        /// What the module's form is called.
        form: &'static str,
        /// Shape of what it updates.
        found: Vec<usize>,
    },
    /// A module that changes the bias of a layer that has none.
    #[error("module `{0}`: it changes a bias, and the base has none there to write it into; hint: use it live")]
    NoBias(String),
    /// A start from the weight, of a higher rank than the weight can have.
    #[error(
        "module `{path}`: expected a rank of at most {most} to start from its weight, found {rank}; hint: give it a \
             smaller one with rank_pattern"
    )]
    Rank {
        /// Which module.
        path: String,
        /// The lesser of the weight's sides.
        most: usize,
        /// What was asked for.
        rank: usize,
    },
    /// A pattern for layers that no layer fits.
    #[error("the pattern `{0}` fits no layer of the model; hint: patterns are for whole paths, such as `*.attn2.to_k`")]
    Pattern(String),
    /// Fewer modules than the configuration of the model says there are.
    #[error("expected {expected} modules to adapt, found {found}; a run with fewer would fail silently")]
    Count {
        /// By the configuration.
        expected: usize,
        /// In the model.
        found: usize,
    },
}

/// Puts an adapter on the networks of a pipeline that it is for: the U-Net, and the text encoders where it has modules
/// of theirs; so many times as strong as it was trained on the one and on the others.
///
/// # Errors
/// As [`attach_modules`], and if its header or its names say that it is for another kind of base.
pub fn attach_pipeline(pipeline: &mut Pipeline, file: &AdapterFile, [weight, clip]: [f64; 2]) -> Result<(), LoraError> {
    check_family(file, pipeline.family)?;
    let parts = split(file, pipeline.second.is_some());
    let [unet, first, second] = &parts;
    attach_modules(&mut pipeline.unet, unet, weight)?;
    attach_modules(&mut pipeline.text, first, clip)?;
    match &mut pipeline.second {
        Some(other) => attach_modules(&mut other.text, second, clip),
        None => Ok(()),
    }
}

/// Refuses an adapter whose header or names say that it is for another kind of base.
fn check_family(file: &AdapterFile, base: Family) -> Result<(), LoraError> {
    let stated = file.header.get("ss_base_model_version").map(String::as_str);
    let family = match stated {
        _ if file.is_xl() => Some(Family::Xl),
        Some(version) if version.starts_with("sd_v1") => Some(Family::Sd1),
        Some(version) if version.starts_with("sd_v2") => Some(Family::Sd2),
        _ => None,
    };
    if let Some(adapter) = family.filter(|family| *family != base) {
        return Err(LoraError::Family { adapter, base });
    }
    Ok(())
}

/// The modules of the U-Net and of the two text encoders, with the paths of their own networks.
fn split(file: &AdapterFile, has_second: bool) -> [Vec<adapter::Module>; 3] {
    let mut parts: [Vec<adapter::Module>; 3] = Default::default();
    for module in &file.modules {
        let (part, path) = match (
            module.path.strip_prefix("text_encoder."),
            module.path.strip_prefix("text_encoder_2."),
        ) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) if has_second => (2, rest),
            _ => (0, module.path.as_str()),
        };
        parts[part].push(adapter::Module {
            path: path.to_owned(),
            ..module.clone()
        });
    }
    parts
}

/// Adds the adapters on a pipeline's networks to their weights; see [`merge`].
pub fn merge_pipeline(pipeline: &mut Pipeline) {
    merge(&mut pipeline.unet);
    merge(&mut pipeline.text);
    if let Some(second) = &mut pipeline.second {
        merge(&mut second.text);
    }
    // What was merged has memory of its own now.
    pipeline.unet.pages().rest();
    pipeline.rest_text();
}

/// Takes a model and its adapters out of autodiff, for validation and sampling: a copy that shares all values.
#[must_use]
pub fn frozen<M: Module + Clone>(model: &M) -> M {
    let mut copy = model.clone();
    crate::model::params::for_each(&mut copy, &mut |_, mut param| param.freeze());
    for_each(&mut copy, &mut |_, mut param| param.freeze());
    fresh::keep_all(&mut copy);
    copy
}
