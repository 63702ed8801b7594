-- What deciding needs, where it is quickly found: `record` keeps these with every place it writes.

-- Facts: what is known of an image but its names, digests and texts, as JSON. Images of which the same is known share
-- a row, so that deciding on all of them is deciding on each row once.
CREATE TABLE facts (
    id     INTEGER PRIMARY KEY,
    facts  TEXT NOT NULL UNIQUE,
    -- The last first reading of a statement among its images: a decision as of an earlier time looks at each of them.
    latest TEXT,
    -- Whether a statement with them denies something.
    denies INTEGER NOT NULL CHECK (denies IN (0, 1))
) STRICT;
CREATE TABLE image_facts (
    image_id   INTEGER PRIMARY KEY REFERENCES images (id),
    facts_id   INTEGER NOT NULL REFERENCES facts (id),
    artists_id INTEGER NOT NULL REFERENCES artist_sets (id)
) STRICT;
CREATE INDEX image_facts_by_facts ON image_facts (facts_id);
CREATE INDEX image_facts_by_artists ON image_facts (artists_id);

-- Who made an image, as a sorted JSON list of names in their folded form. Which artist a name means is in
-- `artist_names`, and may change: two who were taken for two can be one.
CREATE TABLE artist_sets (
    id    INTEGER PRIMARY KEY,
    names TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE artist_set_names (
    folded TEXT NOT NULL,
    set_id INTEGER NOT NULL REFERENCES artist_sets (id),
    PRIMARY KEY (folded, set_id)
) STRICT, WITHOUT ROWID;

-- The pixels that more than one image has.
CREATE TABLE copied (
    pixels BLOB PRIMARY KEY CHECK (length(pixels) = 32)
) STRICT, WITHOUT ROWID;
INSERT INTO copied SELECT pixels FROM images GROUP BY pixels HAVING count(*) > 1;

-- The addresses that images come from, in the form in which refusals are compared.
CREATE TABLE image_addresses (
    address  TEXT NOT NULL,
    image_id INTEGER NOT NULL REFERENCES images (id),
    PRIMARY KEY (address, image_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE location_artists ADD COLUMN image_id INTEGER REFERENCES images (id);
UPDATE location_artists SET image_id = (SELECT image_id FROM locations WHERE locations.id = location_id);
DROP INDEX location_artists_by_artist;
CREATE INDEX location_artists_by_artist ON location_artists (artist_id, image_id);
CREATE INDEX locations_by_collection ON locations (collection, image_id) WHERE collection IS NOT NULL;
