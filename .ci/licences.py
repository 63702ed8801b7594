#!/usr/bin/env python3
"""Compares the licences of all dependencies (`cargo metadata` on stdin) with the list that .ci/deny.toml allows."""
import json
import re
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    config = file.read()
allowed = set(re.findall(r'"([^"]+)"', re.search(r"allow\s*=\s*\[(.*?)\]", config, re.S)[1]))

# Crates that name a file instead of an expression, with what stands in that file.
read_by_hand = {"cfg_block": "Apache-2.0"}


def permitted(expression: str) -> bool:
    """Whether the allowed licences satisfy an SPDX expression (the slash is cargo's old way to write OR)."""
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    parts = []
    i = 0
    while i < len(words):
        word = words[i]
        if word == "WITH":  # an exception only permits more
            i += 2
            continue
        parts.append({"OR": "or", "AND": "and", "(": "(", ")": ")"}.get(word, str(word in allowed)))
        i += 1
    return bool(eval(" ".join(parts), {"__builtins__": {}}))  # only True, False, and, or and brackets are left


wrong = [
    f"{p['name']} {p['version']}: {p['license'] or p['license_file']}"
    for p in json.load(sys.stdin)["packages"]
    if not permitted(p["license"] or read_by_hand.get(p["name"], "unknown"))
]
print("\n".join(wrong) if wrong else "all licences are on the list")
sys.exit(1 if wrong else 0)
