-- What pictures look like, apart from the images: reading those stays quick, and few readers need this. Here is what
-- is searched, and in `prints` what is compared where the search finds something.
CREATE TABLE fingerprints (
    image_id     INTEGER PRIMARY KEY REFERENCES images (id),
    version      INTEGER NOT NULL,
    -- The codes of its core; null where there is too little to see.
    core         INTEGER,
    mirrored     INTEGER,
    -- Its PDQ hash and that of its mirror image; null where they say too little.
    pdq          BLOB CHECK (length(pdq) = 32),
    pdq_mirrored BLOB CHECK (length(pdq_mirrored) = 32),
    -- Whether it was compared with every other one and with the hashes of every list.
    paired       INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1)),
    CHECK ((core IS NULL) = (mirrored IS NULL)),
    CHECK ((pdq IS NULL) = (pdq_mirrored IS NULL))
) STRICT;
CREATE INDEX fingerprints_unpaired ON fingerprints (image_id) WHERE paired = 0;
CREATE INDEX fingerprints_by_version ON fingerprints (version);
CREATE TABLE prints (
    image_id INTEGER PRIMARY KEY REFERENCES images (id),
    -- As the fingerprint room writes it.
    print    BLOB NOT NULL
) STRICT;

-- Pictures that look alike, found once, when they are registered; the one with the smaller number first. Pictures
-- whose pixels are equal need no row: `images.pixels` says so.
CREATE TABLE near (
    a        INTEGER NOT NULL REFERENCES images (id),
    b        INTEGER NOT NULL REFERENCES images (id),
    distance INTEGER NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) STRICT, WITHOUT ROWID;
CREATE INDEX near_by_second ON near (b, a, distance);

-- Pictures that a perceptual entry of a list names, and the entries that were looked for.
CREATE TABLE listed (
    image_id INTEGER NOT NULL REFERENCES images (id),
    value    TEXT NOT NULL,
    distance INTEGER NOT NULL,
    PRIMARY KEY (image_id, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX listed_by_value ON listed (value, image_id);
CREATE TABLE searched_values (value TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- A fingerprint of an earlier version is replaced when its file is ingested again.
INSERT INTO fingerprints (image_id, version) SELECT id, 2 FROM images WHERE fingerprint IS NOT NULL;
ALTER TABLE images DROP COLUMN fingerprint;
