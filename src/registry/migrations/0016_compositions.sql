-- Adapters that were trained in shards of artists: a manifest, and the adapters that it names with their weights.
CREATE TABLE compositions (
    id         INTEGER PRIMARY KEY,
    sha256     BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    path       BLOB NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE composition_adapters (
    composition_id INTEGER NOT NULL REFERENCES compositions (id),
    shard          INTEGER NOT NULL,
    adapter        BLOB NOT NULL CHECK (length(adapter) = 32),
    weight         TEXT NOT NULL,
    PRIMARY KEY (composition_id, shard)
) STRICT, WITHOUT ROWID;

-- Which takes the place of which: the same without a shard, or with one that was trained again.
CREATE TABLE composition_supersedes (
    new BLOB NOT NULL CHECK (length(new) = 32),
    old BLOB NOT NULL CHECK (length(old) = 32),
    PRIMARY KEY (new, old)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER compositions_no_delete BEFORE DELETE ON compositions
BEGIN SELECT raise(ABORT, 'a composition is kept as it was'); END;
CREATE TRIGGER compositions_no_update BEFORE UPDATE OF id, sha256, created_at ON compositions
BEGIN SELECT raise(ABORT, 'a composition is kept as it was'); END;
CREATE TRIGGER composition_adapters_no_update BEFORE UPDATE ON composition_adapters
BEGIN SELECT raise(ABORT, 'a composition is kept as it was'); END;
CREATE TRIGGER composition_adapters_no_delete BEFORE DELETE ON composition_adapters
BEGIN SELECT raise(ABORT, 'a composition is kept as it was'); END;
CREATE TRIGGER composition_supersedes_no_update BEFORE UPDATE ON composition_supersedes
BEGIN SELECT raise(ABORT, 'what a composition supersedes does not change'); END;
CREATE TRIGGER composition_supersedes_no_delete BEFORE DELETE ON composition_supersedes
BEGIN SELECT raise(ABORT, 'what a composition supersedes does not change'); END;
