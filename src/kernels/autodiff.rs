//! Records an operation of this room in burn's autodiff graph, from a closure that gives the gradients of its inputs.

use std::fmt;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn_flex::FlexTensor;

/// From the gradient of the output to those of the inputs; `None` where an input is not trained.
pub(super) type BackwardFn<const N: usize> = Arc<dyn Fn(FlexTensor) -> [Option<FlexTensor>; N] + Send + Sync>;

/// What an operation leaves behind for the backward pass.
#[derive(Clone)]
struct Saved<const N: usize>(BackwardFn<N>);

impl<const N: usize> fmt::Debug for Saved<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Saved")
    }
}

#[derive(Debug)]
struct Recorded;

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = Saved<N>;

    fn backward(self, ops: Ops<Saved<N>, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let found = (ops.state.0)(gradient);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// Whether anything that needs a gradient stands behind `input`.
fn is_tracked<C: CheckpointStrategy>(input: &Tracked<C>) -> bool {
    let prepared = Backward::<Flex, 1>::prepare::<C>(Recorded, [input.node()]);
    matches!(prepared.compute_bound().stateful(), OpsKind::Tracked(_))
}

/// Runs `forward` on the inputs and which of them are tracked. Where one is, the closure that it gives is kept for the
/// backward pass; where none is, nothing is kept.
pub(super) fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [Tracked<C>; N],
    forward: impl FnOnce([FlexTensor; N], [bool; N]) -> (FlexTensor, BackwardFn<N>),
) -> Tracked<C> {
    let tracked = inputs.each_ref().map(is_tracked::<C>);
    let nodes = inputs.each_ref().map(|input| input.node());
    let values = inputs.map(|input| input.into_primitive());
    match Recorded.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (output, backward) = forward(values, tracked);
            prepared.finish(Saved(backward), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(forward(values, tracked).0),
    }
}
