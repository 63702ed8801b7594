//! Max-norm regularization of an adapter: after each update no module's ΔW, with its scale, is longer than a bound (the
//! `scale_weight_norms` of sd-scripts and LyCORIS' `apply_max_norm`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::optimizer::Slot;

/// A module as it is after an update.
#[derive(Debug, Clone, PartialEq)]
pub struct Length {
    /// What the names of its tensors begin with, the dot with it.
    pub prefix: String,
    /// Frobenius norm of ΔW with its scale.
    pub norm: f64,
}

/// What became of all modules, under the names that sd-scripts logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Scaled {
    /// How many modules were scaled down.
    pub keys_scaled: u64,
    /// Mean norm after it.
    pub average_key_norm: f64,
    /// Largest norm after it.
    pub max_key_norm: f64,
}

/// Scales what is longer than `most` down to it. ΔW is linear in each of its tensors, so each of the `n` tensors of a
/// module is multiplied by the `n`th root of the ratio.
pub fn scale_down(slots: &mut BTreeMap<String, Slot>, lengths: &[Length], most: f64) -> Scaled {
    let mut scaled = Scaled::default();
    for Length { prefix, norm } in lengths {
        if *norm > most {
            let names = || move |(name, _): &(&String, &mut Slot)| name.starts_with(prefix);
            let tensors = slots.range_mut(prefix.clone()..).take_while(names()).count();
            let root = (most / norm).powf(1.0 / tensors.max(1) as f64) as f32;
            for (_, slot) in slots.range_mut(prefix.clone()..).take_while(names()) {
                slot.value.iter_mut().for_each(|v| *v *= root);
            }
            scaled.keys_scaled += 1;
        }
        let norm = norm.min(most);
        scaled.average_key_norm += norm / lengths.len() as f64;
        scaled.max_key_norm = scaled.max_key_norm.max(norm);
    }
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::optimizer::{LionConfig, Method, Optimizer};

    #[test]
    fn what_is_too_long_is_as_long_as_it_may_be() {
        let mut optimizer = Optimizer::new(Method::Lion(LionConfig::default()), None);
        for (name, value) in [
            ("a.to_q.lora_A.weight", [2.0, 0.0]),
            ("a.to_q.lora_B.weight", [8.0, 0.0]),
            ("a.to_q_2.lora_A.weight", [7.0, 0.0]),
            ("b.hada_w1_a", [0.5, 0.0]),
        ] {
            optimizer.add(name, vec![2], value.to_vec(), 1.0);
        }
        let length = |prefix: &str, norm| Length {
            prefix: prefix.to_owned(),
            norm,
        };
        let lengths = [length("a.to_q.", 16.0), length("b.", 0.5)];
        let scaled = scale_down(&mut optimizer.slots, &lengths, 4.0);
        let values: Vec<f32> = optimizer.slots.values().map(|slot| slot.value[0]).collect();
        assert_eq!(values, [1.0, 4.0, 7.0, 0.5]);
        assert_eq!(
            scaled,
            Scaled {
                keys_scaled: 1,
                average_key_norm: 2.25,
                max_key_norm: 4.0
            }
        );
    }
}
