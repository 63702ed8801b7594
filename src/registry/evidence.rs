//! Everything that is known about an image, gathered for deciding: of one, or of all in the order of their digests, a
//! page at a time, so that memory does not grow with their number. These functions only read.

use rusqlite::{Connection, Transaction};

use super::coverage::Coverage;
use super::mentions::Mentions;
use super::reading::{Held, Key, held, page};
use super::values::{time, word};
use super::{ImageFilter, ImageRecord, Registry, RegistryError, Result, near};
use crate::consent::{Authentication, EventKind, Evidence, LedgerEntry, Neighbour, Purpose, State, Statement, Target};
use crate::digest::Sha256Digest;

/// An image with the evidence about it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The image.
    pub image: ImageRecord,
    /// What was said about it.
    pub evidence: Evidence,
}

/// The registry as it is at one moment, whoever else writes to it meanwhile.
pub struct Reader<'r> {
    pub(super) connection: &'r Connection,
    /// Ends, with nothing written, when this is dropped. None within a reader that is open already.
    _moment: Option<Transaction<'r>>,
    pub(super) coverage: Coverage,
    pub(super) mentions: Mentions,
    /// Whether anybody refused anything: if not, no picture is denied for its likeness to another.
    pub(super) refused: bool,
}

impl Registry {
    /// Reads the ledger, ready to say what is known about images.
    pub fn reader(&self) -> Result<Reader<'_>> {
        let connection = &self.connection;
        self.compared()?;
        let moment = match connection.is_autocommit() {
            true => Some(connection.unchecked_transaction()?),
            false => None,
        };
        let sql = "SELECT EXISTS (SELECT 1 FROM consent_events WHERE kind = 'opt_out')
                   OR EXISTS (SELECT 1 FROM facts WHERE denies)";
        let coverage = Coverage::of(connection)?;
        Ok(Reader {
            connection,
            _moment: moment,
            mentions: Mentions::of(connection, &coverage)?,
            coverage,
            refused: connection.query_row(sql, [], |row| row.get(0))?,
        })
    }

    /// The evidence about one image.
    pub fn evidence(&self, image: &Sha256Digest) -> Result<Evidence> {
        match self.reader()?.known(image)? {
            Some(known) => Ok(known.evidence),
            None => Err(RegistryError::NoSuchImage(*image)),
        }
    }
}

impl Reader<'_> {
    /// What is known about an image; none when it is not registered.
    pub fn known(&self, image: &Sha256Digest) -> Result<Option<Known>> {
        match held(self.connection, Key::Digest(*image))? {
            Some(held) => Ok(Some(self.gather(held)?)),
            None => Ok(None),
        }
    }

    /// An image without the evidence; none when it is not registered.
    pub fn image(&self, image: &Sha256Digest) -> Result<Option<ImageRecord>> {
        Ok(held(self.connection, Key::Digest(*image))?.map(|held| held.record))
    }

    /// What is known about the images that the filter lets through, in the order of their digests, some at a time.
    pub fn pages(&self, filter: ImageFilter) -> impl Iterator<Item = Result<Vec<Known>>> {
        let mut last: Option<Sha256Digest> = None;
        std::iter::from_fn(move || {
            let read = || {
                let page = page(self.connection, &filter, last.as_ref())?;
                last = page.end;
                let known = page.held.into_iter().map(|held| self.gather(held));
                Ok((page.end.is_some(), known.collect::<Result<Vec<_>>>()?))
            };
            match { read }() {
                Ok((true, known)) => Some(Ok(known)),
                Ok((false, _)) => None,
                Err(error) => Some(Err(error)),
            }
        })
    }

    pub(super) fn gather(&self, held: Held) -> Result<Known> {
        let image = &held.record;
        let ledger = self.coverage.covering(self.connection, &held)?;
        let mut mentions = self
            .mentions
            .find("caption", image.caption.as_deref().unwrap_or_default());
        for mention in &mut mentions {
            // What was said of this picture alone answers for its caption too.
            let about_it = ledger
                .iter()
                .filter(|entry| matches!(entry.event.target, Some(Target::Image(_))));
            mention.ledger.extend(about_it.cloned());
            mention.ledger.sort_by_key(|entry| entry.seq);
        }
        let evidence = Evidence {
            statements: statements(self.connection, held.id)?,
            ledger,
            mentions,
            licenses: image.licenses.clone(),
            artists: image.artists.clone(),
            title: image.title.clone(),
            ai_generated: image.ai_generated,
            needs_review: image.needs_review.clone(),
            neighbours: self.neighbours(held.id)?,
            ..Evidence::none(image.sha256)
        };
        Ok(Known {
            image: held.record,
            evidence,
        })
    }

    /// The images that show the same thing and that somebody spoke against.
    fn neighbours(&self, image: i64) -> Result<Vec<Neighbour>> {
        let mut neighbours = Vec::new();
        if !self.refused {
            return Ok(neighbours);
        }
        for alike in near::alike(self.connection, image)? {
            let Some(other) = held(self.connection, Key::Row(alike.id))? else {
                continue;
            };
            let statements = statements(self.connection, alike.id)?;
            let ledger = self.coverage.covering(self.connection, &other)?;
            if spoken_against(&statements, &ledger) {
                neighbours.push(Neighbour {
                    image: alike.image,
                    distance: alike.distance,
                    doubtful: alike.doubtful,
                    statements,
                    ledger,
                });
            }
        }
        Ok(neighbours)
    }
}

/// Whether anybody refused, whether or not it still stands.
fn spoken_against(statements: &[Statement], ledger: &[LedgerEntry]) -> bool {
    statements.iter().any(|statement| statement.state == State::Denied)
        || ledger.iter().any(|entry| entry.event.kind == EventKind::OptOut)
}

/// What was found with an image, in the order in which it was first read.
pub(super) fn statements(connection: &Connection, image: i64) -> Result<Vec<Statement>> {
    let mut query = connection.prepare_cached(
        "SELECT source, raw, purpose, state, authentication, holder, min(read_at), max(current) FROM signals
         WHERE image_id = ?1 GROUP BY source, raw, purpose, state, authentication, holder ORDER BY min(id)",
    )?;
    let mut rows = query.query([image])?;
    let mut statements = Vec::new();
    while let Some(row) = rows.next()? {
        let purpose: String = row.get(2)?;
        statements.push(Statement {
            source: row.get(0)?,
            raw: row.get(1)?,
            purpose: match purpose.as_str() {
                "all" => None,
                other => Some(word(other, "a purpose", Purpose::parse)?),
            },
            state: word(&row.get::<_, String>(3)?, "a state", State::parse)?,
            authentication: word(&row.get::<_, String>(4)?, "an authentication", Authentication::parse)?,
            holder: row.get(5)?,
            read_at: time(&row.get::<_, String>(6)?)?,
            current: row.get(7)?,
        });
    }
    Ok(statements)
}
