//! Gradients with blocks that are computed again, and without.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use super::{Algo, Drop, Recipe, Rule, Targets, attach, for_each, roll};
use crate::model::config::{PerBlock, TextConfig, UNetConfig};
use crate::model::layers::{Module, ParamMut, join};
use crate::model::params::{self, to_vec};
use crate::model::recompute::Tape;
use crate::model::text::TextEncoder;
use crate::model::unet::{Added, UNet};
use crate::model::weights::{Draws, Weights};

/// Loss and gradients, by name.
type Found = (Vec<f32>, BTreeMap<String, Vec<f32>>);

#[derive(Clone)]
struct Model {
    text: TextEncoder,
    unet: UNet,
}

impl Model {
    /// A small SDXL: the text reaches the U-Net twice.
    fn fresh(device: &Device) -> Self {
        let mut weights = Weights::fresh(5, device);
        let text = TextConfig {
            architectures: vec!["CLIPTextModelWithProjection".to_owned()],
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            projection_dim: 8,
            vocab_size: 20,
            eos_token_id: 19,
            ..TextConfig::default()
        };
        let unet = UNetConfig {
            block_out_channels: vec![8, 16],
            down_block_types: vec!["CrossAttnDownBlock2D".to_owned(), "DownBlock2D".to_owned()],
            up_block_types: vec!["UpBlock2D".to_owned(), "CrossAttnUpBlock2D".to_owned()],
            norm_num_groups: 4,
            cross_attention_dim: 8,
            attention_head_dim: PerBlock::One(2),
            transformer_layers_per_block: PerBlock::One(2),
            addition_embed_type: Some("text_time".to_owned()),
            addition_time_embed_dim: Some(4),
            projection_class_embeddings_input_dim: Some(8 + 6 * 4),
            ..UNetConfig::default()
        };
        Self {
            text: TextEncoder::build(&text, &mut weights).unwrap(),
            unet: UNet::build(&unet, &mut weights).unwrap(),
        }
    }

    fn parts(&mut self) -> [(&'static str, &mut dyn Module); 2] {
        [("text_encoder", &mut self.text), ("unet", &mut self.unet)]
    }

    fn adapted(recipe: &Recipe, parts: &[&str]) -> Self {
        let mut model = Self::fresh(&Device::flex().autodiff());
        for (name, part) in model.parts() {
            if !parts.contains(&name) {
                continue;
            }
            attach(&mut [("", part)], recipe, 3).unwrap();
            for_each(part, &mut |key, mut param| {
                let values = Draws::new(11, key).normals(param.values().len());
                param.set(values.into_iter().map(|v| 0.3 * v).collect(), true);
            });
            roll(name, part, 3, 1);
        }
        model
    }

    fn step(&self, recomputes: bool, whole: bool) -> Found {
        let device = Device::flex().autodiff();
        let mut tape = Tape::new(recomputes);
        let encoded = self
            .text
            .forward_on(&mut tape, &[vec![18, 3, 4, 19], vec![18, 5, 19, 19]], &device);
        let added = Added {
            text_embeds: encoded.pooled.clone(),
            time_ids: Tensor::ones([2, 6], &device),
        };
        let values = Draws::new(2, "sample").normals(2 * 4 * 7 * 6);
        let sample = Tensor::from_data(TensorData::new(values, [2, 4, 7, 6]), &device);
        let steps = [10.0, 700.0];
        let out = self
            .unet
            .forward_on(&mut tape, sample, &steps, &encoded.hidden(2), Some(&added));
        let loss = out.square().mean();
        let mut found = tape.backward(&loss);
        let (mut copy, mut all) = (self.clone(), BTreeMap::new());
        for (name, part) in copy.parts() {
            let mut take = |key: &str, param: ParamMut<'_>| {
                all.extend(param.gradient(&mut found).map(|g| (join(name, key), g)));
            };
            match whole {
                true => params::for_each(part, &mut take),
                false => for_each(part, &mut take),
            }
        }
        (to_vec(loss), all)
    }
}

fn recipe(algo: Algo, dora: bool) -> Recipe {
    let drop = Drop {
        neurons: 0.2,
        ranks: 0.2,
        modules: 0.1,
    };
    Recipe {
        algo,
        dora,
        conv: Some((2, 2.0)),
        targets: Targets::Convolutions,
        drop: if dora { Drop::default() } else { drop },
        ..Recipe::lora(2, 2.0)
    }
}

#[test]
fn recomputed_blocks_give_the_same_gradients_bit_for_bit() {
    let kinds = [
        recipe(Algo::Lora, false),
        recipe(Algo::Lora, true),
        recipe(Algo::Loha, false),
        recipe(
            Algo::Lokr {
                factor: -1,
                decompose_both: true,
            },
            false,
        ),
    ];
    for kind in kinds {
        let model = Model::adapted(&kind, &["unet"]);
        let (loss, plain) = model.step(false, false);
        let (again, recomputed) = model.step(true, false);
        assert_eq!(loss, again);
        assert!(plain.len() > 60);
        assert_eq!(plain, recomputed);
    }
}

#[test]
fn only_the_last_blocks_may_be_trained() {
    let mut kind = recipe(Algo::Lora, false);
    kind.include = vec![Rule::new("up_blocks.1.*", ()).unwrap()];
    let model = Model::adapted(&kind, &["unet"]);
    let (plain, recomputed) = (model.step(false, false), model.step(true, false));
    assert!(plain.1.keys().all(|key| key.starts_with("unet.up_blocks.1.")));
    assert_eq!(plain, recomputed);
}

/// The same but for the order of the sum over all blocks that take the text, by the greatest of all gradients.
fn assert_near(plain: &Found, recomputed: &Found) {
    assert_eq!(plain.0, recomputed.0);
    assert_eq!(
        plain.1.keys().collect::<Vec<_>>(),
        recomputed.1.keys().collect::<Vec<_>>()
    );
    let pairs = plain
        .1
        .iter()
        .flat_map(|(key, plain)| plain.iter().zip(&recomputed.1[key]));
    let (most, off) = pairs.fold((0.0f32, 0.0f32), |(most, off), (a, b)| {
        (most.max(a.abs()), off.max((a - b).abs()))
    });
    assert!(off < 1e-6 * most, "off by {off:e} of {most:e}");
}

#[test]
fn text_encoders_get_the_same_gradients_but_for_rounding() {
    let mut kind = recipe(Algo::Lora, false);
    kind.targets = Targets::Text;
    let model = Model::adapted(&kind, &["text_encoder"]);
    let plain = model.step(false, false);
    assert!(plain.1.len() > 12);
    assert_near(&plain, &model.step(true, false));
    let model = Model::adapted(&recipe(Algo::Lora, false), &["text_encoder", "unet"]);
    assert_near(&model.step(false, false), &model.step(true, false));
}

#[test]
fn a_whole_model_can_be_trained_so() {
    let mut model = Model::fresh(&Device::flex().autodiff());
    for (_, part) in model.parts() {
        params::for_each(part, &mut |_, mut param| param.track());
    }
    assert_near(&model.step(false, true), &model.step(true, true));
}
