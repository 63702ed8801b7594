"""Reads a published log as C2SP's tlog-tiles, tlog-checkpoint, signed-note and tlog-proof specify it, without anything
of this program: FOLDER VERIFIER_KEY PROOF. Prints size, root and the proven entry."""

import base64
import hashlib
import pathlib
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << ((len(hashes) - 1).bit_length() - 1)
    return node(root(hashes[:half]), root(hashes[half:]))


def opened(note, vkey):
    """The text of a note that the key signed."""
    name, key_id, key = vkey.split("+", 2)
    key = base64.b64decode(key, validate=True)
    assert key[0] == 1 and len(key) == 33
    assert hashlib.sha256(name.encode() + b"\n" + key).digest()[:4].hex() == key_id
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if dash == "\u2014" and signer == name and signature[:4].hex() == key_id:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            return text
    raise AssertionError("no signature by the key")


def checkpoint(note, vkey):
    origin, size, value, end = opened(note, vkey).split("\n")
    assert origin == vkey.split("+")[0] and end == "" and str(int(size)) == size
    return int(size), base64.b64decode(value, validate=True)


def tile(folder, level, number, width):
    digits = f"{number:03}" if number < 1000 else f"x{number // 1000:03}/{number % 1000:03}"
    suffix = "" if width == 256 else f".p/{width}"
    return (folder / f"tile/{level}/{digits}{suffix}").read_bytes()


folder, vkey, proof = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
size, value = checkpoint((folder / "checkpoint").read_text(), vkey)

below, level = [], 0
widths = lambda count: [min(256, count - at) for at in range(0, count, 256)]
for number, width in enumerate(widths(size)):
    bundle, entries = tile(folder, "entries", number, width), []
    while bundle:
        (length,) = struct.unpack(">H", bundle[:2])
        entries.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    assert len(entries) == width
    below += [leaf(entry) for entry in entries]
leaves, count, files = below, size, len(widths(size))
while count:
    found = b"".join(tile(folder, level, number, width) for number, width in enumerate(widths(count)))
    assert found == b"".join(below), f"level {level}"
    files += len(widths(count))
    below = [root(below[at : at + 256]) for at in range(0, count - count % 256, 256)]
    count, level = count // 256, level + 1
assert files == sum(1 for path in (folder / "tile").rglob("*") if path.is_file()), "other files than the tree's"
assert root(leaves) == value, "the tiles do not have the checkpoint's root"

head, note = proof.read_text().split("\n\n", 1)
kind, extra, index, *path = head.split("\n")
assert kind == "c2sp.org/tlog-proof@v1"
entry = base64.b64decode(extra.removeprefix("extra "), validate=True)
index = int(index.removeprefix("index "))
total, value = checkpoint(note, vkey)
# RFC 9162, section 2.1.3.2.
first, last, found = index, total - 1, leaf(entry)
for sibling in (base64.b64decode(line, validate=True) for line in path):
    assert last > 0
    if first % 2 or first == last:
        found = node(sibling, found)
        while first % 2 == 0 and first:
            first, last = first >> 1, last >> 1
    else:
        found = node(found, sibling)
    first, last = first >> 1, last >> 1
assert last == 0 and found == value, "the entry does not lead to the root"
print(size, root(leaves).hex(), entry.decode())
