//! Activation checkpointing (Chen et al. 2016, arXiv:1604.06174): parts of a network keep nothing but their inputs, and
//! the backward pass computes the rest of them again, one part at a time.
//!
//! Each part is a graph of its own. What it gives is handed on as a leaf, whose gradient is that of the part's output
//! once all that follows has been gone through. Gradients are the same bits as without, but for tensors that several
//! parts take, such as the text under training: the sum over the parts has another order.

use burn::tensor::{Gradients, Tensor};

use super::branch::Branch;
use super::layers::{Conv2d, Linear, Module, ParamMut, Visitor};
use super::params::for_each;

/// Tensors that go into a part of a network.
pub trait Values: Clone + Send + 'static {
    /// The same out of autodiff.
    #[must_use]
    fn inner(self) -> Self;

    /// Whether something under training stands behind any of them.
    fn tracked(&self) -> bool;

    /// The same tensors. Their gradients are summed here before those of other uses are added, as where this is the
    /// edge between two graphs.
    #[must_use]
    fn joined(self) -> Self;

    /// The same values, leaves where something stands behind them.
    #[must_use]
    fn leaves(self) -> Self;

    /// What has the gradients of `leaves` as its own: the sum of these tensors, each times its gradient. Nothing where
    /// the loss does not depend on them.
    fn pulled(self, leaves: &Self, found: &mut Found) -> Option<Tensor<1>>;
}

impl<const D: usize> Values for Tensor<D> {
    fn inner(self) -> Self {
        if self.is_autodiff() { Tensor::inner(self) } else { self }
    }

    fn tracked(&self) -> bool {
        self.is_tracked()
    }

    fn joined(self) -> Self {
        if !self.is_tracked() {
            return self;
        }
        let dims = self.dims();
        self.reshape(dims)
    }

    fn leaves(self) -> Self {
        if self.is_tracked() {
            self.detach().require_grad()
        } else {
            self
        }
    }

    fn pulled(self, leaves: &Self, found: &mut Found) -> Option<Tensor<1>> {
        if !self.is_tracked() {
            return None;
        }
        let gradient = found.take(leaves)?;
        Some((self * Tensor::from_inner(gradient)).sum())
    }
}

impl<V: Values> Values for Option<V> {
    fn inner(self) -> Self {
        self.map(V::inner)
    }

    fn tracked(&self) -> bool {
        self.as_ref().is_some_and(V::tracked)
    }

    fn joined(self) -> Self {
        self.map(V::joined)
    }

    fn leaves(self) -> Self {
        self.map(V::leaves)
    }

    fn pulled(self, leaves: &Self, found: &mut Found) -> Option<Tensor<1>> {
        self?.pulled(leaves.as_ref()?, found)
    }
}

impl<A: Values, B: Values> Values for (A, B) {
    fn inner(self) -> Self {
        (self.0.inner(), self.1.inner())
    }

    fn tracked(&self) -> bool {
        self.0.tracked() || self.1.tracked()
    }

    fn joined(self) -> Self {
        (self.0.joined(), self.1.joined())
    }

    fn leaves(self) -> Self {
        (self.0.leaves(), self.1.leaves())
    }

    fn pulled(self, leaves: &Self, found: &mut Found) -> Option<Tensor<1>> {
        match (self.0.pulled(&leaves.0, found), self.1.pulled(&leaves.1, found)) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        }
    }
}

/// Gradients of a loss, in the pieces in which they were found.
pub struct Found(Vec<Gradients>);

impl From<Gradients> for Found {
    fn from(gradients: Gradients) -> Self {
        Self(vec![gradients])
    }
}

impl Found {
    /// The gradient of a leaf, out of autodiff, if the loss depends on it.
    pub fn take<const D: usize>(&mut self, leaf: &Tensor<D>) -> Option<Tensor<D>> {
        let each = self.0.iter_mut().filter_map(|piece| leaf.grad_remove(piece));
        each.reduce(|sum, more| more + sum)
    }
}

/// Goes on with the backward pass behind a leaf.
type Part = Box<dyn FnOnce(&mut Found) -> Option<Tensor<1>> + Send>;

/// The parts of a forward pass, in its order.
pub struct Tape {
    recomputes: bool,
    parts: Vec<Part>,
}

impl Tape {
    /// A tape for one forward pass. Unless it `recomputes`, autodiff keeps everything, as usual.
    #[must_use]
    pub fn new(recomputes: bool) -> Self {
        Self {
            recomputes,
            parts: Vec::new(),
        }
    }

    /// Runs a part of a network, which the backward pass runs again: it must compute the same from the same inputs.
    ///
    /// Whatever of `inputs` is under training is a leaf, or went through [`Tape::cut`].
    pub fn part<M, I, const D: usize>(
        &mut self,
        module: &M,
        inputs: I,
        run: impl Fn(&M, I) -> Tensor<D> + Send + 'static,
    ) -> Tensor<D>
    where
        M: Module + Clone + Send + 'static,
        I: Values,
    {
        if !self.recomputes {
            return run(module, inputs.joined());
        }
        let (frozen, trains) = frozen(module);
        let output = Tensor::from_inner(run(&frozen, inputs.clone().inner()));
        if !trains && !inputs.tracked() {
            return output;
        }
        let leaf = output.require_grad();
        let (module, handed_on) = (module.clone(), leaf.clone());
        self.parts
            .push(Box::new(move |found| run(&module, inputs).pulled(&leaf, found)));
        handed_on
    }

    /// Ends the graph behind `values`, which is kept, so that several parts can take them.
    pub fn cut<V: Values>(&mut self, values: V) -> V {
        if !self.recomputes || !values.tracked() {
            return values;
        }
        let leaves = values.clone().leaves();
        let handed_on = leaves.clone();
        self.parts.push(Box::new(move |found| values.pulled(&leaves, found)));
        handed_on
    }

    /// The gradients of a loss that was computed on this tape.
    #[must_use]
    pub fn backward<const D: usize>(self, loss: &Tensor<D>) -> Found {
        let mut found = Found::from(loss.backward());
        for part in self.parts.into_iter().rev() {
            if let Some(pulled) = part(&mut found) {
                found.0.push(pulled.backward());
            }
        }
        found
    }
}

/// A copy out of autodiff that leaves out what the module leaves out, and whether anything of the module is trained.
fn frozen<M: Module + Clone>(module: &M) -> (M, bool) {
    let (mut copy, mut freeze) = (module.clone(), Freeze(false));
    for_each(&mut copy, &mut |_, param| freeze.param(param));
    copy.visit("", &mut freeze);
    (copy, freeze.0)
}

/// Whether anything was trained.
struct Freeze(bool);

impl Freeze {
    fn param(&mut self, mut param: ParamMut<'_>) {
        self.0 |= param.is_tracked();
        param.freeze();
    }

    fn branches(&mut self, branches: &mut [Branch]) {
        for (_, tensor) in branches.iter_mut().flat_map(Branch::tensors) {
            self.param(ParamMut::Two(tensor));
        }
    }
}

impl Visitor for Freeze {
    fn linear(&mut self, _: &str, layer: &mut Linear) {
        self.branches(&mut layer.branches);
    }

    fn conv(&mut self, _: &str, layer: &mut Conv2d) {
        self.branches(&mut layer.branches);
    }
}
