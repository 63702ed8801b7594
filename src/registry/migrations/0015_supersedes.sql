-- A run that was made again without some of its pictures: the adapter whose place its own takes.
CREATE TABLE run_supersedes (
    run_id  INTEGER PRIMARY KEY REFERENCES runs (id),
    file    BLOB NOT NULL CHECK (length(file) = 32),
    tensors BLOB NOT NULL CHECK (length(tensors) = 32),
    receipt BLOB NOT NULL CHECK (length(receipt) = 32)
) STRICT;
CREATE INDEX run_supersedes_by_tensors ON run_supersedes (tensors);
CREATE TRIGGER run_supersedes_no_update BEFORE UPDATE ON run_supersedes
BEGIN SELECT raise(ABORT, 'what a run supersedes does not change'); END;
CREATE TRIGGER run_supersedes_no_delete BEFORE DELETE ON run_supersedes
BEGIN SELECT raise(ABORT, 'what a run supersedes does not change'); END;

-- The root of the snapshot whose members a snapshot was frozen from; none where it was frozen from all pictures.
ALTER TABLE snapshots ADD COLUMN parent BLOB CHECK (parent IS NULL OR length(parent) = 32);
