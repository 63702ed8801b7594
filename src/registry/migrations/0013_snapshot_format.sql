-- What a snapshot's root is computed from: 1, its members alone; 2, its members and the places that they take.
ALTER TABLE snapshots ADD COLUMN format INTEGER NOT NULL DEFAULT 1 CHECK (format IN (1, 2));
