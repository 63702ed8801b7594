-- Copyright notices of a place, as they stand in licence files: a JSON list.
ALTER TABLE locations ADD COLUMN notices TEXT NOT NULL DEFAULT '[]';
