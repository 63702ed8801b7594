-- The transparency log: what was frozen and made, as it is published. Only ever appended to.
CREATE TABLE log_entries (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Canonical JSON of a kind and digests.
    entry BLOB NOT NULL
) STRICT;
CREATE TRIGGER log_entries_no_update BEFORE UPDATE ON log_entries
BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_entries_no_delete BEFORE DELETE ON log_entries
BEGIN SELECT raise(ABORT, 'the log is append-only'); END;
-- `INSERT OR REPLACE` deletes without a delete trigger.
CREATE TRIGGER log_entries_in_order BEFORE INSERT ON log_entries
WHEN new.place <= (SELECT coalesce(max(place), 0) FROM log_entries)
BEGIN SELECT raise(ABORT, 'the log is append-only'); END;

-- The heads that were signed, as notes: whoever keeps one elsewhere sees whether the log still continues it.
CREATE TABLE log_heads (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    note BLOB NOT NULL
) STRICT;
CREATE TRIGGER log_heads_no_update BEFORE UPDATE ON log_heads
BEGIN SELECT raise(ABORT, 'a signed head is kept as it was'); END;
CREATE TRIGGER log_heads_no_delete BEFORE DELETE ON log_heads
BEGIN SELECT raise(ABORT, 'a signed head is kept as it was'); END;
