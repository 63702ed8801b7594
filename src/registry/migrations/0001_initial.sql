-- Images: what a file is, whatever was read around it.
CREATE TABLE images (
    id       INTEGER PRIMARY KEY,
    sha256   BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    pixels   BLOB NOT NULL CHECK (length(pixels) = 32),
    width    INTEGER NOT NULL CHECK (width > 0),
    height   INTEGER NOT NULL CHECK (height > 0),
    format   TEXT NOT NULL,
    bytes    INTEGER NOT NULL CHECK (bytes > 0),
    -- As the fingerprint room writes it; null when the picture has none.
    fingerprint BLOB,
    added_at TEXT NOT NULL
) STRICT;
CREATE INDEX images_by_pixels ON images (pixels);

-- Locations: where an image was seen, and what was read there. A path holds one image at a time.
CREATE TABLE locations (
    id           INTEGER PRIMARY KEY,
    image_id     INTEGER NOT NULL REFERENCES images (id),
    path         BLOB NOT NULL UNIQUE,
    source       TEXT,
    title        TEXT,
    caption      TEXT,
    ai_generated INTEGER NOT NULL CHECK (ai_generated IN (0, 1)),
    needs_review TEXT NOT NULL,
    size         INTEGER NOT NULL,
    modified     INTEGER NOT NULL,
    context      BLOB NOT NULL CHECK (length(context) = 32),
    seen_at      TEXT NOT NULL
) STRICT;
CREATE INDEX locations_by_image ON locations (image_id);

-- Artists, each with every name they are known by; `folded` is the name in the form in which names are compared.
CREATE TABLE artists (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL
) STRICT;
CREATE TABLE artist_names (
    folded    TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    artist_id INTEGER NOT NULL REFERENCES artists (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX artist_names_by_artist ON artist_names (artist_id);

CREATE TABLE location_artists (
    location_id INTEGER NOT NULL REFERENCES locations (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    artist_id   INTEGER NOT NULL REFERENCES artists (id),
    PRIMARY KEY (location_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX location_artists_by_artist ON location_artists (artist_id);

-- Licences as SPDX expressions, with where each was read.
CREATE TABLE licenses (
    location_id INTEGER NOT NULL REFERENCES locations (id) ON DELETE CASCADE,
    expression  TEXT NOT NULL,
    source      TEXT NOT NULL,
    PRIMARY KEY (location_id, expression, source)
) STRICT, WITHOUT ROWID;

-- Signals: what was said with an image. They belong to the image: a denial once seen stays when the page drops it.
-- `current` is 0 when the last reading of the location did not find it any more; only denials count then.
CREATE TABLE signals (
    id             INTEGER PRIMARY KEY,
    image_id       INTEGER NOT NULL REFERENCES images (id),
    location_id    INTEGER NOT NULL REFERENCES locations (id),
    source         TEXT NOT NULL,
    raw            TEXT NOT NULL,
    purpose        TEXT NOT NULL CHECK (purpose IN ('all', 'ai_training', 'ai_generative_training', 'data_mining', 'ai_inference')),
    state          TEXT NOT NULL CHECK (state IN ('granted', 'denied', 'constrained', 'unspecified')),
    authentication TEXT NOT NULL CHECK (authentication IN ('none', 'invalid', 'signed', 'trusted')),
    holder         BLOB NOT NULL CHECK (length(holder) = 32),
    read_at        TEXT NOT NULL,
    current        INTEGER NOT NULL CHECK (current IN (0, 1)),
    UNIQUE (image_id, location_id, source, purpose, state, authentication, holder, raw)
) STRICT;
CREATE INDEX signals_by_location ON signals (location_id);
CREATE TRIGGER signals_keep_denials BEFORE DELETE ON signals
WHEN old.state = 'denied'
BEGIN
    SELECT raise(ABORT, 'a denial once seen stays');
END;
