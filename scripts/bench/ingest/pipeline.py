#!/usr/bin/env python3
"""What `assent ingest` is measured against: Pillow, hashlib and imagehash over a folder of PNG files.

For each file: SHA-256 of the bytes, decoding to RGBA, SHA-256 of the pixels, perceptual and difference hash, into
SQLite. usage: pipeline.py FOLDER DATABASE PROCESSES
"""

import hashlib
import io
import multiprocessing
import pathlib
import sqlite3
import sys
import time

import imagehash
from PIL import Image

Image.MAX_IMAGE_PIXELS = None


def read(path):
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGBA")
        return (
            str(path), hashlib.sha256(data).hexdigest(), hashlib.sha256(image.tobytes()).hexdigest(),
            image.width, image.height, str(imagehash.phash(image)), str(imagehash.dhash(image)),
        )
    except (OSError, ValueError) as error:
        print(f"refused {path}: {error}", file=sys.stderr)
        return None


def main():
    folder, database, processes = sys.argv[1:]
    started = time.perf_counter()
    files = sorted(pathlib.Path(folder).rglob("*.png"))
    with multiprocessing.Pool(int(processes)) as pool, sqlite3.connect(database) as rows:
        rows.execute("CREATE TABLE images (path, sha256, pixels, width, height, phash, dhash)")
        found = [row for row in pool.imap(read, files, 16) if row]
        rows.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", found)
    seconds = time.perf_counter() - started
    print(f"python: {len(files)} files in {seconds:.1f} s, {len(files) / seconds:.0f} files a second")


if __name__ == "__main__":
    main()
