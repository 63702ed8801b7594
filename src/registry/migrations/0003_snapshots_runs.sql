-- Snapshots: frozen training sets. Images are named by digest, so that a snapshot can be read where its images are not.
CREATE TABLE snapshots (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    root        BLOB NOT NULL CHECK (length(root) = 32),
    document    BLOB NOT NULL CHECK (length(document) = 32),
    policy_name TEXT NOT NULL,
    policy      TEXT NOT NULL,
    purpose     TEXT NOT NULL,
    ledger_seq  INTEGER NOT NULL,
    ledger_head BLOB NOT NULL CHECK (length(ledger_head) = 32),
    created_at  TEXT NOT NULL
) STRICT;
CREATE INDEX snapshots_by_root ON snapshots (root);

CREATE TABLE snapshot_members (
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id),
    sha256      BLOB NOT NULL CHECK (length(sha256) = 32),
    pixels      BLOB NOT NULL CHECK (length(pixels) = 32),
    caption     TEXT,
    consent     TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_members_by_image ON snapshot_members (sha256);

CREATE TABLE snapshot_exclusions (
    snapshot_id INTEGER NOT NULL REFERENCES snapshots (id),
    sha256      BLOB NOT NULL CHECK (length(sha256) = 32),
    reason_code TEXT NOT NULL,
    evidence    TEXT NOT NULL,
    PRIMARY KEY (snapshot_id, sha256)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER snapshots_no_update BEFORE UPDATE ON snapshots
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;
CREATE TRIGGER snapshots_no_delete BEFORE DELETE ON snapshots
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;
CREATE TRIGGER snapshot_members_no_update BEFORE UPDATE ON snapshot_members
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;
CREATE TRIGGER snapshot_members_no_delete BEFORE DELETE ON snapshot_members
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;
CREATE TRIGGER snapshot_exclusions_no_update BEFORE UPDATE ON snapshot_exclusions
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;
CREATE TRIGGER snapshot_exclusions_no_delete BEFORE DELETE ON snapshot_exclusions
BEGIN SELECT raise(ABORT, 'a snapshot is frozen'); END;

-- Runs: one training each, with its record as it was written.
CREATE TABLE runs (
    id            INTEGER PRIMARY KEY,
    sha256        BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    snapshot_root BLOB NOT NULL CHECK (length(snapshot_root) = 32),
    record        TEXT NOT NULL,
    path          BLOB NOT NULL,
    finished_at   TEXT NOT NULL
) STRICT;
CREATE INDEX runs_by_root ON runs (snapshot_root);

-- Adapters, known by the digest of their file and, when the header changes, by that of their tensors.
CREATE TABLE adapters (
    id            INTEGER PRIMARY KEY,
    sha256        BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    tensors       BLOB NOT NULL CHECK (length(tensors) = 32),
    run_id        INTEGER REFERENCES runs (id),
    snapshot_root BLOB NOT NULL CHECK (length(snapshot_root) = 32),
    path          BLOB NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;
CREATE INDEX adapters_by_root ON adapters (snapshot_root);
CREATE INDEX adapters_by_tensors ON adapters (tensors);

-- Pictures made with an adapter.
CREATE TABLE pictures (
    sha256         BLOB NOT NULL CHECK (length(sha256) = 32),
    adapter_sha256 BLOB NOT NULL CHECK (length(adapter_sha256) = 32),
    path           BLOB NOT NULL,
    created_at     TEXT NOT NULL,
    PRIMARY KEY (sha256, adapter_sha256)
) STRICT, WITHOUT ROWID;
