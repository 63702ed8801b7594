//! What an adapter adds beside a linear layer or a convolution: `y += weight · op(x, ΔW)`.
//!
//! Where an update has a cheap form in activation space it is computed there, so that neither the forward nor the
//! backward pass makes a matrix as large as the layer's weight: LoRA, its Tucker form, and LoKr by reshaping. A LoHa
//! update has none, and is rebuilt from its factors.
//!
//! All factors are matrices; a kernel's positions are among its columns, as in a weight `[out, in·k·k]`.

use burn::tensor::{Device, Tensor, TensorData};

use super::weights::Draws;

/// An update ΔW `[out, in·k·k]` in its factors, before it is scaled.
#[derive(Debug, Clone)]
pub enum Update {
    /// `up · mid · down` (Hu et al. 2021, arXiv:2106.09685).
    Lora {
        /// `[r, in·k·k]`, or `[r, in]` before a core
        down: Tensor<2>,
        /// `[out, r]`
        up: Tensor<2>,
        /// The Tucker core `[r, r·k·k]` of a convolution.
        mid: Option<Tensor<2>>,
    },
    /// The Hadamard product of two products (LyCORIS' LoHa).
    Loha {
        /// The one.
        first: Product,
        /// The other.
        second: Product,
    },
    /// The Kronecker product of two factors (LyCORIS' LoKr): `first` `[a, b]`, `second` `[c, d·k·k]`.
    Lokr {
        /// On the blocks of channels.
        first: Factor,
        /// Within each block.
        second: Factor,
    },
    /// The update itself.
    Full(Tensor<2>),
    /// The layer's own weight, each output channel (or input channel) times a gain (IA³).
    Gain {
        /// `[1, channels]`
        gain: Tensor<2>,
        /// Whether the channels are those of the input.
        on_input: bool,
    },
}

/// `a·b`, or with a core the kernel `Σ core[i, j]·a[i]·b[j]`.
#[derive(Debug, Clone)]
pub struct Product {
    /// `[m, r]`; with a core `[r, m]`
    pub a: Tensor<2>,
    /// `[r, n]`
    pub b: Tensor<2>,
    /// `[r, r·k·k]`
    pub core: Option<Tensor<2>>,
}

impl Product {
    /// `[m, n]`, or `[m, n·k·k]`.
    fn matrix(&self) -> Tensor<2> {
        let Some(core) = &self.core else {
            return self.a.clone().matmul(self.b.clone());
        };
        let ([ra, m], [rb, n]) = (self.a.dims(), self.b.dims());
        let taps = core.dims()[1] / rb;
        // [m, rb·k·k] → [m, k·k, rb] · [rb, n] → [m, n·k·k]
        let half = self.a.clone().transpose().matmul(core.clone().reshape([ra, rb * taps]));
        let half = half.reshape([m, rb, taps]).swap_dims(1, 2).reshape([m * taps, rb]);
        let whole = half.matmul(self.b.clone()).reshape([m, taps, n]);
        whole.swap_dims(1, 2).reshape([m, n * taps])
    }
}

/// A factor of a Kronecker product.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one a layer, and tensors are handles")]
pub enum Factor {
    /// As it is.
    Whole(Tensor<2>),
    /// In two factors.
    Product(Product),
}

impl Factor {
    fn matrix(&self) -> Tensor<2> {
        match self {
            Factor::Whole(w) => w.clone(),
            Factor::Product(p) => p.matrix(),
        }
    }
}

/// DoRA's lengths `[1, channels]` (Liu et al. 2024, arXiv:2402.09353): the updated weight is brought to them, channel by
/// channel.
#[derive(Debug, Clone)]
pub struct Magnitude {
    /// `[1, channels]`
    pub lengths: Tensor<2>,
    /// Whether the channels are those of the input.
    pub on_input: bool,
}

/// An adapter at work on one layer.
#[derive(Debug, Clone)]
pub struct Branch {
    /// What it adds.
    pub update: Update,
    /// DoRA's lengths.
    pub magnitude: Option<Magnitude>,
    /// alpha / rank.
    pub scale: f64,
    /// How strong the user wants it: what is added to the weight is multiplied with it.
    pub weight: f64,
    /// What a micro-batch leaves out.
    pub dropout: Option<Dropout>,
}

/// Shares of an adapter that a micro-batch leaves out, each 0 to below 1, decided by random draws: the same draws leave
/// out the same.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// Of the values between `down` and `up`; of those that the update adds where it has other factors.
    pub neurons: f64,
    /// Of the ranks, the same for all samples; of the output's channels where ranks do not lie side by side.
    pub ranks: f64,
    /// Of the modules.
    pub modules: f64,
    /// Where the draws begin.
    pub draws: Draws,
}

impl Dropout {
    /// What is kept of `n` values: 0, or 1 scaled up so that the mean stays.
    fn kept<const D: usize>(draws: &mut Draws, share: f64, shape: [usize; D], device: &Device) -> Tensor<D> {
        let n = shape.iter().product();
        let scale = (1.0 / (1.0 - share)) as f32;
        let keep = |draws: &mut Draws| if draws.uniform() < share { 0.0 } else { scale };
        let values: Vec<f32> = (0..n).map(|_| keep(draws)).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// `[B, n, …]` with neurons and channels left out.
    fn apply<const D: usize>(&self, draws: &mut Draws, x: Tensor<D>) -> Tensor<D> {
        let (dims, device) = (x.dims(), x.device());
        let x = match self.neurons > 0.0 {
            true => x * Self::kept(draws, self.neurons, dims, &device),
            false => x,
        };
        match self.ranks > 0.0 {
            true => x * channels(Self::kept(draws, self.ranks, [1, dims[1]], &device)),
            false => x,
        }
    }
}

/// What is left out, and the draws that say it.
type Chance<'a> = Option<(&'a Dropout, Draws)>;

/// How a layer applies a weight to an input `[B, in, …]`.
pub(super) trait Site<const D: usize> {
    /// The layer's weight `[out, in·k·k]` in f32.
    fn weight(&self) -> Tensor<2>;
    /// Applies the layer's own weight, as it is stored, to `[B, in, …]`.
    fn own(&self, x: Tensor<D>) -> Tensor<D>;
    /// Applies a weight `[m, n·k·k]` with the layer's kernel to `[B, n, …]`.
    fn apply(&self, x: Tensor<D>, weight: Tensor<2>) -> Tensor<D>;
    /// Applies a weight `[m, n]` at each place of `[B, n, …]`.
    fn mix(&self, x: Tensor<D>, weight: Tensor<2>) -> Tensor<D>;
}

/// Added to a length before it is divided by, as in LyCORIS.
const EPSILON: f64 = f32::EPSILON as f64;

impl Branch {
    /// Its tensors, named as in files: a LoRA's as in PEFT's, others as in LyCORIS'.
    pub fn tensors(&mut self) -> Vec<(&'static str, &mut Tensor<2>)> {
        let mut all = match &mut self.update {
            Update::Lora { down, up, mid } => [("lora_A.weight", down), ("lora_B.weight", up)]
                .into_iter()
                .chain(mid.as_mut().map(|mid| ("lora_mid.weight", mid)))
                .collect(),
            Update::Loha { first, second } => {
                let mut all = product(["hada_w1_a", "hada_w1_b", "hada_t1"], first);
                all.extend(product(["hada_w2_a", "hada_w2_b", "hada_t2"], second));
                all
            }
            Update::Lokr { first, second } => {
                let mut all = factor("lokr_w1", ["lokr_w1_a", "lokr_w1_b", "lokr_t1"], first);
                all.extend(factor("lokr_w2", ["lokr_w2_a", "lokr_w2_b", "lokr_t2"], second));
                all
            }
            Update::Full(diff) => vec![("diff", diff)],
            Update::Gain { gain, .. } => vec![("weight", gain)],
        };
        let magnitude = self.magnitude.as_mut();
        all.extend(magnitude.map(|m| ("dora_scale", &mut m.lengths)));
        all
    }

    /// Whether it is quicker with the layer's own output at hand.
    pub(super) fn takes_base(&self) -> bool {
        let outputs = |on_input: bool| !on_input;
        self.magnitude.as_ref().is_some_and(|m| outputs(m.on_input))
            || matches!(self.update, Update::Gain { on_input, .. } if outputs(on_input))
    }

    /// What is added to the output of the layer; `base` is that output without a bias, if it is at hand. Nothing where
    /// the whole module is left out.
    pub(super) fn forward<const D: usize>(
        &self,
        x: &Tensor<D>,
        base: Option<&Tensor<D>>,
        site: &impl Site<D>,
    ) -> Option<Tensor<D>> {
        let mut chance = self.dropout.as_ref().map(|dropout| (dropout, dropout.draws.clone()));
        if let Some((dropout, draws)) = &mut chance
            && draws.uniform() < dropout.modules
        {
            return None;
        }
        Some(self.present(x, base, site, chance))
    }

    fn present<const D: usize>(
        &self,
        x: &Tensor<D>,
        base: Option<&Tensor<D>>,
        site: &impl Site<D>,
        chance: Chance<'_>,
    ) -> Tensor<D> {
        let Some(magnitude) = &self.magnitude else {
            return self.plain(x.clone(), base, site, self.scale * self.weight, chance);
        };
        let ratio = self.ratio(magnitude, site.weight()); // [1, channels]
        let more = ratio.clone().sub_scalar(1.0);
        let y = if magnitude.on_input {
            let own = site.own(x.clone() * channels(more));
            let x = x.clone() * channels(ratio);
            own + self.plain(x, None, site, self.scale, chance)
        } else {
            let base = base.cloned().unwrap_or_else(|| site.own(x.clone()));
            let own = base.clone() * channels(more);
            own + self.plain(x.clone(), Some(&base), site, self.scale, chance) * channels(ratio)
        };
        y.mul_scalar(self.weight)
    }

    /// The same without DoRA, with everything multiplied by `scale`.
    fn plain<const D: usize>(
        &self,
        x: Tensor<D>,
        base: Option<&Tensor<D>>,
        site: &impl Site<D>,
        scale: f64,
        mut chance: Chance<'_>,
    ) -> Tensor<D> {
        let mut drop = |x: Tensor<D>| match &mut chance {
            Some((dropout, draws)) => dropout.apply(draws, x),
            None => x,
        };
        let whole = match &self.update {
            Update::Lora { down, up, mid } => {
                let inner = match mid {
                    None => site.apply(x, down.clone()),
                    Some(mid) => site.apply(site.mix(x, down.clone()), mid.clone()),
                };
                return site.mix(drop(inner).mul_scalar(scale), up.clone());
            }
            Update::Lokr { first, second } => kronecker(x, first.matrix(), second.matrix(), site).mul_scalar(scale),
            Update::Loha { .. } | Update::Full(_) => site.apply(x, self.change().mul_scalar(scale)),
            Update::Gain { gain, on_input: false } => {
                let base = base.cloned().unwrap_or_else(|| site.own(x));
                base * channels(gain.clone()).mul_scalar(scale)
            }
            Update::Gain { gain, on_input: true } => site.own(x * channels(gain.clone())).mul_scalar(scale),
        };
        drop(whole)
    }

    /// What is to be added to the layer's weight `[out, in·k·k]` for the same effect.
    #[must_use]
    pub fn merged(&self, weight: Tensor<2>, inputs: usize) -> Tensor<2> {
        let change = match &self.update {
            Update::Gain { gain, on_input } => per_channel(weight.clone(), gain.clone(), *on_input, inputs),
            _ => self.change(),
        };
        let change = change.mul_scalar(self.scale);
        let change = match &self.magnitude {
            None => change,
            Some(m) => {
                let ratio = self.ratio(m, weight.clone());
                per_channel(weight.clone() + change, ratio, m.on_input, inputs) - weight
            }
        };
        change.mul_scalar(self.weight)
    }

    /// ΔW `[out, in·k·k]` before it is scaled; zero for a gain, which depends on the layer's weight.
    fn change(&self) -> Tensor<2> {
        match &self.update {
            Update::Lora { down, up, mid: None } => up.clone().matmul(down.clone()),
            Update::Lora {
                down,
                up,
                mid: Some(mid),
            } => Product {
                a: up.clone().transpose(),
                b: down.clone(),
                core: Some(mid.clone()),
            }
            .matrix(),
            Update::Loha { first, second } => first.matrix() * second.matrix(),
            Update::Lokr { first, second } => {
                let (first, second) = (first.matrix(), second.matrix());
                let ([a, b], [c, columns]) = (first.dims(), second.dims());
                let whole = first.reshape([a, 1, b, 1]) * second.reshape([1, c, 1, columns]);
                whole.reshape([a * c, b * columns])
            }
            Update::Full(diff) => diff.clone(),
            Update::Gain { gain, .. } => gain.zeros_like(),
        }
    }

    /// By what DoRA multiplies each channel of the updated weight, `[1, channels]`.
    fn ratio(&self, magnitude: &Magnitude, weight: Tensor<2>) -> Tensor<2> {
        let n = magnitude.lengths.dims()[1];
        let [out, columns] = weight.dims();
        let updated = weight + self.change().mul_scalar(self.scale);
        let squares = updated.square();
        let squares = if magnitude.on_input {
            let squares = squares.reshape([out, n, columns / n]);
            squares.sum_dim(0).reshape([n, columns / n]).sum_dim(1).transpose()
        } else {
            squares.sum_dim(1).transpose()
        };
        magnitude.lengths.clone() / squares.sqrt().add_scalar(EPSILON)
    }
}

fn product<'a>(names: [&'static str; 3], p: &'a mut Product) -> Vec<(&'static str, &'a mut Tensor<2>)> {
    let core = p.core.as_mut().map(|core| (names[2], core));
    [(names[0], &mut p.a), (names[1], &mut p.b)]
        .into_iter()
        .chain(core)
        .collect()
}

fn factor<'a>(
    whole: &'static str,
    names: [&'static str; 3],
    f: &'a mut Factor,
) -> Vec<(&'static str, &'a mut Tensor<2>)> {
    match f {
        Factor::Whole(w) => vec![(whole, w)],
        Factor::Product(p) => product(names, p),
    }
}

/// `[1, channels]` → `[1, channels, 1, …]`
fn channels<const D: usize>(values: Tensor<2>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[1] = values.dims()[1];
    values.reshape(shape)
}

/// A weight `[out, in·k·k]` with each channel times its value.
fn per_channel(weight: Tensor<2>, values: Tensor<2>, on_input: bool, inputs: usize) -> Tensor<2> {
    let [out, columns] = weight.dims();
    if on_input {
        let weight = weight.reshape([out, inputs, columns / inputs]);
        (weight * values.reshape([1, inputs, 1])).reshape([out, columns])
    } else {
        weight * values.transpose()
    }
}

/// Applies `first ⊗ second` block by block: `second` within each block of channels, then `first` across the blocks.
fn kronecker<const D: usize>(x: Tensor<D>, first: Tensor<2>, second: Tensor<2>, site: &impl Site<D>) -> Tensor<D> {
    let [a, b] = first.dims();
    let mut dims = x.dims();
    let batch = dims[0];
    (dims[0], dims[1]) = (batch * b, dims[1] / b);
    let inner = site.apply(x.reshape(dims), second); // [B·b, c, …]
    let mut dims = inner.dims();
    let places = dims[1..].iter().product::<usize>();
    let across = inner.reshape([batch, b, places]).swap_dims(1, 2); // [B, c·…, b]
    let mixed = across.reshape([batch * places, b]).matmul(first.transpose());
    let mixed = mixed.reshape([batch, places, a]).swap_dims(1, 2); // [B, a, c·…]
    (dims[0], dims[1]) = (batch, a * dims[1]);
    mixed.reshape(dims)
}
