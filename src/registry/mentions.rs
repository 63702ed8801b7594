//! The names of artists who opted out, looked for in captions, trigger words and prompts.

use std::collections::BTreeMap;

use super::coverage::{Coverage, meant};
use super::{Registry, RegistryError, Result, artists};
use crate::consent::{EventKind, LedgerEntry, Mention, Names, Target};

/// The names of all artists about whom there is an opt-out, whether or not it still stands.
#[derive(Debug)]
pub struct Mentions {
    names: Names,
    /// For each owner of names, the events about that artist, in the order of the ledger.
    events: Vec<Vec<LedgerEntry>>,
}

impl Registry {
    /// Reads the ledger, ready to look for names.
    pub fn mentions(&self) -> Result<Mentions> {
        Mentions::of(&self.connection, &Coverage::of(&self.connection)?)
    }
}

impl Mentions {
    pub(super) fn of(connection: &rusqlite::Connection, coverage: &Coverage) -> Result<Mentions> {
        // An artist is one subject, whichever of the names an event gives.
        let mut subjects: BTreeMap<&str, (Vec<LedgerEntry>, Vec<String>)> = BTreeMap::new();
        for entry in coverage.events() {
            let Some(Target::Artist(name)) = &entry.event.target else {
                continue;
            };
            let (events, names) = subjects.entry(&entry.subject).or_default();
            if entry.event.kind == EventKind::OptOut {
                let said = std::iter::once(name).chain(&entry.event.aliases);
                for artist in meant(connection, said.clone().map(String::as_str))? {
                    names.extend(artists::names(connection, artist)?);
                }
                names.extend(said.cloned());
            }
            events.push(entry.clone());
        }
        subjects.retain(|_, (_, names)| !names.is_empty());
        let names = subjects.values().enumerate();
        let names = names.flat_map(|(owner, (_, names))| names.iter().map(move |name| (owner, name.as_str())));
        let names = Names::new(names).map_err(|_| RegistryError::TooManyNames)?;
        let events = subjects.into_values().map(|(events, _)| events).collect();
        Ok(Mentions { names, events })
    }

    /// Whether nobody is looked for.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a text may hold a name: quick, and never wrong when it says no.
    pub(super) fn may_name(&self, text: &str) -> bool {
        self.names.may_be_in(text)
    }

    /// The names in a text that stands at `place`, each with every event about that artist.
    pub fn find(&self, place: &str, text: &str) -> Vec<Mention> {
        let found = self.names.find(text).into_iter();
        found
            .map(|found| Mention {
                place: place.to_string(),
                name: found.name,
                ledger: self.events.get(found.owner).cloned().unwrap_or_default(),
            })
            .collect()
    }
}
