//! The sets that a run trains on, each verified.

use std::collections::BTreeMap;

use super::config::AdapterConfig;
use super::error::TrainError;
use crate::consent::{Obligation, Use};
use crate::snapshot::{Role, VerifiedSnapshot};

/// A verified snapshot, and what its pictures are for.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSet<'a> {
    /// What for.
    pub role: Role,
    /// The snapshot.
    pub snapshot: &'a VerifiedSnapshot,
}

/// Refuses a commercial run on pictures that oblige to non-commercial use, in whichever of its sets.
///
/// # Errors
/// If the configuration is for commercial use and any member is not.
pub fn check_use(config: &AdapterConfig, sets: &[TrainingSet<'_>]) -> Result<(), TrainError> {
    if config.run.usage != Some(Use::Commercial) {
        return Ok(());
    }
    let mut members = BTreeMap::new();
    for member in sets.iter().flat_map(|set| set.snapshot.members()) {
        *members.entry(member.image).or_insert(false) |= member.obligations.contains(&Obligation::NonCommercial);
    }
    let mut bound = members.iter().filter(|(_, bound)| **bound).map(|(image, _)| image);
    match bound.next() {
        None => Ok(()),
        Some(first) => Err(TrainError::NotForCommercialUse {
            count: 1 + bound.count(),
            members: members.len(),
            first: first.short(),
        }),
    }
}
