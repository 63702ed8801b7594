//! Policies: what a project accepts, in TOML that a lawyer can read. A policy can only refuse more than the rules in
//! `decide` do, or say what it accepts as permission; none can switch a denial off.
//!
//! ```toml
//! name = "open-licences"
//! purpose = "ai_generative_training"   # or `purposes = [..]`; one is decided on at a time
//! use = "commercial"         # what is made of it: "personal", "commercial" or "research"
//! jurisdiction = "Germany"   # a note for people
//! valid_from = 2026-01-01    # the days on which the policy itself holds
//! valid_until = 2027-12-31
//! unspecified = "refuse"     # or "accept", and then `basis = "…"` says on what ground
//! [refuse]
//! ai_generated = true        # pictures that say a machine made them
//! needs_review = true        # pictures with a signal that did not parse, or near to a denied one
//! names_opted_out_artist = true  # pictures whose caption names an artist who opted out
//! duplicates = true          # a second file with the same pixels, in a snapshot
//! without_caption = false    # pictures without a caption, in a snapshot
//! [grants]
//! ledger = true              # grants in the ledger
//! proof = ["own", "signed", "trusted"]  # … recorded here, signed, or signed by a trusted key
//! licensees = []             # … to these; empty: to anybody
//! evidence = false           # … only with the document that proves them
//! signals = ["signed", "trusted"]  # how a grant in a file must be authenticated; empty: none counts
//! max_age_days = 365         # … and how long ago it may have been read
//! [licenses]
//! sources = []               # where a licence must stand (`reuse`, `xmp`, `debian`, …); empty: anywhere
//! [licenses.accept]          # SPDX identifier = what it obliges to
//! "CC0-1.0" = []
//! "CC-BY-4.0" = ["attribution"]
//! [attribution]              # refuse what must be attributed and cannot be
//! require_author = true
//! require_title = false
//! [own]
//! artists = []               # whose works need no permission: the user's
//! [exception]                # a statutory exception as the basis; never for commercial use
//! law = "Directive (EU) 2019/790"
//! article = "Art. 3"
//! purposes = ["data_mining"]
//! duty = ["attribution"]
//! non_commercial = true
//! ```

mod deciding;
mod section;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Serialize;
use spdx::Licensee;

use self::section::{Lines, Section};
use super::types::{Authentication, GrantProof, Obligation, Purpose, Use, words};
use crate::digest::Sha256Digest;

/// More entries than this are refused: the search for the least set of licences doubles with each.
const MAX_LICENSES: usize = 20;

/// A policy that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is no TOML.
    #[error("expected TOML, got an error at line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key is missing or holds something else.
    #[error("at `{key}`{}: expected {expected}, got {found}", .line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Key {
        /// The key with the tables it is in.
        key: String,
        /// Its line, from 1; none when it is not there.
        line: Option<usize>,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// An accepted licence with what it obliges to.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedLicense {
    /// The licence.
    pub license: Licensee,
    /// Its identifier as the policy writes it.
    pub id: String,
    /// What it obliges to, sorted.
    pub obligations: Vec<Obligation>,
}

/// A statutory exception as the basis of a use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The law.
    pub law: String,
    /// The article.
    pub article: String,
    /// The purposes it covers.
    pub purposes: Vec<Purpose>,
    /// What it obliges to, sorted: always `non_commercial`.
    pub obligations: Vec<Obligation>,
}

impl Exception {
    /// The article and its law, as decisions and receipts name it.
    pub fn citation(&self) -> String {
        format!("{}, {}", self.law, self.article)
    }
}

/// A line of a policy's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyLine {
    /// Its number, from 1; none when the file does not say and the default holds.
    pub line: Option<usize>,
    /// The line, without the space around it and without its comment; or the default, in the same form.
    pub text: String,
}

words! {
    /// What a policy makes of pictures of which nobody said anything and that carry no licence.
    Silence, "what to do with them", {
        /// They are refused.
        Refuse = "refuse",
        /// They are allowed, on a basis that the policy names.
        Accept = "accept",
    }
}

/// What a project accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it is for, for people.
    pub description: String,
    /// The purpose that is decided on: the first of `purposes`, unless another of them was chosen.
    pub purpose: Purpose,
    /// The purposes it speaks of.
    pub purposes: Vec<Purpose>,
    /// What is made with the result; none: not said, and then no grant is too narrow.
    pub usage: Option<Use>,
    /// The law it was written for, for people.
    pub jurisdiction: Option<String>,
    /// When it begins to hold.
    pub valid_from: Option<Timestamp>,
    /// When it ends.
    pub valid_until: Option<Timestamp>,
    /// The ground on which pictures are allowed that nobody said anything about; none: they are refused.
    pub silence_basis: Option<String>,
    /// Refuse pictures that say a machine made them.
    pub refuse_ai_generated: bool,
    /// Refuse pictures that a person should look at first.
    pub refuse_needs_review: bool,
    /// Refuse pictures whose caption names an artist who opted out.
    pub refuse_names: bool,
    /// Refuse a second file with the same pixels, in a snapshot.
    pub refuse_duplicates: bool,
    /// Refuse pictures without a caption, in a snapshot.
    pub refuse_without_caption: bool,
    /// Accept grants of the ledger.
    pub ledger_grants: bool,
    /// … with one of these proofs of who gave them.
    pub grant_proof: Vec<GrantProof>,
    /// … only to these; empty: to anybody.
    pub licensees: Vec<String>,
    /// … only with the document that proves them.
    pub grant_evidence: bool,
    /// How a grant found with the picture must be authenticated.
    pub signal_grants: Vec<Authentication>,
    /// How many days ago such a grant may have been read first.
    pub max_age_days: Option<u32>,
    /// Licences that suffice, those with the fewest obligations first.
    pub licenses: Vec<AcceptedLicense>,
    /// Where a licence must stand; empty: anywhere.
    pub license_sources: Vec<String>,
    /// Refuse what must be attributed and has no author.
    pub require_author: bool,
    /// Refuse what must be attributed and has no title.
    pub require_title: bool,
    /// Artists whose works need no permission: the user's own.
    pub own_artists: Vec<String>,
    /// A statutory exception that clears what nobody denied.
    pub exception: Option<Exception>,
    /// The text it was read from.
    pub text: String,
    /// Where each key stands in the text.
    pub(in crate::consent) lines: Lines,
}

impl Policy {
    /// Digest of the text: what a decision names as its policy.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(self.text.as_bytes())
    }

    /// Reads a policy. Unknown keys are errors: a misspelt refusal would otherwise allow.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let (table, lines) = section::parse(text)?;
        let top = Section::top(text, table.get_ref(), &lines);
        top.only(&[
            "name",
            "description",
            "purpose",
            "purposes",
            "use",
            "jurisdiction",
            "valid_from",
            "valid_until",
            "unspecified",
            "basis",
            "refuse",
            "grants",
            "licenses",
            "attribution",
            "own",
            "exception",
        ])?;
        let refuse = top.section("refuse")?;
        refuse.only(&[
            "ai_generated",
            "needs_review",
            "duplicates",
            "without_caption",
            "names_opted_out_artist",
        ])?;
        let grants = top.section("grants")?;
        grants.only(&["ledger", "licensees", "signals", "proof", "evidence", "max_age_days"])?;
        let licenses = top.section("licenses")?;
        licenses.only(&["accept", "sources"])?;
        let attribution = top.section("attribution")?;
        attribution.only(&["require_author", "require_title"])?;
        let own = top.section("own")?;
        own.only(&["artists"])?;
        let purposes = purposes(&top)?;
        let usage = top.word("use")?;
        let proof = grants.words("proof")?;
        Ok(Policy {
            name: top
                .text("name")?
                .ok_or_else(|| top.missing("name", "a name in quotes"))?,
            description: top.text("description")?.unwrap_or_default(),
            purpose: purposes.first().copied().unwrap_or(Purpose::AiGenerativeTraining),
            purposes,
            usage,
            jurisdiction: top.text("jurisdiction")?,
            valid_from: top.instant("valid_from", false)?,
            valid_until: top.instant("valid_until", true)?,
            silence_basis: silence(&top)?,
            refuse_ai_generated: refuse.flag("ai_generated", true)?,
            refuse_needs_review: refuse.flag("needs_review", true)?,
            refuse_names: refuse.flag("names_opted_out_artist", true)?,
            refuse_duplicates: refuse.flag("duplicates", true)?,
            refuse_without_caption: refuse.flag("without_caption", false)?,
            ledger_grants: grants.flag("ledger", true)?,
            grant_proof: if proof.is_empty() {
                GrantProof::ALL.to_vec()
            } else {
                proof
            },
            licensees: grants.texts("licensees")?,
            grant_evidence: grants.flag("evidence", false)?,
            signal_grants: grants.words("signals")?,
            max_age_days: grants.days("max_age_days")?,
            licenses: accepted(&licenses.section("accept")?)?,
            license_sources: licenses.texts("sources")?,
            require_author: attribution.flag("require_author", false)?,
            require_title: attribution.flag("require_title", false)?,
            own_artists: own.texts("artists")?,
            exception: exception(&top.section("exception")?, usage)?,
            text: text.to_string(),
            lines,
        })
    }

    /// The same policy, deciding on another of its purposes.
    ///
    /// # Errors
    /// If it does not speak of that purpose.
    pub fn for_purpose(mut self, purpose: Purpose) -> Result<Policy, PolicyError> {
        if !self.purposes.contains(&purpose) {
            let spoken: Vec<_> = self.purposes.iter().map(|purpose| purpose.as_str()).collect();
            let key = if self.lines.contains_key("purposes") {
                "purposes"
            } else {
                "purpose"
            };
            return Err(PolicyError::Key {
                key: key.to_string(),
                line: self.lines.get(key).copied(),
                expected: format!("`{purpose}` among the purposes of the policy `{}`", self.name),
                found: spoken.join(", "),
            });
        }
        self.purpose = purpose;
        Ok(self)
    }

    /// The same policy with these artists in `own.artists`, which its text then names too.
    ///
    /// # Errors
    /// If it has no `own.artists` to write them in.
    pub fn with_own(self, artists: &[String]) -> Result<Policy, PolicyError> {
        let place = {
            let (table, lines) = section::parse(&self.text)?;
            let top = Section::top(&self.text, table.get_ref(), &lines);
            let own = top.section("own")?;
            own.span("artists")
                .ok_or_else(|| own.missing("artists", "a list of names"))?
        };
        let mut names = self.own_artists.clone();
        names.extend(artists.iter().cloned());
        names.sort();
        names.dedup();
        let list = toml::Value::Array(names.into_iter().map(toml::Value::String).collect());
        let mut text = self.text.clone();
        text.replace_range(place, &list.to_string());
        Policy::parse(&text)?.for_purpose(self.purpose)
    }

    /// The line of a key (`refuse.ai_generated`), if the file holds it.
    pub fn line(&self, key: &str) -> Option<PolicyLine> {
        let line = *self.lines.get(key)?;
        let text = self.text.lines().nth(line - 1)?.trim();
        Some(PolicyLine {
            line: Some(line),
            text: without_comment(text).trim_end().to_string(),
        })
    }
}

/// A line of TOML without the comment at its end.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return &line[..at],
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

fn purposes(top: &Section<'_>) -> Result<Vec<Purpose>, PolicyError> {
    let one: Option<Purpose> = top.word("purpose")?;
    let mut several = Vec::new();
    for purpose in top.words("purposes")? {
        if !several.contains(&purpose) {
            several.push(purpose);
        }
    }
    match (one, several.is_empty()) {
        (Some(_), false) => Err(top.error("purposes", "either `purpose` or `purposes`", "both")),
        (Some(one), true) => Ok(vec![one]),
        (None, false) => Ok(several),
        (None, true) => Err(top.missing("purpose", "a purpose, as in `\"ai_generative_training\"`")),
    }
}

/// The basis on which silence is taken for permission, if it is.
fn silence(top: &Section<'_>) -> Result<Option<String>, PolicyError> {
    let silence = top.word("unspecified")?.unwrap_or(Silence::Refuse);
    match (silence, top.text("basis")?) {
        (Silence::Accept, Some(basis)) => Ok(Some(basis)),
        (Silence::Accept, None) => Err(top.missing(
            "basis",
            "the ground on which `unspecified = \"accept\"` rests, in a sentence",
        )),
        (Silence::Refuse, None) => Ok(None),
        (Silence::Refuse, Some(_)) => {
            Err(top.error("basis", "none, or `unspecified = \"accept\"`", "a basis for nothing"))
        }
    }
}

fn exception(section: &Section<'_>, usage: Option<Use>) -> Result<Option<Exception>, PolicyError> {
    if !section.is_there() {
        return Ok(None);
    }
    section.only(&["law", "article", "purposes", "duty", "non_commercial"])?;
    let text = |key, expected| section.text(key)?.ok_or_else(|| section.missing(key, expected));
    match usage {
        Some(Use::Personal | Use::Research) => {}
        other => {
            let found = other.map_or("nothing".to_string(), |usage| format!("`use = \"{usage}\"`"));
            let expected =
                "`use = \"research\"` or `use = \"personal\"` at the top: nothing commercial passes an exception";
            return Err(section.error_here(expected, found));
        }
    }
    if !section.flag("non_commercial", true)? {
        return Err(section.error(
            "non_commercial",
            "true: nothing commercial passes an exception",
            "false",
        ));
    }
    let mut obligations: Vec<Obligation> = section.words("duty")?;
    if !obligations.contains(&Obligation::Attribution) {
        return Err(section.error("duty", "a list with \"attribution\": author and work are named", "none"));
    }
    obligations.push(Obligation::NonCommercial);
    obligations.sort_unstable();
    obligations.dedup();
    let purposes: Vec<Purpose> = section.words("purposes")?;
    if purposes.is_empty() {
        return Err(section.missing("purposes", "a list of the purposes that the exception covers"));
    }
    Ok(Some(Exception {
        law: text("law", "the law, in quotes")?,
        article: text("article", "the article, in quotes")?,
        purposes,
        obligations,
    }))
}

/// The licences of the table, those with the fewest obligations first, so that a choice between two falls on it.
fn accepted(section: &Section<'_>) -> Result<Vec<AcceptedLicense>, PolicyError> {
    let mut accepted = Vec::new();
    for name in section.keys() {
        let license = Licensee::parse(name).map_err(|error| {
            let found = format!("`{name}` ({})", error.reason);
            section.error(name, "one SPDX identifier, as in `CC0-1.0`", found)
        })?;
        let mut obligations = section.words(name)?;
        obligations.extend(inherent(name));
        obligations.sort_unstable();
        obligations.dedup();
        let id = name.to_string();
        accepted.push(AcceptedLicense {
            license,
            id,
            obligations,
        });
    }
    if accepted.len() > MAX_LICENSES {
        let (expected, found) = (format!("at most {MAX_LICENSES} licences"), accepted.len().to_string());
        return Err(section.error_here(expected, found));
    }
    accepted.sort_by_key(|license| license.obligations.len());
    Ok(accepted)
}

/// What a Creative Commons licence obliges to by its name, whatever a policy forgets to list.
fn inherent(id: &str) -> Vec<Obligation> {
    let Some(parts) = id.strip_prefix("CC-") else {
        return Vec::new();
    };
    let named = parts.split('-').filter_map(|part| match part {
        "BY" => Some(Obligation::Attribution),
        "SA" => Some(Obligation::ShareAlike),
        "NC" => Some(Obligation::NonCommercial),
        "ND" => Some(Obligation::NoDerivatives),
        _ => None,
    });
    named.collect()
}
