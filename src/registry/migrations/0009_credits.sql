-- Whom to name for a member, as it was known when the snapshot was made: canonical JSON, and its digest, which is part
-- of the snapshot's document. A snapshot that was brought in from a file has the digest alone; an older one has neither.
ALTER TABLE snapshot_members ADD COLUMN credit_digest BLOB CHECK (length(credit_digest) = 32);
ALTER TABLE snapshot_members ADD COLUMN credit TEXT;
