-- Which artists and addresses a snapshot was limited to, as JSON; it is part of the snapshot's document.
ALTER TABLE snapshots ADD COLUMN selection TEXT NOT NULL DEFAULT '{"artists":[],"sources":[]}';
