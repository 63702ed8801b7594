//! How long the weights under training are, and how far an update moves them: in all, and by kind of module.

use std::collections::BTreeMap;

use super::optimizer::{Slot, sum};

/// Segments of a module's path, and what modules with them are called. The first that is found counts.
const KINDS: &[(&str, &str)] = &[
    ("text_encoder", "text_encoder"),
    ("text_encoder_2", "text_encoder_2"),
    ("attn1", "attn1"),
    ("attn2", "attn2"),
    ("ff", "ff"),
    ("proj_in", "proj"),
    ("proj_out", "proj"),
    ("resnets", "resnets"),
    ("downsamplers", "samplers"),
    ("upsamplers", "samplers"),
];

/// The kind of a module by the name of its tensor: `attn1` (self-attention), `attn2` (attention to the text), `ff`, `proj`,
/// `resnets`, `samplers`, `text_encoder`, `text_encoder_2`, else `other`.
#[must_use]
pub fn kind(tensor: &str) -> &'static str {
    let has = |segment: &str| tensor.split('.').any(|part| part == segment);
    KINDS
        .iter()
        .find(|(segment, _)| has(segment))
        .map_or("other", |(_, kind)| *kind)
}

/// Euclidean norms.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Norms {
    /// Of the weights after an update, by kind.
    pub weights: BTreeMap<String, f64>,
    /// Of what the update added to them.
    pub updates: BTreeMap<String, f64>,
}

impl Norms {
    /// Compares the weights with what they were before, in the same order. Sums are made in f64 and in a fixed order.
    #[must_use]
    pub fn of(slots: &BTreeMap<String, Slot>, before: &[Vec<f32>]) -> Self {
        let mut norms = Self::default();
        for ((name, slot), before) in slots.iter().zip(before) {
            let (now, kind) = (&slot.value, kind(name));
            let square = |v: f32| f64::from(v) * f64::from(v);
            let weights = sum(now.len(), |at| now[at].iter().map(|&v| square(v)).sum());
            let updates = sum(now.len(), |at| {
                let pairs = now[at.clone()].iter().zip(&before[at]);
                pairs.map(|(now, before)| square(now - before)).sum()
            });
            *norms.weights.entry(kind.to_owned()).or_default() += weights;
            *norms.updates.entry(kind.to_owned()).or_default() += updates;
        }
        let roots = |sums: &mut BTreeMap<String, f64>| sums.values_mut().for_each(|v| *v = v.sqrt());
        roots(&mut norms.weights);
        roots(&mut norms.updates);
        norms
    }

    /// Over all kinds: of the weights, and of the update.
    #[must_use]
    pub fn total(&self) -> (f64, f64) {
        let all = |norms: &BTreeMap<String, f64>| norms.values().map(|v| v * v).sum::<f64>().sqrt();
        (all(&self.weights), all(&self.updates))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optimizer::{LionConfig, Method, Optimizer};

    #[test]
    fn norms_are_those_of_pythagoras_by_kind() {
        let mut optimizer = Optimizer::new(Method::Lion(LionConfig::default()), None);
        let attention = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight";
        optimizer.add(attention, vec![2], vec![3.0, 4.0], 1.0);
        optimizer.add("text_encoder.x.fc1.lora_A.weight", vec![1], vec![12.0], 1.0);
        let norms = Norms::of(&optimizer.slots, &[vec![3.0, 2.0], vec![12.5]]);
        assert_eq!(norms.weights["attn1"], 5.0);
        assert_eq!(norms.updates["attn1"], 2.0);
        assert_eq!(norms.updates["text_encoder"], 0.5);
        assert_eq!(norms.total(), (13.0, 4.25f64.sqrt()));
    }

    #[test]
    fn every_layer_of_a_block_has_a_kind() {
        for (tensor, expected) in [
            (
                "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight",
                "attn2",
            ),
            (
                "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2.lora_B.weight",
                "ff",
            ),
            ("mid_block.attentions.0.proj_in.hada_w1_a", "proj"),
            ("down_blocks.0.resnets.1.conv1.lora_A.weight", "resnets"),
            ("down_blocks.0.downsamplers.0.conv.lokr_w1", "samplers"),
            (
                "text_encoder_2.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
                "text_encoder_2",
            ),
            ("conv_in.weight", "other"),
        ] {
            assert_eq!(kind(tensor), expected, "{tensor}");
        }
    }
}
