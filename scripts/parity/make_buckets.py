#!/usr/bin/env python3
"""Writes tests/fixtures/buckets/cases.json: the buckets that sd-scripts' own BucketManager gives to pictures of many sizes.

    scripts/parity/make_buckets.py FOLDER_OF_SD_SCRIPTS [COMMIT]

The folder is a clone of github.com/kohya-ss/sd-scripts (bare or not). Of its source only the class and the function that
makes the sizes are run.
"""

import ast
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Optional, Tuple

import numpy as np

OUT = Path(__file__).resolve().parents[2] / "tests/fixtures/buckets/cases.json"

# width, height, min_bucket_reso, max_bucket_reso, bucket_reso_steps, bucket_no_upscale
OPTIONS = [
    (512, 512, 256, 1024, 64, False),
    (1024, 1024, 512, 2048, 64, False),
    (768, 512, 320, 960, 32, False),
    (640, 640, 200, 1000, 48, False),
    (64, 64, 32, 128, 8, False),
    (512, 512, 256, 1024, 64, True),
    (1024, 768, 256, 1024, 8, True),
    (32, 32, 16, 64, 8, True),
]
EDGES = [
    (512, 512), (1024, 256), (256, 1024), (64, 64), (1, 1), (1000, 1), (1, 1000), (640, 480), (480, 640), (8000, 6000),
    (513, 511), (320, 768), (17, 23), (65535, 100),
]


def definition(folder, commit, path, name):
    source = subprocess.run(
        ["git", "-C", folder, "show", f"{commit}:{path}"], check=True, capture_output=True, text=True
    ).stdout
    for node in ast.parse(source).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return compile(ast.Module([node], []), path, "exec")
    raise SystemExit(f"{path} has no {name}")


def main():
    folder, commit = sys.argv[1], (sys.argv[2:] or ["HEAD"])[0]
    names = {"np": np, "math": math, "random": random, "Tuple": Tuple, "Optional": Optional}
    exec(definition(folder, commit, "library/model_util.py", "make_bucket_resolutions"), names)
    names["model_util"] = type("model_util", (), {"make_bucket_resolutions": names["make_bucket_resolutions"]})
    exec(definition(folder, commit, "library/train_util.py", "BucketManager"), names)
    manager_of = names["BucketManager"]

    chance = random.Random(5)
    pictures = EDGES + [(chance.randint(40, 3000), chance.randint(40, 3000)) for _ in range(100)]
    cases = []
    for width, height, least, most, steps, no_upscale in OPTIONS:
        # As its datasets do before: limits become multiples outwards.
        manager = manager_of(no_upscale, (width, height), least - least % steps, most + -most % steps, steps)
        if not no_upscale:
            manager.make_buckets()
        found = []
        for picture in pictures:
            try:
                bucket, resized, _ = manager.select_bucket(*picture)
                crop = manager.get_crop_ltrb(bucket, picture)
            except ZeroDivisionError:
                bucket = (0, 0)
            if 0 in bucket:
                found.append([*picture])
                continue
            # What a dataset tells SDXL: crop top, crop left, crop left of the mirrored picture.
            told = [int(crop[1]), int(crop[0]), int(bucket[0] - crop[2])]
            found.append([int(n) for n in (*picture, *bucket, *resized, *told)])
        cases.append(
            {
                "resolution": [width, height],
                "min_bucket_reso": least,
                "max_bucket_reso": most,
                "bucket_reso_steps": steps,
                "bucket_no_upscale": no_upscale,
                "sizes": [] if no_upscale else [list(size) for size in manager.predefined_resos],
                "pictures": found,
            }
        )
    commit = subprocess.run(["git", "-C", folder, "rev-parse", commit], check=True, capture_output=True, text=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text(f'{{"sd_scripts":"{commit.stdout.strip()}","cases":[\n{lines}\n]}}\n')


main()
