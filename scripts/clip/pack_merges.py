#!/usr/bin/env python3
"""Packs CLIP's merges for the tokenizer that single files use: src/model/tokenizer/clip_merges.zz.

    pip install --no-deps open_clip_torch     # carries OpenAI's bpe_simple_vocab_16e6.txt.gz, MIT licence
    python scripts/clip/pack_merges.py

The file has a header and far more merges than CLIP uses: two tokens for each byte and two markers fill the rest of its
49408 ids. The merges in use are written one to a line and compressed by zlib at its highest level.
"""

import gzip
import importlib.util
import sys
import zlib
from pathlib import Path

VOCABULARY = 49408
MERGES = VOCABULARY - 2 * 256 - 2


def main() -> None:
    if len(sys.argv) > 1:
        source = Path(sys.argv[1])
    else:
        spec = importlib.util.find_spec("open_clip") or sys.exit("open_clip_torch is not installed")
        source = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(source.read_bytes()).decode().split("\n")[1 : 1 + MERGES]
    assert len(lines) == MERGES and all(len(line.split(" ")) == 2 for line in lines)
    packed = zlib.compress("\n".join(lines).encode(), 9)
    target = Path(__file__).parents[2] / "src/model/tokenizer/clip_merges.zz"
    target.write_bytes(packed)
    print(f"{target.name}: {len(lines)} merges, {len(packed)} bytes")


if __name__ == "__main__":
    main()
