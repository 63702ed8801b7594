//! What is asked of the model.

use serde::{Deserialize, Serialize};

/// The section of the objective.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// γ of min-SNR weighting.
    #[serde(default)]
    pub min_snr_gamma: Option<f32>,
}

impl Target {
    pub(super) fn check(&self) -> Result<(), String> {
        self.min_snr_gamma
            .map_or(Ok(()), |gamma| super::positive("min_snr_gamma", f64::from(gamma)))
    }
}
