//! When a run ends before its last update.

/// Ends a run when the loss on the held-out pictures no longer falls; the weights of the best validation are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// Validations without a better loss after which to end.
    pub patience: u64,
    /// A loss is better when it is lower by more than this.
    pub threshold: f64,
}

/// The set whose loss [`EarlyStopping`] watches.
pub const HELD_OUT: &str = "held_out";

/// What is known of the validations so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Best {
    /// Least loss, the update after which it was measured, and the validations since.
    pub(super) numbers: [f64; 3],
}

impl Default for Best {
    fn default() -> Self {
        Self {
            numbers: [f64::INFINITY, 0.0, 0.0],
        }
    }
}

impl Best {
    /// Whether this loss is the best so far.
    pub(super) fn improves(&mut self, step: u64, loss: f64, rule: EarlyStopping) -> bool {
        let [least, _, misses] = self.numbers;
        let better = loss < least - rule.threshold || least == f64::INFINITY;
        self.numbers = if better {
            [loss, step as f64, 0.0]
        } else {
            [least, self.numbers[1], misses + 1.0]
        };
        better
    }

    /// Whether to end now.
    pub(super) fn ends(&self, rule: Option<EarlyStopping>) -> bool {
        rule.is_some_and(|rule| self.numbers[2] >= rule.patience as f64)
    }

    /// The update of the best validation.
    pub(super) fn step(&self) -> u64 {
        self.numbers[1] as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_after_so_many_validations_that_are_no_better() {
        let rule = EarlyStopping {
            patience: 2,
            threshold: 0.1,
        };
        let mut best = Best::default();
        let losses = [(1.0, true), (0.95, false), (0.8, true), (0.75, false), (0.71, false)];
        for (step, (loss, better)) in losses.into_iter().enumerate() {
            assert!(!best.ends(Some(rule)) && !best.ends(None));
            assert_eq!(best.improves(step as u64, loss, rule), better, "{step}");
        }
        assert!(best.ends(Some(rule)));
        assert_eq!(best.step(), 2);
    }
}
