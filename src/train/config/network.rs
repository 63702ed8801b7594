//! The adapter's form.

use serde::{Deserialize, Serialize};

use super::positive;

/// The section of the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Rank.
    pub network_dim: usize,
    /// Alpha; the update is scaled by alpha / rank.
    pub network_alpha: f64,
}

impl Network {
    pub(super) fn check(&self) -> Result<(), String> {
        positive("network_dim", self.network_dim as f64)?;
        positive("network_alpha", self.network_alpha)
    }
}
