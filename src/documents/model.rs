//! An adapter as documents speak of it.

use std::collections::BTreeMap;

use super::Told;
use crate::digest::Sha256Digest;
use crate::receipt::{RunRecord, Sealed};

/// An adapter with what its header, its receipt and the record of its run say.
#[derive(Debug, Clone)]
pub struct Model {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its tensor region.
    pub tensors: Sha256Digest,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The entries of its header.
    pub header: BTreeMap<String, String>,
    /// Its receipt; the file was compared with it.
    pub sealed: Sealed,
    /// The record of its run, where it was found.
    pub record: Option<RunRecord>,
}

impl Model {
    /// The name for people.
    pub(super) fn title(&self) -> String {
        let said = self.entry("modelspec.title").or_else(|| self.entry("ss_output_name"));
        said.unwrap_or_else(|| format!("adapter {}", self.sha256.short()))
    }

    /// An entry of the header on one line, unless it is empty.
    pub(super) fn entry(&self, key: &str) -> Option<String> {
        let text = crate::snapshot::plain(self.header.get(key)?);
        (!text.is_empty() && text != "None").then_some(text)
    }

    /// The architecture of its base as the model spec names it, e.g. `stable-diffusion-v1`.
    pub(super) fn architecture(&self) -> Option<String> {
        let said = self.entry("modelspec.architecture")?;
        Some(said.trim_end_matches("/lora").to_string())
    }

    /// The licence that it is given under: as told, else as its header says.
    pub(super) fn license(&self, told: &Told) -> Option<String> {
        told.license.clone().or_else(|| self.entry("modelspec.license"))
    }

    /// What to call its base.
    pub(super) fn base_name(&self, told: &Told) -> String {
        let digest = self.sealed.receipt.claims.base;
        told.base
            .clone()
            .unwrap_or_else(|| format!("base model {}", digest.short()))
    }

    /// What the record measured, by name.
    pub(super) fn losses(&self) -> impl Iterator<Item = (&str, f64)> {
        let losses = self.record.iter().flat_map(|record| &record.losses);
        losses.map(|(name, value)| (name.as_str(), *value))
    }
}
