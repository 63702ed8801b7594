-- The consent ledger: only ever appended to, each event chained to the one before by its hash.
CREATE TABLE consent_events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('opt_out', 'grant', 'revoke')),
    target_kind TEXT CHECK (target_kind IN ('artist', 'image', 'source')),
    target      TEXT,
    aliases     TEXT NOT NULL,
    purposes    TEXT NOT NULL,
    licensee    TEXT,
    until       TEXT,
    evidence    BLOB CHECK (length(evidence) = 32),
    note        TEXT,
    revokes     BLOB CHECK (length(revokes) = 32),
    previous    BLOB NOT NULL CHECK (length(previous) = 32),
    hash        BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    CHECK ((kind = 'revoke') = (revokes IS NOT NULL)),
    CHECK ((kind = 'revoke') = (target IS NULL)),
    CHECK ((target IS NULL) = (target_kind IS NULL))
) STRICT;
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

-- The documents behind events, kept so that a proof is not lost with the file.
CREATE TABLE evidence (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    name   TEXT NOT NULL,
    bytes  BLOB NOT NULL
) STRICT;
CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence
BEGIN
    SELECT raise(ABORT, 'evidence is kept as it was given');
END;
CREATE TRIGGER evidence_no_delete BEFORE DELETE ON evidence
BEGIN
    SELECT raise(ABORT, 'evidence is kept as it was given');
END;
