//! Who vouches for a receipt: an in-toto statement with SLSA provenance, signed, in the header and beside the file.
//!
//! The statement says of the run what the receipt says, in the words of <https://slsa.dev/spec/v1.0/provenance>: who
//! built (the key), from what (base, snapshots, policy, configuration), under which settings, and the digests of what
//! came out. A file cannot hold its own digest, so the statement in the header is about tensors and header, and the one
//! beside the file about the file. Both follow from the receipt and the key alone: reading one is making it again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RECEIPT_LIMIT, Receipt, ReceiptError, Sealed};
use crate::adapter::Container;
use crate::digest::{Sha256Digest, canonical_json, write_atomic};
use crate::keys::{Envelope, PublicKey, STATEMENT_PAYLOAD_TYPE, SecretKey, Statement, Subject, SubjectDigest};

/// Header key of the signed statement.
pub const PROVENANCE_KEY: &str = "assent.provenance";
/// What the name of the file beside an adapter ends in: an in-toto bundle.
pub const PROVENANCE_EXTENSION: &str = "intoto.jsonl";

const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const BUILD: &str = "urn:assent:train:1";
/// What a builder is called: the public key behind it, in hexadecimal characters.
const BUILDER: &str = "urn:assent:ed25519:";

/// A statement on how an adapter came about.
pub type Provenance = Statement<Predicate>;

/// SLSA's provenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Predicate {
    /// What was asked for.
    pub build_definition: BuildDefinition,
    /// Who did it.
    pub run_details: RunDetails,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuildDefinition {
    /// `urn:assent:train:1`.
    pub build_type: String,
    /// What the user set.
    pub external_parameters: Parameters,
    /// Versions of what computed it.
    pub internal_parameters: BTreeMap<String, String>,
    /// Base, snapshots and policies, by their digests.
    pub resolved_dependencies: Vec<Resource>,
}

/// What the user set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parameters {
    /// Digest of the configuration.
    pub config: SubjectDigest,
    /// The seed.
    pub seed: u64,
    /// Optimizer steps done.
    pub steps: u64,
}

/// A thing by name and digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// What it is.
    pub name: String,
    /// Its digest.
    pub digest: SubjectDigest,
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunDetails {
    /// Whose key vouches for it.
    pub builder: Builder,
    /// Which run it was.
    pub metadata: Metadata,
    /// The receipt.
    pub byproducts: Vec<Resource>,
}

/// Whose key vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Builder {
    /// The key.
    pub id: String,
    /// The program and its version.
    pub version: BTreeMap<String, String>,
}

/// Which run it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// Identity of the run.
    pub invocation_id: Sha256Digest,
}

fn resource(name: impl Into<String>, sha256: Sha256Digest) -> Resource {
    Resource {
        name: name.into(),
        digest: SubjectDigest { sha256 },
    }
}

/// What a statement by this key about a receipt says; the first subject is named.
fn statement(sealed: &Sealed, (name, sha256): (&str, Sha256Digest), key: &PublicKey) -> Provenance {
    let Receipt {
        claims,
        tensors,
        header,
        ..
    } = &sealed.receipt;
    let mut dependencies = vec![resource("base", claims.base)];
    for set in claims.sets() {
        dependencies.push(resource(format!("snapshot ({})", set.role), set.snapshot));
        dependencies.push(resource("policy", set.policy));
    }
    dependencies.extend(
        claims
            .derived_from
            .map(|from| resource("tensors before conversion", from)),
    );
    let (program, version) = claims.program.split_once(' ').unwrap_or((claims.program.as_str(), ""));
    let predicate = Predicate {
        build_definition: BuildDefinition {
            build_type: BUILD.to_owned(),
            external_parameters: Parameters {
                config: SubjectDigest { sha256: claims.config },
                seed: claims.seed,
                steps: claims.steps,
            },
            internal_parameters: claims.versions.clone(),
            resolved_dependencies: dependencies,
        },
        run_details: RunDetails {
            builder: Builder {
                id: format!("{BUILDER}{}", hex::encode(key.as_bytes())),
                version: [(program.to_owned(), version.to_owned())].into(),
            },
            metadata: Metadata {
                invocation_id: claims.run,
            },
            byproducts: vec![resource("receipt", sealed.digest)],
        },
    };
    let mut statement = Statement::about(name, sha256, PREDICATE, predicate);
    let further = [("tensors", *tensors), ("header", *header)];
    statement.subject.extend(
        further
            .iter()
            .filter(|(other, _)| *other != name)
            .map(|(name, sha256)| Subject {
                name: (*name).to_owned(),
                digest: SubjectDigest { sha256: *sha256 },
            }),
    );
    statement
}

/// Puts a statement that the key signs into the header, in the place of any that is there. The receipt does not cover
/// it, so its digests stay.
pub fn sign(container: &mut Container, sealed: &Sealed, key: &SecretKey) -> Result<(), ReceiptError> {
    let about = ("tensors", sealed.receipt.tensors);
    let envelope = statement(sealed, about, &key.public()).sign(key)?;
    let text = String::from_utf8_lossy(&canonical_json(&envelope)?).into_owned();
    if text.len() > RECEIPT_LIMIT {
        return Err(ReceiptError::TooLong { found: text.len() });
    }
    container.metadata.insert(PROVENANCE_KEY.into(), text);
    Ok(())
}

/// The bundle beside an adapter's file with this name and digest: one envelope on a line.
pub fn bundle(sealed: &Sealed, name: &str, file: Sha256Digest, key: &SecretKey) -> Result<Vec<u8>, ReceiptError> {
    let mut bytes = canonical_json(&statement(sealed, (name, file), &key.public()).sign(key)?)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Where the bundle of an adapter lies.
pub fn bundle_path(adapter: &Path) -> PathBuf {
    let mut name = OsString::from(adapter);
    name.push(".");
    name.push(PROVENANCE_EXTENSION);
    name.into()
}

/// Lays a bundle beside the adapter's file, or, where nobody signs, takes away the one of an earlier file of that name: it
/// would speak of other bytes.
///
/// # Errors
/// If it cannot be written or removed.
pub fn lay_beside(adapter: &Path, bundle: Option<&[u8]>) -> io::Result<()> {
    let beside = bundle_path(adapter);
    match bundle {
        Some(bytes) => write_atomic(&beside, bytes),
        None => match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
    }
}

/// The key that signed the statement in a header; none when there is no statement.
///
/// # Errors
/// A sentence that says why the statement shows nothing. That the receipt fits the file is not looked at here.
pub fn signer(container: &Container, sealed: &Sealed) -> Option<Result<PublicKey, String>> {
    let text = container.metadata.get(PROVENANCE_KEY)?;
    Some(check(text.as_bytes(), sealed, ("tensors", sealed.receipt.tensors)))
}

/// The key that signed the bundle beside a file with this digest, under whatever name the file had.
///
/// # Errors
/// As [`signer`].
pub fn bundle_signer(bytes: &[u8], sealed: &Sealed, file: Sha256Digest) -> Result<PublicKey, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let envelope = parse(line)?;
    let named: Provenance = Statement::read(&envelope.payload, PREDICATE)?;
    let (name, found) = named
        .first()
        .ok_or("expected a statement about the file, got one about nothing")?;
    if found != file {
        return Err(format!("it is about another file: expected {file}, got {found}"));
    }
    check(line, sealed, (name, file))
}

fn parse(json: &[u8]) -> Result<Envelope, String> {
    match json.len() > RECEIPT_LIMIT {
        true => Err(format!("expected at most {RECEIPT_LIMIT} bytes, got {}", json.len())),
        false => Envelope::parse(json).map_err(|error| error.to_string()),
    }
}

fn check(json: &[u8], sealed: &Sealed, about: (&str, Sha256Digest)) -> Result<PublicKey, String> {
    let envelope = parse(json)?;
    let found: Provenance = Statement::read(&envelope.payload, PREDICATE)?;
    let id = found.predicate.run_details.builder.id.strip_prefix(BUILDER);
    let mut bytes = [0; 32];
    let key = id.filter(|id| hex::decode_to_slice(id, &mut bytes).is_ok());
    let key = key.and_then(|_| PublicKey::from_bytes(&bytes).ok());
    let key = key.ok_or_else(|| format!("expected a builder `{BUILDER}` and a public key, got another"))?;
    envelope
        .verify(STATEMENT_PAYLOAD_TYPE, &key)
        .map_err(|error| error.to_string())?;
    match found == statement(sealed, about, &key) {
        true => Ok(key),
        false => Err("it is about another receipt than the one in the header".to_owned()),
    }
}
