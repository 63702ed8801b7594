-- A run may train on several snapshots, and an adapter comes from all of them: each with what its pictures were for,
-- in the order in which the run's record names them. These rows take the place of the one root that both had.
CREATE TABLE run_snapshots (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    place  INTEGER NOT NULL,
    root   BLOB NOT NULL CHECK (length(root) = 32),
    role   TEXT NOT NULL,
    PRIMARY KEY (run_id, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_snapshots_by_root ON run_snapshots (root);

CREATE TABLE adapter_snapshots (
    adapter_id INTEGER NOT NULL REFERENCES adapters (id),
    place      INTEGER NOT NULL,
    root       BLOB NOT NULL CHECK (length(root) = 32),
    role       TEXT NOT NULL,
    PRIMARY KEY (adapter_id, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX adapter_snapshots_by_root ON adapter_snapshots (root);

INSERT INTO run_snapshots (run_id, place, root, role) SELECT id, 0, snapshot_root, 'training' FROM runs;
INSERT INTO adapter_snapshots (adapter_id, place, root, role) SELECT id, 0, snapshot_root, 'training' FROM adapters;
DROP INDEX runs_by_root;
DROP INDEX adapters_by_root;
ALTER TABLE runs DROP COLUMN snapshot_root;
ALTER TABLE adapters DROP COLUMN snapshot_root;

CREATE TRIGGER run_snapshots_no_update BEFORE UPDATE ON run_snapshots
BEGIN SELECT raise(ABORT, 'what a run was trained on does not change'); END;
CREATE TRIGGER run_snapshots_no_delete BEFORE DELETE ON run_snapshots
BEGIN SELECT raise(ABORT, 'what a run was trained on does not change'); END;
CREATE TRIGGER adapter_snapshots_no_update BEFORE UPDATE ON adapter_snapshots
BEGIN SELECT raise(ABORT, 'what an adapter was trained on does not change'); END;
CREATE TRIGGER adapter_snapshots_no_delete BEFORE DELETE ON adapter_snapshots
BEGIN SELECT raise(ABORT, 'what an adapter was trained on does not change'); END;
