//! What an adapter does to one module of a model: the forms of updates in use, as plain values.

use super::{AdapterError, Dtype};

/// A tensor on the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weight {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

impl Weight {
    /// A tensor of this shape.
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self {
            shape: shape.into(),
            values,
        }
    }

    /// As a matrix: the first dimension, and the product of the others.
    fn matrix(&self) -> Option<(usize, usize)> {
        let (rows, rest) = self.shape.split_first()?;
        let columns = rest.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (rows.checked_mul(columns)? == self.values.len() && !self.values.is_empty()).then_some((*rows, columns))
    }
}

/// A matrix in two factors: `a·b`, with `a` `[m, r]` and `b` `[r, n]`. With a Tucker core `[r, r, k, k]` it is a kernel,
/// `Σ core[i, j]·a[i]·b[j]`, with `a` `[r, m]` and `b` `[r, n]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// `[m, r]`; with a core `[r, m]`.
    pub a: Weight,
    /// `[r, n]`
    pub b: Weight,
    /// `[r, r, k, k]`
    pub core: Option<Weight>,
}

impl Product {
    /// Rank: the rows of `b`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.b.shape.first().copied().unwrap_or(0)
    }

    /// Shape of the product, none where its parts do not fit together.
    fn shape(&self) -> Option<Vec<usize>> {
        let ((m, ra), (rb, n)) = (self.a.matrix()?, self.b.matrix()?);
        match &self.core {
            None => (ra == rb).then(|| vec![m, n]),
            Some(core) => {
                let (m, ra) = (ra, m);
                core.matrix()?;
                match core.shape.as_slice() {
                    [i, j, k, l] if *i == ra && *j == rb => Some(vec![m, n, *k, *l]),
                    _ => None,
                }
            }
        }
    }
}

/// A factor of a Kronecker product.
#[derive(Clone, Debug, PartialEq)]
pub enum Factor {
    /// `[m, n]`, or `[m, n, k, k]`.
    Whole(Weight),
    /// In two factors.
    Product(Product),
}

impl Factor {
    fn shape(&self) -> Option<Vec<usize>> {
        match self {
            Factor::Whole(w) => w.matrix().map(|_| w.shape.clone()),
            Factor::Product(p) => p.shape(),
        }
    }

    fn rank(&self) -> Option<usize> {
        match self {
            Factor::Whole(_) => None,
            Factor::Product(p) => Some(p.rank()),
        }
    }
}

/// The forms of an update ΔW to a weight `[out, in]` or `[out, in, k, k]`, before it is scaled.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// `up · down` (Hu et al. 2021, arXiv:2106.09685). `down` is `[r, in]` or `[r, in, k, k]`, `up` `[out, r]` or
    /// `[out, r, 1, 1]`; with `mid` `[r, r, k, k]` between them `down` is `[r, in, 1, 1]`.
    Lora {
        /// The first matrix.
        down: Weight,
        /// The second matrix.
        up: Weight,
        /// The Tucker core of a convolution.
        mid: Option<Weight>,
    },
    /// The Hadamard product of two products (Hyeon-Woo et al. 2021, arXiv:2108.06098; LyCORIS' LoHa).
    Loha {
        /// `hada_w1_a`, `hada_w1_b`, `hada_t1`
        first: Product,
        /// `hada_w2_a`, `hada_w2_b`, `hada_t2`
        second: Product,
    },
    /// The Kronecker product of two factors (LyCORIS' LoKr, arXiv:2309.14859).
    Lokr {
        /// `lokr_w1`, or `lokr_w1_a` and `lokr_w1_b`
        first: Factor,
        /// `lokr_w2`, or `lokr_w2_a`, `lokr_w2_b` and `lokr_t2`
        second: Factor,
    },
    /// The update itself; none where the file changes the bias alone.
    Full {
        /// In the shape of the weight.
        diff: Option<Weight>,
    },
    /// Added to the weight of a normalisation.
    Norm {
        /// `[channels]`
        diff: Weight,
    },
    /// The weight with each output channel, or each input channel, times a gain (Liu et al. 2022, arXiv:2205.05638).
    Ia3 {
        /// One value a channel; 0 changes nothing.
        gain: Weight,
        /// Whether the channels are those of the input.
        on_input: bool,
    },
}

impl Form {
    /// Whether it has a rank, and with it a scale.
    #[must_use]
    pub fn has_rank(&self) -> bool {
        match self {
            Form::Lora { .. } | Form::Loha { .. } => true,
            Form::Lokr { first, second } => first.rank().or_else(|| second.rank()).is_some(),
            Form::Full { .. } | Form::Norm { .. } | Form::Ia3 { .. } => false,
        }
    }

    /// Its name in the field.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Form::Lora { mid: Some(_), .. } => "locon-tucker",
            Form::Lora { down, .. } if down.shape.get(2).is_some_and(|k| *k > 1) => "locon",
            Form::Lora { .. } => "lora",
            Form::Loha { .. } => "loha",
            Form::Lokr { .. } => "lokr",
            Form::Full { .. } => "full",
            Form::Norm { .. } => "norm",
            Form::Ia3 { .. } => "ia3",
        }
    }

    /// The parts with the suffixes of their keys in kohya's and LyCORIS' files.
    #[must_use]
    pub fn parts(&self) -> Vec<(&'static str, &Weight)> {
        fn product<'a>(names: [&'static str; 3], p: &'a Product) -> Vec<(&'static str, &'a Weight)> {
            let core = p.core.as_ref().map(|core| (names[2], core));
            [(names[0], &p.a), (names[1], &p.b)].into_iter().chain(core).collect()
        }
        fn factor<'a>(whole: &'static str, names: [&'static str; 3], f: &'a Factor) -> Vec<(&'static str, &'a Weight)> {
            match f {
                Factor::Whole(w) => vec![(whole, w)],
                Factor::Product(p) => product(names, p),
            }
        }
        match self {
            Form::Lora { down, up, mid } => [("lora_down.weight", down), ("lora_up.weight", up)]
                .into_iter()
                .chain(mid.as_ref().map(|mid| ("lora_mid.weight", mid)))
                .collect(),
            Form::Loha { first, second } => [
                product(["hada_w1_a", "hada_w1_b", "hada_t1"], first),
                product(["hada_w2_a", "hada_w2_b", "hada_t2"], second),
            ]
            .concat(),
            Form::Lokr { first, second } => [
                factor("lokr_w1", ["lokr_w1_a", "lokr_w1_b", "lokr_t1"], first),
                factor("lokr_w2", ["lokr_w2_a", "lokr_w2_b", "lokr_t2"], second),
            ]
            .concat(),
            Form::Full { diff } => diff.iter().map(|d| ("diff", d)).collect(),
            Form::Norm { diff } => vec![("w_norm", diff)],
            Form::Ia3 { gain, .. } => vec![("weight", gain)],
        }
    }

    /// Shape of the update, as far as the parts know it: `[out, in·k·k]` where they are flat, `[out, in, k, k]` where
    /// they are not, `[channels]` for norms and gains, empty for none. No shape where the parts do not fit together.
    #[must_use]
    pub fn shape(&self) -> Option<Vec<usize>> {
        match self {
            Form::Lora { down, up, mid } => {
                let ((rank, _), (out, up_columns)) = (down.matrix()?, up.matrix()?);
                let inner = match mid {
                    None => (rank == up_columns).then(|| down.shape.get(1..).map(<[usize]>::to_vec))??,
                    Some(mid) => {
                        mid.matrix()?;
                        match (mid.shape.as_slice(), down.shape.as_slice()) {
                            ([m, n, k, l], [_, input, tail @ ..])
                                if *m == up_columns && *n == rank && tail.iter().all(|d| *d == 1) =>
                            {
                                vec![*input, *k, *l]
                            }
                            _ => return None,
                        }
                    }
                };
                let pointwise = up.shape.get(2..)?.iter().all(|k| *k == 1);
                (pointwise && matches!(inner.len(), 1 | 3)).then(|| [vec![out], inner].concat())
            }
            Form::Loha { first, second } => first.shape().filter(|s| second.shape().as_ref() == Some(s)),
            Form::Lokr { first, second } => match (first.shape()?.as_slice(), second.shape()?.as_slice()) {
                ([a, b], [c, d, kernel @ ..]) if matches!(kernel.len(), 0 | 2) => {
                    let mut shape = vec![a.checked_mul(*c)?, b.checked_mul(*d)?];
                    shape.extend(kernel);
                    Some(shape)
                }
                _ => None,
            },
            Form::Full { diff: None } => Some(Vec::new()),
            Form::Full { diff: Some(diff) } => diff
                .matrix()
                .filter(|_| matches!(diff.shape.len(), 2 | 4))
                .map(|_| diff.shape.clone()),
            Form::Norm { diff: w } | Form::Ia3 { gain: w, .. } => w.matrix().map(|_| vec![w.values.len()]),
        }
    }
}

/// DoRA's magnitude (Liu et al. 2024, arXiv:2402.09353): the length that each output channel of the updated weight is
/// given, or each input channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Magnitude {
    /// One length a channel: `[out, 1]` or `[out, 1, 1, 1]`, with 1 and `in` the other way round for the input's.
    pub lengths: Weight,
    /// Whether the channels are those of the input, as in LyCORIS' older files.
    pub on_input: bool,
}

/// One adapted module: the update to its weight is `alpha / rank` times its form.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// Path as diffusers names it, e.g. `down_blocks.0.attentions.0.proj_in`. Modules of the U-Net stand bare; those
    /// of a text encoder carry the encoder's folder, e.g. `text_encoder.text_model.encoder.layers.0.mlp.fc1`.
    pub path: String,
    /// The update.
    pub form: Form,
    /// Numerator of the scale. Readers give a missing or zero alpha the value of the rank, which is scale 1.
    pub alpha: f32,
    /// DoRA's magnitude.
    pub magnitude: Option<Magnitude>,
    /// Added to the bias: `diff_b` or `b_norm`, `[out]`.
    pub bias: Option<Weight>,
}

impl Module {
    /// A LoRA module.
    #[must_use]
    pub fn lora(path: impl Into<String>, down: Weight, up: Weight, alpha: f32) -> Self {
        Self {
            path: path.into(),
            form: Form::Lora { down, up, mid: None },
            alpha,
            magnitude: None,
            bias: None,
        }
    }

    /// A LoRA module as its difference from an earlier state of the same: `up · down - up₀ · down₀` in one product of
    /// twice the rank. Any other form stays as it is.
    #[must_use]
    pub fn since(mut self, start: &Self) -> Self {
        let scale = self.scale();
        if let (
            Form::Lora { down, up, mid: None },
            Form::Lora {
                down: down0,
                up: up0,
                mid: None,
            },
        ) = (&mut self.form, &start.form)
        {
            fn rows(w: &Weight) -> std::slice::Chunks<'_, f32> {
                let rows = w.shape.first().copied().unwrap_or(1).max(1);
                w.values.chunks((w.values.len() / rows).max(1))
            }
            let sides = rows(up).zip(rows(up0));
            let beside: Vec<f32> = sides
                .flat_map(|(row, row0)| row.iter().copied().chain(row0.iter().map(|v| -v)))
                .collect();
            let below = [down.values.as_slice(), &down0.values].concat();
            let rank = down.shape.first().copied().unwrap_or(0) + down0.shape.first().copied().unwrap_or(0);
            (down.values, up.values) = (below, beside);
            if let (Some(rows), Some(columns)) = (down.shape.first_mut(), up.shape.get_mut(1)) {
                (*rows, *columns) = (rank, rank);
            }
            self.alpha = scale * rank as f32;
        }
        self
    }

    /// Rank of the update; 1 for a form that has none, whose scale its alpha is.
    #[must_use]
    pub fn rank(&self) -> usize {
        let rank = match &self.form {
            Form::Lora { down, .. } => down.shape.first().copied(),
            Form::Loha { first, .. } => Some(first.rank()),
            // LyCORIS gives both factors one rank; where only one is in factors, it has it.
            Form::Lokr { first, second } => second.rank().or_else(|| first.rank()),
            Form::Full { .. } | Form::Norm { .. } | Form::Ia3 { .. } => None,
        };
        rank.unwrap_or(1)
    }

    /// What the form is multiplied by: `alpha / rank`.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank().max(1) as f32
    }

    /// A LoRA with its values as a file of this type holds them; other forms as they are.
    pub(super) fn rounded(&self, dtype: Dtype) -> Result<Self, AdapterError> {
        let mut rounded = self.clone();
        if let Form::Lora { down, up, mid } = &mut rounded.form {
            let parts = [
                Some(("down", down)),
                Some(("up", up)),
                mid.as_mut().map(|mid| ("mid", mid)),
            ];
            for (tensor, weight) in parts.into_iter().flatten() {
                let bytes = dtype.narrow(&weight.values).ok_or(AdapterError::NotFinite {
                    module: self.path.clone(),
                    tensor,
                    dtype,
                })?;
                weight.values = dtype.widen(&bytes);
            }
            // It stands in the file as well, in the same type.
            let alpha = dtype.narrow(&[rounded.alpha]).map(|bytes| dtype.widen(&bytes));
            rounded.alpha = alpha.and_then(|a| a.first().copied()).unwrap_or(rounded.alpha);
        }
        Ok(rounded)
    }

    /// Refuses shapes that do not fit together and values that are not finite.
    ///
    /// # Errors
    /// [`AdapterError::Module`] and [`AdapterError::NotFinite`].
    pub fn check(&self) -> Result<(), AdapterError> {
        let wrong = |expected: &str, found: String| AdapterError::Module {
            module: self.path.clone(),
            expected: expected.to_owned(),
            found,
        };
        let parts = self.form.parts();
        if self.form.shape().is_none() {
            let shapes: Vec<String> = parts
                .iter()
                .map(|(name, w)| format!("{name} {:?} of {} values", w.shape, w.values.len()))
                .collect();
            return Err(wrong(self.form.expected(), shapes.join(", ")));
        }
        let bias = self.bias.iter().map(|b| ("bias", b.values.as_slice()));
        let lengths = self
            .magnitude
            .iter()
            .map(|m| ("dora_scale", m.lengths.values.as_slice()));
        let all = parts.iter().map(|(name, w)| (*name, w.values.as_slice()));
        for (tensor, values) in all.chain(bias).chain(lengths) {
            if !values.iter().all(|v| v.is_finite()) {
                return Err(AdapterError::NotFinite {
                    module: self.path.clone(),
                    tensor,
                    dtype: Dtype::F32,
                });
            }
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(wrong("a positive alpha", self.alpha.to_string()));
        }
        Ok(())
    }
}

impl Form {
    /// What the shapes of its parts must be, for a refusal.
    fn expected(&self) -> &'static str {
        match self {
            Form::Lora { mid: None, .. } => "down [r, in] and up [out, r], or down [r, in, k, k] and up [out, r, 1, 1]",
            Form::Lora { mid: Some(_), .. } => "down [r, in, 1, 1], mid [r, r, k, k] and up [out, r, 1, 1]",
            Form::Loha { .. } => {
                "w1_a and w2_a [out, r] and w1_b and w2_b [r, in·k·k], or with t1 and t2 [r, r, k, k]: [r, out] and [r, in]"
            }
            Form::Lokr { .. } => "w1 [a, b] and w2 [c, d] or [c, d, k, k], or each as a [m, r] and b [r, n]",
            Form::Full { .. } => "an update in the shape of the weight",
            Form::Norm { .. } | Form::Ia3 { .. } => "one value a channel",
        }
    }
}
