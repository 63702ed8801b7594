-- The ledger learns reviews, collections, lists, validity, scope and signatures. SQLite cannot widen a CHECK in place,
-- so the table is made anew and every event copied as it stands; hashes do not change.
DROP TRIGGER consent_events_no_update;
DROP TRIGGER consent_events_no_delete;
DROP TRIGGER consent_events_in_order;
CREATE TABLE consent_events_5 (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('opt_out', 'grant', 'revoke', 'accept', 'reject')),
    target_kind TEXT CHECK (target_kind IN ('artist', 'image', 'source', 'collection', 'list')),
    target      TEXT,
    aliases     TEXT NOT NULL,
    purposes    TEXT NOT NULL,
    licensee    TEXT,
    scope       TEXT CHECK (scope IN ('personal', 'commercial')),
    valid_from  TEXT,
    until       TEXT,
    evidence    BLOB CHECK (length(evidence) = 32),
    note        TEXT,
    revokes     BLOB CHECK (length(revokes) = 32),
    -- What a review answers, as a JSON list.
    matters     TEXT NOT NULL DEFAULT '[]',
    -- When it was said, where that is another time than when it was recorded here.
    issued      TEXT,
    imported    INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1)),
    -- The Ed25519 public key that signs it, and the signature.
    signer      BLOB CHECK (length(signer) = 32),
    signature   BLOB CHECK (length(signature) = 64),
    previous    BLOB NOT NULL CHECK (length(previous) = 32),
    hash        BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    CHECK ((kind = 'revoke') = (revokes IS NOT NULL)),
    CHECK ((kind = 'revoke') = (target IS NULL)),
    CHECK ((target IS NULL) = (target_kind IS NULL)),
    CHECK ((signer IS NULL) = (signature IS NULL))
) STRICT;
INSERT INTO consent_events_5 (seq, at, kind, target_kind, target, aliases, purposes, licensee, until, evidence, note,
        revokes, previous, hash)
    SELECT seq, at, kind, target_kind, target, aliases, purposes, licensee, until, evidence, note, revokes, previous,
        hash FROM consent_events ORDER BY seq;
-- A cut end must still show: the number of events ever written goes over too.
DELETE FROM sqlite_sequence WHERE name = 'consent_events_5';
INSERT INTO sqlite_sequence (name, seq) SELECT 'consent_events_5', seq FROM sqlite_sequence WHERE name = 'consent_events';
DROP TABLE consent_events;
ALTER TABLE consent_events_5 RENAME TO consent_events;
CREATE INDEX consent_events_by_target ON consent_events (target_kind, target);
CREATE TRIGGER consent_events_no_update BEFORE UPDATE ON consent_events
BEGIN
    SELECT raise(ABORT, 'the consent ledger is append-only');
END;
CREATE TRIGGER consent_events_no_delete BEFORE DELETE ON consent_events
BEGIN
    SELECT raise(ABORT, 'the consent ledger is append-only');
END;
-- `INSERT OR REPLACE` deletes without a delete trigger, so what it would replace is refused here.
CREATE TRIGGER consent_events_in_order BEFORE INSERT ON consent_events
WHEN new.seq <= (SELECT coalesce(max(seq), 0) FROM consent_events)
    OR EXISTS (SELECT 1 FROM consent_events WHERE hash = new.hash)
BEGIN
    SELECT raise(ABORT, 'the consent ledger is append-only');
END;

-- Entries of opt-out lists: one event of the ledger names a list by the digest of its entries, however long it is.
-- `value` is the form in which it is compared: an address and a name in their folded form, digests and perceptual
-- hashes as lower-case hexadecimal characters.
CREATE TABLE list_entries (
    list  BLOB NOT NULL CHECK (length(list) = 32),
    kind  TEXT NOT NULL CHECK (kind IN ('artist', 'source', 'sha256', 'perceptual')),
    value TEXT NOT NULL,
    PRIMARY KEY (kind, value, list)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER list_entries_no_update BEFORE UPDATE ON list_entries
BEGIN SELECT raise(ABORT, 'an opt-out list is kept as it was given'); END;
CREATE TRIGGER list_entries_no_delete BEFORE DELETE ON list_entries
BEGIN SELECT raise(ABORT, 'an opt-out list is kept as it was given'); END;

-- The collection that a place belongs to, when its curator named one.
ALTER TABLE locations ADD COLUMN collection TEXT;
-- What a name is: a name as people write it, or an identifier (an address, an ORCID, an account), which no caption holds.
ALTER TABLE artist_names ADD COLUMN kind TEXT NOT NULL DEFAULT 'name' CHECK (kind IN ('name', 'identifier'));

-- The user's trust list: Ed25519 public keys.
CREATE TABLE trusted_keys (
    key      BLOB PRIMARY KEY CHECK (length(key) = 32),
    name     TEXT,
    added_at TEXT NOT NULL
) STRICT;
