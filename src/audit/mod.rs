//! Which images trained an adapter, under which consent, and what has changed since.
//!
//! The way goes adapter file → header and receipt → run → each snapshot → each image's consent then and now. Every link is
//! recomputed; what does not hold is a [`Finding`] with a stable code, and what could not be checked is said. A broken
//! link (a changed byte in tensors, header or registry) makes the verdict `invalid`.
//!
//! A picture leads there too: its label names the adapter. Where that is a stranger's word, the report says so.
//!
//! Reads files and the registry, changes neither, never touches tensors as numbers. Makes [`Report`]s; [`html`] turns
//! one into a self-contained page.

mod adapter;
mod composition;
mod derived;
mod file;
mod finding;
pub mod html;
mod image;
mod lines;
mod measured;
mod members;
mod picture;
mod report;
mod shares;
mod superseded;
mod thumbnails;
mod timeline;
mod times;
mod trust;

pub use adapter::{audit_adapter, audit_recorded, audit_signed};
pub use composition::{CompositionReport, ShardReport, audit_composition};
pub use finding::{Code, Finding, Severity};
pub use image::{audit_image, downstream};
pub use lines::{
    AdapterLine, BaseLine, Downstream, ExcludedLine, ImageLine, PictureLine, Place, RunLine, SignatureLine, SignedLine,
    SnapshotLine, SourceLine,
};
pub use measured::{ArtistTest, COPIED, Gain, Group, Likeness, Measured, SIGNIFICANT, Separation};
pub use picture::audit_picture;
pub use report::{Report, Verdict};
pub use shares::Share;
pub use superseded::SupersededLine;
pub use thumbnails::{Thumb, Thumbnails};
pub use timeline::{LogLine, Moment, MomentKind};

use crate::registry::RegistryError;
use crate::snapshot::SnapshotError;

/// Why an audit could not run at all. What it finds wrong is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file could not be read.
    #[error(transparent)]
    Adapter(#[from] crate::adapter::AdapterError),
    /// A snapshot could not be read.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::SnapshotError),
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// A manifest of shards could not be read.
    #[error(transparent)]
    Composition(#[from] crate::receipt::ReceiptError),
}

impl AuditError {
    /// What is wrong with the registry itself, where that is why: a finding, not an error.
    fn damage(&self) -> Option<&RegistryError> {
        match self {
            AuditError::Registry(error) | AuditError::Snapshot(SnapshotError::Registry(error)) => {
                matches!(error, RegistryError::Damaged { .. } | RegistryError::Sqlite(_)).then_some(error)
            }
            _ => None,
        }
    }
}
