-- What pictures look like, apart from the images: reading those stays quick, and few readers need this.
CREATE TABLE fingerprints (
    image_id INTEGER PRIMARY KEY REFERENCES images (id),
    version  INTEGER NOT NULL,
    -- As the fingerprint room writes it.
    print    BLOB NOT NULL,
    -- Whether it was compared with every other one.
    paired   INTEGER NOT NULL DEFAULT 0 CHECK (paired IN (0, 1))
) STRICT;
CREATE INDEX fingerprints_unpaired ON fingerprints (image_id) WHERE paired = 0;

-- Pictures that look alike, found once, when they are registered; the one with the smaller number first. Pictures
-- whose pixels are equal have no row: `images.pixels` says so.
CREATE TABLE near (
    a        INTEGER NOT NULL REFERENCES images (id),
    b        INTEGER NOT NULL REFERENCES images (id),
    distance INTEGER NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) STRICT, WITHOUT ROWID;
CREATE INDEX near_by_second ON near (b, a, distance);

-- A fingerprint of an earlier version is replaced when its file is ingested again.
INSERT INTO fingerprints (image_id, version, print)
    SELECT id, 2, fingerprint FROM images
    WHERE fingerprint IS NOT NULL;
ALTER TABLE images DROP COLUMN fingerprint;
