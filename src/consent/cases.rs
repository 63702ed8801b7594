//! Tables of cases: what a policy should say of evidence that is written in a few readable keys.
//!
//! ```toml
//! at = 2026-06-01T00:00:00Z      # when it is decided; this is the default
//! [[case]]
//! name = "a free licence, and an opt-out by the artist"
//! artist = "Mira Lund"           # or a list; also `title = "…"`
//! license = "CC0-1.0"            # or a list of texts and of { is, source }; `source` is "reuse" by default
//! ai_generated = false
//! doubts = []                    # what did not parse
//! signals = [{ says = "denied", purpose = "ai_training", authentication = "signed", read = 2026-01-01T00:00:00Z }]
//! ledger = [{ kind = "opt_out", about = "artist" }]
//! near = [{ distance = 9, denied_by = "opt_out" }]
//! mentions = ["Tove Ek"]         # artists who opted out, named in the caption
//! expect = "denied_by_artist"    # the reason code
//! obligations = []               # optional: what the decision obliges to
//! ```

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::decide::decide_for;
use super::decision::{Decision, ReasonCode};
use super::event::{Event, EventKind, Target};
use super::evidence::{Evidence, LedgerEntry, LicenseFact, Mention, Neighbour, Statement};
use super::policy::Policy;
use super::types::{Authentication, Obligation, Purpose, Scope, State};
use crate::digest::Sha256Digest;

/// More cases than this are refused.
const MAX_CASES: usize = 10_000;

/// A table of cases that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// The text is no table of cases.
    #[error("expected a table of cases, got an error at line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A value does not fit.
    #[error("in the case `{case}`: expected {expected}, got {found}")]
    Value {
        /// The name of the case.
        case: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// A case: the evidence, and what should come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// When it is decided.
    pub at: Timestamp,
    /// The purpose; none: the policy's.
    pub purpose: Option<Purpose>,
    /// What is known.
    pub evidence: Evidence,
    /// The reason that should be given.
    pub expected: ReasonCode,
    /// What it should oblige to, sorted; none: not asked.
    pub obligations: Option<Vec<Obligation>>,
}

impl Case {
    /// The decision of a policy on this case, and whether it is what was expected.
    pub fn run(&self, policy: &Policy) -> (Decision, bool) {
        let purpose = self.purpose.unwrap_or(policy.purpose);
        let decision = decide_for(&self.evidence, policy, purpose, self.at);
        let duties = self
            .obligations
            .as_ref()
            .is_none_or(|duties| *duties == decision.obligations);
        let as_expected = decision.reason_code == self.expected && duties;
        (decision, as_expected)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    at: Option<Instant>,
    #[serde(default)]
    case: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    at: Option<Instant>,
    purpose: Option<Purpose>,
    #[serde(default)]
    artist: OneOrMany<String>,
    title: Option<String>,
    #[serde(default)]
    license: OneOrMany<License>,
    #[serde(default)]
    ai_generated: bool,
    #[serde(default)]
    doubts: Vec<String>,
    #[serde(default)]
    signals: Vec<Signal>,
    #[serde(default)]
    ledger: Vec<Entry>,
    #[serde(default)]
    near: Vec<Near>,
    #[serde(default)]
    mentions: Vec<String>,
    expect: ReasonCode,
    obligations: Option<Vec<Obligation>>,
}

/// A date-time of TOML, or the same in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Literal(toml::value::Datetime),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum License {
    Text(String),
    From(Located),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Located {
    is: String,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    says: State,
    purpose: Option<Purpose>,
    #[serde(default = "unsigned")]
    authentication: Authentication,
    read: Option<Instant>,
    #[serde(default = "yes")]
    current: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    kind: EventKind,
    /// `image` (the picture itself), `artist` (its first), `source`, `collection` or `list`.
    #[serde(default = "image")]
    about: String,
    /// The name, address or collection, when it is another than the case's.
    value: Option<String>,
    #[serde(default)]
    purposes: Vec<Purpose>,
    licensee: Option<String>,
    scope: Option<Scope>,
    valid_from: Option<Instant>,
    until: Option<Instant>,
    at: Option<Instant>,
    revoked: Option<Instant>,
    #[serde(default)]
    evidence: bool,
    #[serde(default)]
    imported: bool,
    #[serde(default = "unsigned")]
    authentication: Authentication,
    #[serde(default)]
    matters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Near {
    distance: u32,
    #[serde(default)]
    doubtful: bool,
    /// `opt_out` or `signal`.
    denied_by: String,
    /// What the other picture is called in `matters`, as `near_duplicate:NAME`.
    #[serde(default = "other")]
    name: String,
}

fn unsigned() -> Authentication {
    Authentication::None
}
fn yes() -> bool {
    true
}
fn image() -> String {
    "image".to_string()
}
fn other() -> String {
    "other".to_string()
}

/// Reads a table of cases. Unknown keys are errors.
///
/// # Errors
/// If it does not parse, or a value does not fit; the case is named.
pub fn parse(text: &str) -> Result<Vec<Case>, CaseError> {
    let file: File = toml::from_str(text).map_err(|error| CaseError::Syntax {
        line: error.span().map_or(1, |span| {
            1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
        }),
        message: error.message().to_string(),
    })?;
    let value = |case: &str, expected: &str, found: String| CaseError::Value {
        case: case.to_string(),
        expected: expected.to_string(),
        found,
    };
    if file.case.is_empty() || file.case.len() > MAX_CASES {
        let expected = format!("1 to {MAX_CASES} tables `[[case]]`");
        return Err(value("(all)", &expected, file.case.len().to_string()));
    }
    let default = instant("(all)", file.at.as_ref())?.unwrap_or(usual_time());
    file.case.into_iter().map(|written| read(written, default)).collect()
}

/// 2026-06-01, where a file names no time.
fn usual_time() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_605)
}

fn instant(case: &str, written: Option<&Instant>) -> Result<Option<Timestamp>, CaseError> {
    let Some(written) = written else { return Ok(None) };
    let text = match written {
        Instant::Literal(value) => value.to_string(),
        Instant::Text(text) => text.clone(),
    };
    let whole = if text.len() == 10 {
        format!("{text}T00:00:00Z")
    } else {
        text.clone()
    };
    whole.parse().map(Some).map_err(|_| CaseError::Value {
        case: case.to_string(),
        expected: "a day or a time with its zone, as in 2026-06-01T00:00:00Z".to_string(),
        found: format!("`{text}`"),
    })
}

fn read(written: Written, at: Timestamp) -> Result<Case, CaseError> {
    let name = written.name;
    let at = instant(&name, written.at.as_ref())?.unwrap_or(at);
    let before = at - SignedDuration::from_hours(24);
    let this = Sha256Digest::of_bytes(b"the picture of a case");
    let artists = written.artist.into_vec();
    let mut statements = Vec::new();
    for signal in written.signals {
        statements.push(Statement {
            source: "signal".to_string(),
            raw: signal.says.to_string(),
            purpose: signal.purpose,
            state: signal.says,
            authentication: signal.authentication,
            holder: this,
            read_at: instant(&name, signal.read.as_ref())?.unwrap_or(before),
            current: signal.current,
        });
    }
    let mut ledger = Vec::new();
    for (place, entry) in written.ledger.into_iter().enumerate() {
        let seq = place as i64 + 1;
        let target = target(&name, &entry, this, artists.first())?;
        ledger.push(event(&name, seq, entry, target, before)?);
    }
    let mut neighbours = Vec::new();
    for near in written.near {
        neighbours.push(neighbour(&name, near, before)?);
    }
    let mut mentions = Vec::new();
    for artist in written.mentions {
        let target = Target::Artist(artist.clone());
        mentions.push(Mention {
            place: "caption".to_string(),
            name: artist,
            ledger: vec![opt_out(target, before)],
        });
    }
    let licenses = written.license.into_vec().into_iter().map(|license| match license {
        License::Text(expression) => LicenseFact {
            expression,
            source: "reuse".to_string(),
        },
        License::From(Located { is, source }) => LicenseFact { expression: is, source },
    });
    let mut obligations = written.obligations;
    obligations.iter_mut().for_each(|duties| duties.sort_unstable());
    Ok(Case {
        at,
        purpose: written.purpose,
        expected: written.expect,
        obligations,
        evidence: Evidence {
            statements,
            ledger,
            licenses: licenses.collect(),
            artists,
            title: written.title,
            mentions,
            ai_generated: written.ai_generated,
            needs_review: written.doubts,
            neighbours,
            ..Evidence::none(this)
        },
        name,
    })
}

fn target(case: &str, entry: &Entry, this: Sha256Digest, artist: Option<&String>) -> Result<Target, CaseError> {
    let value = entry.value.clone();
    Ok(match (entry.about.as_str(), value) {
        ("image", _) => Target::Image(this),
        ("artist", Some(name)) => Target::Artist(name),
        ("artist", None) => Target::Artist(artist.cloned().unwrap_or_else(|| "the artist".to_string())),
        ("source", value) => Target::Source(value.unwrap_or_else(|| "https://example.org/".to_string())),
        ("collection", value) => Target::Collection(value.unwrap_or_else(|| "the collection".to_string())),
        ("list", value) => Target::List(Sha256Digest::of_bytes(value.unwrap_or_default().as_bytes())),
        (other, _) => {
            return Err(CaseError::Value {
                case: case.to_string(),
                expected: "`about` to be image, artist, source, collection or list".to_string(),
                found: format!("`{other}`"),
            });
        }
    })
}

fn event(case: &str, seq: i64, entry: Entry, target: Target, before: Timestamp) -> Result<LedgerEntry, CaseError> {
    let matter = |matter: String| match matter.strip_prefix("near_duplicate:") {
        Some(name) => format!("near_duplicate:{}", digest_of(name)),
        None => matter,
    };
    let purposes = match entry.purposes.is_empty() {
        true => Purpose::ALL.to_vec(),
        false => entry.purposes,
    };
    let event = Event {
        at: instant(case, entry.at.as_ref())?.unwrap_or(before),
        purposes,
        licensee: entry.licensee,
        until: instant(case, entry.until.as_ref())?,
        evidence: entry.evidence.then(|| digest_of("evidence")),
        scope: entry.scope,
        valid_from: instant(case, entry.valid_from.as_ref())?,
        matters: entry.matters.into_iter().map(matter).collect(),
        imported: entry.imported,
        ..plain(entry.kind, target, before)
    };
    Ok(LedgerEntry {
        revoked_at: instant(case, entry.revoked.as_ref())?,
        authentication: entry.authentication,
        ..entry_of(seq, event)
    })
}

fn neighbour(case: &str, near: Near, before: Timestamp) -> Result<Neighbour, CaseError> {
    let other = digest_of(&near.name);
    let denial = Statement {
        source: "signal".to_string(),
        raw: "denied".to_string(),
        purpose: None,
        state: State::Denied,
        authentication: Authentication::None,
        holder: other,
        read_at: before,
        current: true,
    };
    let (statements, ledger) = match near.denied_by.as_str() {
        "signal" => (vec![denial], Vec::new()),
        "opt_out" => (Vec::new(), vec![opt_out(Target::Image(other), before)]),
        found => {
            return Err(CaseError::Value {
                case: case.to_string(),
                expected: "`denied_by` to be signal or opt_out".to_string(),
                found: format!("`{found}`"),
            });
        }
    };
    Ok(Neighbour {
        image: other,
        distance: near.distance,
        doubtful: near.doubtful,
        statements,
        ledger,
    })
}

fn digest_of(name: &str) -> Sha256Digest {
    Sha256Digest::of_bytes(name.as_bytes())
}

fn opt_out(target: Target, at: Timestamp) -> LedgerEntry {
    entry_of(1, plain(EventKind::OptOut, target, at))
}

/// An event that says no more than its kind and target, for every purpose.
fn plain(kind: EventKind, target: Target, at: Timestamp) -> Event {
    Event {
        at,
        kind,
        target: Some(target),
        aliases: Vec::new(),
        purposes: Purpose::ALL.to_vec(),
        licensee: None,
        until: None,
        evidence: None,
        note: None,
        revokes: None,
        scope: None,
        valid_from: None,
        matters: Vec::new(),
        issued: None,
        imported: false,
        signer: None,
    }
}

fn entry_of(seq: i64, event: Event) -> LedgerEntry {
    LedgerEntry {
        seq,
        hash: digest_of(&format!("event {seq}")),
        subject: event
            .target
            .as_ref()
            .map(Target::value)
            .unwrap_or_default()
            .to_lowercase(),
        event,
        revoked_at: None,
        authentication: Authentication::None,
    }
}
