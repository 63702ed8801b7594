//! The adapter's form: options under kohya's and LyCORIS' names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{positive, share};
use crate::lora::{Algo, Drop, Recipe, Rule, Start, Targets};

/// The kinds of adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// `up · down` on attention and feed-forward; on convolutions too where `conv_dim` is given.
    #[default]
    Lora,
    /// The same, on convolutions in any case.
    Locon,
    /// The Hadamard product of two products.
    Loha,
    /// The Kronecker product of two factors.
    Lokr,
}

/// How the matrices of a LoRA start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitLoraWeights {
    /// `down` uniform, `up` zero.
    #[default]
    Kaiming,
    /// `down` normal, `up` zero.
    Gaussian,
    /// The strongest directions of the weight.
    Pissa,
    /// The first directions of an orthonormal basis of the weight.
    Olora,
}

/// The section of the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The kind.
    #[serde(default)]
    pub network_type: NetworkType,
    /// Rank of linear layers and 1×1 convolutions.
    pub network_dim: usize,
    /// Their alpha; the update is scaled by alpha / rank.
    pub network_alpha: f64,
    /// Rank of larger convolutions, which have an adapter only where this is given; `locon` takes `network_dim` without.
    #[serde(default)]
    pub conv_dim: Option<usize>,
    /// Their alpha; without it `network_alpha`.
    #[serde(default)]
    pub conv_alpha: Option<f64>,
    /// Whether larger convolutions have a Tucker core.
    #[serde(default)]
    pub use_tucker: bool,
    /// Whether lengths of the output's channels are trained apart (DoRA).
    #[serde(default)]
    pub dora_wd: bool,
    /// Whether alpha is divided by the root of the rank (rsLoRA).
    #[serde(default)]
    pub rs_lora: bool,
    /// `lokr`: size of the smaller factor where it divides; -1 for the most even division.
    #[serde(default = "even")]
    pub factor: i64,
    /// `lokr`: whether the smaller factor is in two as well.
    #[serde(default)]
    pub decompose_both: bool,
    /// `lora`, `locon`: how it starts.
    #[serde(default)]
    pub init_lora_weights: InitLoraWeights,
    /// Share of the values inside the adapter that a micro-batch leaves out.
    #[serde(default)]
    pub network_dropout: f64,
    /// Share of the ranks.
    #[serde(default)]
    pub rank_dropout: f64,
    /// Share of the modules.
    #[serde(default)]
    pub module_dropout: f64,
    /// Factor on the learning rate of the matrix that starts at zero (LoRA+, arXiv:2402.12354).
    #[serde(default = "same")]
    pub loraplus_lr_ratio: f64,
    /// Whether the text encoders have an adapter too.
    #[serde(default)]
    pub train_text_encoder: bool,
    /// Their learning rate; without it that of the U-Net.
    #[serde(default)]
    pub text_encoder_lr: Option<f64>,
    /// Layers by patterns of their paths, in the place of those that the kind covers.
    #[serde(default)]
    pub target_modules: Vec<String>,
    /// Layers that get none.
    #[serde(default)]
    pub exclude_modules: Vec<String>,
    /// How many modules there must be.
    #[serde(default)]
    pub target_count: Option<usize>,
    /// Ranks of layers by pattern; of several that fit, the longest counts.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alphas of layers by pattern.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Factors on the learning rate of layers by pattern.
    #[serde(default)]
    pub lr_pattern: BTreeMap<String, f64>,
}

fn even() -> i64 {
    -1
}
fn same() -> f64 {
    1.0
}

impl Network {
    /// Whether the adapter starts as a part of the base's weights.
    pub(super) fn changes_base(&self) -> bool {
        matches!(self.init_lora_weights, InitLoraWeights::Pissa | InitLoraWeights::Olora)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        positive("network_dim", self.network_dim as f64)?;
        positive("network_alpha", self.network_alpha)?;
        positive("conv_dim", self.conv_dim.unwrap_or(1) as f64)?;
        positive("conv_alpha", self.conv_alpha.unwrap_or(1.0))?;
        positive("loraplus_lr_ratio", self.loraplus_lr_ratio)?;
        positive("text_encoder_lr", self.text_encoder_lr.unwrap_or(1.0))?;
        let lists = [("alpha_pattern", &self.alpha_pattern), ("lr_pattern", &self.lr_pattern)];
        for (name, list) in lists {
            list.values().try_for_each(|value| positive(name, *value))?;
        }
        let mut ranks = self.rank_pattern.values();
        ranks.try_for_each(|rank| positive("rank_pattern", *rank as f64))?;
        for (name, value) in [
            ("network_dropout", self.network_dropout),
            ("rank_dropout", self.rank_dropout),
            ("module_dropout", self.module_dropout),
        ] {
            share(name, value, true)?;
        }
        let lokr = self.network_type == NetworkType::Lokr;
        let lora = matches!(self.network_type, NetworkType::Lora | NetworkType::Locon);
        let without_effect = [
            ("factor", self.factor != even() && !lokr, "only `lokr` has factors"),
            (
                "decompose_both",
                self.decompose_both && !lokr,
                "only `lokr` has factors",
            ),
            (
                "factor",
                self.factor == 0 || self.factor < even(),
                "expected -1 or a size",
            ),
            (
                "init_lora_weights",
                self.init_lora_weights != InitLoraWeights::Kaiming && !lora,
                "only `lora` and `locon` have a choice",
            ),
            (
                "conv_alpha",
                self.conv_alpha.is_some() && self.conv().is_none(),
                "no convolution has an adapter; hint: give conv_dim",
            ),
            (
                "use_tucker",
                self.use_tucker && self.conv().is_none() && self.target_modules.is_empty(),
                "no convolution has an adapter; hint: give conv_dim",
            ),
            (
                "text_encoder_lr",
                self.text_encoder_lr.is_some() && !self.train_text_encoder,
                "the text encoders are not trained; hint: set train_text_encoder",
            ),
            (
                "init_lora_weights",
                self.use_tucker && self.changes_base(),
                "a weight has no Tucker core to start from",
            ),
            (
                "dora_wd",
                self.dora_wd && (self.network_dropout > 0.0 || self.rank_dropout > 0.0),
                "its lengths would not be those of what is left; hint: use module_dropout alone",
            ),
        ];
        match without_effect.into_iter().find(|(_, wrong, _)| *wrong) {
            Some((name, _, why)) => Err(format!("{name}: {why}")),
            None => self.recipe().map(drop),
        }
    }

    /// Refuses a form whose update has no length of its own, for `scale_weight_norms`.
    pub(super) fn check_lengths(&self) -> Result<(), String> {
        let why = match self.init_lora_weights {
            _ if self.dora_wd => "dora_wd says itself how long the weights are; hint: leave one of both out",
            InitLoraWeights::Pissa | InitLoraWeights::Olora => {
                "init_lora_weights makes the update a part of the base's weight; hint: leave one of both out"
            }
            InitLoraWeights::Kaiming | InitLoraWeights::Gaussian => return Ok(()),
        };
        Err(format!("scale_weight_norms: {why}"))
    }

    /// Rank and alpha of larger convolutions, where they have an adapter.
    #[must_use]
    pub fn conv(&self) -> Option<(usize, f64)> {
        let rank = match self.network_type {
            NetworkType::Locon => Some(self.conv_dim.unwrap_or(self.network_dim)),
            _ => self.conv_dim,
        };
        rank.map(|rank| (rank, self.conv_alpha.unwrap_or(self.network_alpha)))
    }

    /// What to put on the model.
    ///
    /// # Errors
    /// If a pattern is malformed.
    pub fn recipe(&self) -> Result<Recipe, String> {
        let wrong = |name: &'static str| move |e: String| format!("{name}: {e}");
        Ok(Recipe {
            algo: match self.network_type {
                NetworkType::Lora | NetworkType::Locon => Algo::Lora,
                NetworkType::Loha => Algo::Loha,
                NetworkType::Lokr => Algo::Lokr {
                    factor: self.factor,
                    decompose_both: self.decompose_both,
                },
            },
            size: (self.network_dim, self.network_alpha),
            conv: self.conv(),
            tucker: self.use_tucker,
            dora: self.dora_wd,
            rank_stabilised: self.rs_lora,
            start: match self.init_lora_weights {
                InitLoraWeights::Kaiming => Start::Kaiming,
                InitLoraWeights::Gaussian => Start::Gaussian,
                InitLoraWeights::Pissa => Start::Pissa,
                InitLoraWeights::Olora => Start::Olora,
            },
            drop: Drop {
                neurons: self.network_dropout,
                ranks: self.rank_dropout,
                modules: self.module_dropout,
            },
            targets: match self.conv() {
                Some(_) => Targets::Convolutions,
                None => Targets::Attention,
            },
            include: rules(&self.target_modules).map_err(wrong("target_modules"))?,
            exclude: rules(&self.exclude_modules).map_err(wrong("exclude_modules"))?,
            ranks: values(&self.rank_pattern).map_err(wrong("rank_pattern"))?,
            alphas: values(&self.alpha_pattern).map_err(wrong("alpha_pattern"))?,
            rates: values(&self.lr_pattern).map_err(wrong("lr_pattern"))?,
        })
    }

    /// The module of sd-scripts that such an adapter comes from, and its arguments, for the header.
    #[must_use]
    pub fn module(&self) -> (&'static str, BTreeMap<String, String>) {
        let mut args = BTreeMap::new();
        let mut put = |name: &str, value: String| drop(args.insert(name.to_owned(), value));
        if let Some((rank, alpha)) = self.conv() {
            put("conv_dim", rank.to_string());
            put("conv_alpha", alpha.to_string());
        }
        for (name, share) in [
            ("rank_dropout", self.rank_dropout),
            ("module_dropout", self.module_dropout),
        ] {
            if share > 0.0 {
                put(name, share.to_string());
            }
        }
        let lora = matches!(self.network_type, NetworkType::Lora | NetworkType::Locon);
        if lora && !self.dora_wd && !self.use_tucker && !self.rs_lora {
            return ("networks.lora", args);
        }
        let algo = match self.network_type {
            NetworkType::Lora | NetworkType::Locon => "locon",
            NetworkType::Loha => "loha",
            NetworkType::Lokr => "lokr",
        };
        put("algo", algo.to_owned());
        if self.network_type == NetworkType::Lokr {
            put("factor", self.factor.to_string());
        }
        for (name, set) in [
            ("dora_wd", self.dora_wd),
            ("use_tucker", self.use_tucker),
            ("rs_lora", self.rs_lora),
            ("decompose_both", self.decompose_both),
        ] {
            if set {
                put(name, "True".to_owned());
            }
        }
        ("lycoris.kohya", args)
    }

    /// Factor on the learning rate of a parameter by its name, `PATH.TENSOR`.
    #[must_use]
    pub fn rate(&self, recipe: &Recipe, name: &str) -> f64 {
        let starts_at_zero = ["lora_B.weight", "hada_w2_a", "lokr_w2", "lokr_w2_b"];
        let plus = match starts_at_zero.iter().any(|end| name.ends_with(end)) {
            true => self.loraplus_lr_ratio,
            false => 1.0,
        };
        plus * recipe.rate(name)
    }
}

fn rules(patterns: &[String]) -> Result<Vec<Rule<()>>, String> {
    patterns.iter().map(|pattern| Rule::new(pattern, ())).collect()
}

fn values<T: Copy>(patterns: &BTreeMap<String, T>) -> Result<Vec<Rule<T>>, String> {
    patterns
        .iter()
        .map(|(pattern, value)| Rule::new(pattern, *value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(more: &str) -> Result<Network, String> {
        let text = format!("network_dim = 8\nnetwork_alpha = 4\n{more}");
        let network: Network = toml::from_str(&text).map_err(|e| e.to_string())?;
        network.check().map(|()| network)
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        for (more, wrong) in [
            ("", None),
            ("network_type = \"locon\"\nuse_tucker = true", None),
            ("network_type = \"lokr\"\nfactor = 8\ndecompose_both = true", None),
            ("rank_pattern = { \"mid_block.*\" = 16 }", None),
            ("dora_wd = true\nmodule_dropout = 0.1", None),
            ("factor = 8", Some("factor")),
            ("text_encoder_lr = 1e-5", Some("text_encoder_lr")),
            ("network_type = \"lokr\"\nfactor = 0", Some("factor")),
            ("use_tucker = true", Some("use_tucker")),
            (
                "conv_dim = 2\nuse_tucker = true\ninit_lora_weights = \"pissa\"",
                Some("Tucker core"),
            ),
            ("conv_alpha = 1", Some("conv_alpha")),
            ("dora_wd = true\nrank_dropout = 0.1", Some("dora_wd")),
            ("rank_dropout = 1.0", Some("rank_dropout")),
            (
                "network_type = \"loha\"\ninit_lora_weights = \"gaussian\"",
                Some("init_lora_weights"),
            ),
            ("target_modules = [\"a[\"]", Some("target_modules")),
            ("rank_pattern = { \"x\" = 0 }", Some("rank_pattern")),
            ("network_type = \"oft\"", Some("oft")),
        ] {
            match (checked(more), wrong) {
                (Ok(_), None) => {}
                (Err(e), Some(word)) => assert!(e.contains(word), "{more}: {e}"),
                (other, _) => panic!("{more}: {other:?}"),
            }
        }
    }

    #[test]
    fn rates_multiply() {
        let network = checked("loraplus_lr_ratio = 16\nlr_pattern = { \"mid_block.*\" = 0.5 }").unwrap();
        let recipe = network.recipe().unwrap();
        for (name, expected) in [
            ("mid_block.x.lora_A.weight", 0.5),
            ("mid_block.x.lora_B.weight", 8.0),
            ("up_blocks.x.lora_B.weight", 16.0),
            ("up_blocks.x.lora_A.weight", 1.0),
        ] {
            assert_eq!(network.rate(&recipe, name), expected, "{name}");
        }
    }
}
