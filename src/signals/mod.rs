//! Bytes and sidecars of one picture → what they say: claims about consent, the artist, the licence, whether a
//! machine made it.
//!
//! Pure reading: no SQL, no network, no clock, and no decision. A claim is what somebody said, with the raw text and
//! the digest of what held it; `consent` weighs it. Everything here comes from strangers, so every reader has limits
//! on sizes and depths, and what does not parse becomes a line in [`Metadata::needs_review`], never a grant.

mod claims;
mod container;
mod exif;
mod facts;
mod generated;
mod iptc;
mod license;
pub mod licensing;
mod manifest;
mod read;
pub mod site;
mod svg;
#[cfg(test)]
mod tests;
mod trust;
mod words;
mod xmp;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::consent::Authentication;
use crate::consent::{Purpose, State};
use crate::digest::Sha256Digest;

pub use license::expression;
pub use read::{Sources, read};
pub use trust::{Trust, TrustError};
pub use words::{Words, words};
pub use xmp::{LABEL_NAMESPACE, Property};

/// What kind of statement a claim was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalSource {
    /// The IPTC/PLUS `DataMining` property in XMP.
    IptcDataMining,
    /// `tdm:reservation` and `tdm:policy` in XMP.
    TdmRepXmp,
    /// `tdmrep.json` of a site snapshot.
    TdmRepFile,
    /// The `tdm-reservation` response header.
    TdmRepHeader,
    /// The `c2pa.training-mining` or `cawg.training-mining` assertion.
    C2paTrainingMining,
    /// `Content-Usage`, as a header or a line of `robots.txt`.
    Aipref,
    /// `Content-Signal` of `robots.txt`.
    ContentSignal,
    /// `noai`, `noimageai` or `noml`.
    NoAi,
    /// Spawning's `ai.txt`.
    AiTxt,
    /// Really Simple Licensing.
    Rsl,
    /// `tdm-reservation` in a `<meta>` of a page.
    TdmRepHtml,
    /// Crawlers of AI companies are turned away in `robots.txt`: a fact, never a state.
    RobotsTxt,
}

impl SignalSource {
    /// Every source, in order.
    pub const ALL: [SignalSource; 12] = [
        SignalSource::IptcDataMining,
        SignalSource::TdmRepXmp,
        SignalSource::TdmRepFile,
        SignalSource::TdmRepHeader,
        SignalSource::C2paTrainingMining,
        SignalSource::Aipref,
        SignalSource::ContentSignal,
        SignalSource::NoAi,
        SignalSource::AiTxt,
        SignalSource::Rsl,
        SignalSource::TdmRepHtml,
        SignalSource::RobotsTxt,
    ];

    /// The stable name that files and the registry hold.
    pub fn as_str(self) -> &'static str {
        match self {
            SignalSource::IptcDataMining => "iptc_data_mining",
            SignalSource::TdmRepXmp => "tdm_rep_xmp",
            SignalSource::TdmRepFile => "tdm_rep_file",
            SignalSource::TdmRepHeader => "tdm_rep_header",
            SignalSource::C2paTrainingMining => "c2pa_training_mining",
            SignalSource::Aipref => "aipref",
            SignalSource::ContentSignal => "content_signal",
            SignalSource::NoAi => "no_ai",
            SignalSource::AiTxt => "ai_txt",
            SignalSource::Rsl => "rsl",
            SignalSource::TdmRepHtml => "tdm_rep_html",
            SignalSource::RobotsTxt => "robots_txt",
        }
    }

    /// The source of this stable name.
    pub fn parse(name: &str) -> Option<SignalSource> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

impl fmt::Display for SignalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One machine-readable statement about one purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What kind of statement it is.
    pub source: SignalSource,
    /// The statement as it stood there.
    pub raw: String,
    /// The purpose it speaks about; `None` when it speaks about all.
    pub purpose: Option<Purpose>,
    /// What it says.
    pub state: State,
    /// How far its origin is proven.
    pub authenticated: Authentication,
    /// Digest of what held it: the picture's bytes, or the sidecar's.
    pub holder: Sha256Digest,
}

/// Everything that was read about one picture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// What it says about consent, in the order it was found.
    pub claims: Vec<Claim>,
    /// Who made it, in the order it was found: REUSE, XMP, EXIF, IPTC, text chunks.
    pub artists: Vec<String>,
    /// Its licences as SPDX expressions, each with what it was read from (`reuse`, `xmp`, `exif`, `iptc`,
    /// `text`, `c2pa`, `svg`).
    pub licenses: Vec<(String, String)>,
    /// Copyright notices as they stand in licence files.
    pub notices: Vec<String>,
    /// The title it carries, if any.
    pub title: Option<String>,
    /// The caption of its sidecar, if any.
    pub caption: Option<String>,
    /// Whether it says that a machine made it.
    pub ai_generated: bool,
    /// Why a person should look at it: signals that do not parse, or contradict each other.
    pub needs_review: Vec<String>,
}
