-- What a picture shows, so that it is found again where its labels were taken off: BLAKE3 of its decoded pixels. Null
-- for pictures recorded before.
ALTER TABLE pictures ADD COLUMN pixels BLOB CHECK (length(pixels) = 32);
