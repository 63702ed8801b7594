//! The adapter file by itself: what its own receipt can prove, without any registry.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::finding::{Code, Finding};
use super::lines::{AdapterLine, BaseLine, RunLine, SignedLine};
use super::report::Report;
use crate::adapter::{AdapterError, Container, Derived};
use crate::digest::Sha256Digest;
use crate::keys::PublicKey;
use crate::receipt::{self, Change, RECEIPT_LIMIT, Sealed};
use crate::registry::AdapterRow;

/// How many sources of a derived adapter are named.
const SHOWN: usize = 8;

/// What is known of the file after looking at it alone.
pub(super) struct Opened {
    /// How findings name it.
    pub subject: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// SHA-256 of the tensor region, when it parses.
    pub tensors: Option<Sha256Digest>,
    /// The receipt, when there is one that parses.
    pub sealed: Option<Sealed>,
    /// What it says that it was computed from, where it has no receipt of its own.
    pub derived: Option<Derived>,
    /// The key whose signature of the receipt verifies.
    pub signer: Option<PublicKey>,
}

impl Opened {
    /// What the registry recorded, where the file itself cannot be asked.
    pub(super) fn recorded(row: &AdapterRow) -> Self {
        Opened {
            subject: format!("adapter:{}", row.sha256),
            sha256: row.sha256,
            tensors: Some(row.tensors),
            sealed: None,
            derived: None,
            signer: None,
        }
    }
}

/// Reads the file and fills in what it says of itself. A file that is there and does not parse is a finding; one that
/// cannot be read is an error.
pub(super) fn look(path: &Path, report: &mut Report) -> Result<Opened, AdapterError> {
    let io = |source| AdapterError::Io {
        path: path.display().to_string(),
        source,
    };
    let sha256 = Sha256Digest::of_file(path).map_err(io)?;
    let subject = format!("adapter:{sha256}");
    let mut opened = Opened {
        subject: subject.clone(),
        sha256,
        tensors: None,
        sealed: None,
        derived: None,
        signer: None,
    };
    let mut found = |code, explanation: String| report.findings.push(Finding::new(code, &subject, explanation));
    let container = match Container::read(path) {
        Ok(container) => Some(container),
        Err(error @ AdapterError::Io { .. }) => return Err(error),
        Err(error) => {
            found(Code::AdapterMalformed, error.to_string());
            None
        }
    };
    let mut beside = false;
    if let Some(container) = &container {
        opened.tensors = Some(container.tensor_digest());
        match receipt::open(container) {
            Ok(None) => match Derived::of_header(&container.metadata).filter(|d| !d.from.is_empty()) {
                Some(derived) => {
                    found(Code::DerivedAdapter, computed(&derived));
                    opened.derived = Some(derived);
                }
                None => found(
                    Code::ReceiptMissing,
                    "the header carries no receipt, so nothing says what trained it".into(),
                ),
            },
            Err(error) => found(Code::ReceiptChanged, error.to_string()),
            Ok(Some(sealed)) => {
                match receipt::changes(container, &sealed) {
                    Ok(changes) => changes.into_iter().for_each(|change| {
                        let (code, what) = explain(change);
                        found(code, what.into());
                    }),
                    Err(error) => found(Code::ReceiptChanged, error.to_string()),
                }
                match signer(path, container, &sealed, sha256) {
                    Ok((signer, covers_file)) => {
                        opened.signer = signer;
                        beside = covers_file;
                    }
                    Err(problem) => found(Code::SignatureInvalid, problem),
                }
                opened.sealed = Some(sealed);
            }
        }
    }
    let covers = beside.then_some("file");
    let signed = opened.signer.map(|_| SignedLine {
        known: false,
        name: None,
        covers: ["receipt", "tensors", "header"].into_iter().chain(covers).collect(),
    });
    report.adapter = Some(AdapterLine {
        sha256,
        tensor_sha256: opened.tensors,
        receipt_sha256: opened.sealed.as_ref().map(|s| s.digest),
        derived_from: opened.sealed.as_ref().and_then(|s| s.receipt.claims.derived_from),
        sources: Vec::new(),
        signer: opened.signer.map(|key| key.id()),
        signed,
    });
    if let Some(sealed) = &opened.sealed {
        claims(sealed, report);
    }
    Ok(opened)
}

/// The key that signed the receipt, in the header and in a bundle that may lie beside the file, and whether there is
/// such a bundle.
fn signer(
    path: &Path,
    container: &Container,
    sealed: &Sealed,
    sha256: Sha256Digest,
) -> Result<(Option<PublicKey>, bool), String> {
    let inside = receipt::signer(container, sealed).transpose();
    let inside = inside.map_err(|problem| format!("the signature in the header shows nothing: {problem}"))?;
    let bundle = receipt::bundle_path(path);
    let mut bytes = Vec::new();
    // One byte more than is read as a bundle, which then refuses it.
    let read = File::open(&bundle).and_then(|file| file.take(RECEIPT_LIMIT as u64 + 1).read_to_end(&mut bytes));
    let beside = match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((inside, false)),
        Err(error) => Err(error.to_string()),
        Ok(_) => receipt::bundle_signer(&bytes, sealed, sha256),
    };
    let beside = beside.map_err(|problem| format!("the statement beside the file shows nothing: {problem}"))?;
    match inside {
        Some(inside) if inside != beside => Err("header and statement beside the file are signed by two keys".into()),
        _ => Ok((Some(beside), true)),
    }
}

/// What a file without a receipt says of where it comes from.
fn computed(derived: &Derived) -> String {
    let sources: Vec<String> = derived.from.iter().take(SHOWN).map(|s| s.sha256.short()).collect();
    let more = if derived.from.len() > SHOWN { ", …" } else { "" };
    format!(
        "it has no receipt of its own: the header says that it was made, by {}, from {}{more}, and nothing in the file \
         proves it; their receipts say what trained them",
        derived.by(),
        sources.join(", ")
    )
}

fn explain(change: Change) -> (Code, &'static str) {
    match change {
        Change::Tensors => (
            Code::TensorsChanged,
            "the weights are not those that the receipt was made for",
        ),
        Change::Header => (
            Code::HeaderChanged,
            "the header is not the one that the receipt was made for",
        ),
        Change::Receipt => (
            Code::ReceiptChanged,
            "the receipt is not the one whose digest stands beside it",
        ),
    }
}

/// What the receipt claims, until the registry confirms it.
fn claims(sealed: &Sealed, report: &mut Report) {
    let c = &sealed.receipt.claims;
    report.base = Some(BaseLine {
        sha256: c.base,
        files: Default::default(),
    });
    report.run = Some(RunLine {
        id: c.run,
        steps: c.steps,
        seed: c.seed,
        program: c.program.clone(),
        finished_at: None,
        settings: c.settings.clone(),
        measured: None,
    });
    for set in c.sets() {
        report.set_line(set);
    }
}
