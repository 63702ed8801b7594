#!/usr/bin/env python3
"""Prepare Openclipart for training: small pictures, captions, and who made them.

Reads Debian's packages openclipart-png and openclipart-svg (apt-get install openclipart-png openclipart-svg) and
writes for each drawing that may be used

    NAME.png            on white, the longest side at most --size pixels
    NAME.txt            the caption: title, folders and keywords
    NAME.png.license    the REUSE sidecar: creator, public domain

and summary.json: how many, and why the others were left out. Left out is what its RDF does not place in the public
domain, what names no creator or no title, what shows next to nothing, what is already there pixel for pixel, and of
drawings with one and the same caption all but the first --alike (one series alone has 1,375 stars).
Two runs over the same packages write the same bytes.

usage: prepare_openclipart.py OUT [--png DIR] [--svg DIR] [--size 128] [--alike 40] [--jobs N]
"""

import argparse
import collections
import hashlib
import json
import multiprocessing
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

from PIL import Image, ImageStat

# The largest drawing of the packages has 231 megapixels.
Image.MAX_IMAGE_PIXELS = 256_000_000

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
PUBLIC_DOMAIN = {
    "web.resource.org/cc/publicdomain": "LicenseRef-Public-Domain",
    "creativecommons.org/licenses/publicdomain": "LicenseRef-Public-Domain",
    "creativecommons.org/ns/publicdomain": "LicenseRef-Public-Domain",
    "public domain": "LicenseRef-Public-Domain",
    "creativecommons.org/publicdomain/zero/1.0": "CC0-1.0",
}
NOBODY = {"", "open clip art library", "unknown", "anonymous", "none", "n/a"}
NOT_A_WORD = re.compile(r"hash ?\(0x[0-9a-f]+\)|^hash$|^clip ?art$|^svg$|^openclipart$|^unsorted$")
DATE = re.compile(r"\b(mon|tue|wed|thu|fri|sat|sun) (jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec) [\d :]+")
MOST_WORDS = 20
PUBLIC_DOMAIN_TEXT = """The creator placed this drawing in the public domain, as its metadata in the Open Clip Art Library says
(cc:license http://web.resource.org/cc/PublicDomain): it may be copied, changed and used for any purpose.
"""


class LeftOut(Exception):
    """Why a drawing is not used."""


def plain(text):
    """One line, single spaces, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())


def words_of(text):
    """A title or keyword as it stands in a caption; empty when it says nothing."""
    text = plain(text).lower().replace("_", " ")
    text = DATE.sub(" ", text).removeprefix("part of the ")
    text = re.sub(r"[^\w\s'&+-]", " ", text)
    text = re.sub(r"(?<=[^\W\d])\d+\b|\b0*\d\b", " ", text)  # numbers that only count copies
    text = " ".join(text.split()).strip(" -'&+")
    return "" if NOT_A_WORD.search(text) or not re.search(r"[^\W\d_]", text) else text


def agents(work, name):
    found = []
    for element in work.iter(DC + name):
        titles = [title.text for title in element.iter(DC + "title")] or [element.text]
        found += [plain(title) for title in titles]
    return [agent for agent in dict.fromkeys(found) if agent.lower() not in NOBODY]


def described(svg):
    """Title, keywords, creators and licence of one SVG, from its RDF."""
    with open(svg, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    rdf = re.search(r"<rdf:RDF.*?</rdf:RDF>", text, re.DOTALL)
    if not rdf:
        raise LeftOut("no metadata")
    try:
        # Some files declare the prefixes on the outermost element only.
        work = ElementTree.fromstring(
            '<x xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:cc="http://web.resource.org/cc/"'
            ' xmlns:dc="http://purl.org/dc/elements/1.1/">' + rdf.group(0) + "</x>"
        )
    except ElementTree.ParseError:
        raise LeftOut("metadata does not parse") from None
    licences = {
        (element.get(RDF + "resource") or element.text or "").strip().lower().removeprefix("http://").rstrip("/")
        for element in work.iter()
        if element.tag.rpartition("}")[2] == "license"
    }
    if not licences or licences == {""}:
        raise LeftOut("no licence")
    if not licences <= PUBLIC_DOMAIN.keys():
        raise LeftOut("not public domain")
    creators = agents(work, "creator")
    if not creators:
        raise LeftOut("no creator")
    titles = [element.text for element in work.iter(DC + "title")]
    title = words_of(titles[0]) if titles else ""
    if not title:
        raise LeftOut("no title")
    names = {name.lower() for name in creators}
    keywords = [
        plain(element.text)
        for subject in work.iter(DC + "subject")
        for element in subject.iter(RDF + "li")
        if not any(plain(element.text).lower() in name for name in names)
    ]
    licence = "CC0-1.0" if {PUBLIC_DOMAIN[found] for found in licences} == {"CC0-1.0"} else "LicenseRef-Public-Domain"
    return title, keywords, creators, licence


def caption(title, folders, keywords):
    parts, seen, count = [], set(), 0
    for part in [title, *map(words_of, folders), *map(words_of, keywords)]:
        new = [word for word in part.split() if word not in seen]
        if not new:
            continue
        # The title stays whole; of the rest only what is not yet said.
        part = part if not parts else " ".join(new)
        count += len(part.split())
        if count > MOST_WORDS and parts:
            break
        parts.append(" ".join(part.split()[:MOST_WORDS]))
        seen.update(part.split())
    return "clip art of " + ", ".join(parts)


def shrunk(png, size):
    """The drawing on white, never larger than size."""
    with Image.open(png) as image:
        image.load()
        # Whole blocks first: Lanczos over hundreds of megapixels takes minutes and changes nothing visible.
        factor = max(1, max(image.size) // (size * 4))
        if image.mode == "P" or image.mode == "1":
            image = image.convert("RGBA")
        if image.mode == "LA":
            image = image.convert("RGBA")
        elif image.mode not in ("L", "RGB", "RGBA"):
            image = image.convert("RGB")
        if image.mode == "RGBA":
            # Premultiplied, so that the colour under transparent pixels does not bleed.
            image = image.convert("RGBa")
        if factor > 1:
            image = image.reduce(factor)
        width, height = image.size
        scale = min(1.0, size / max(width, height))
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
        if target != image.size:
            image = image.resize(target, Image.Resampling.LANCZOS)
        if image.mode == "RGBa":
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
    if ImageStat.Stat(image.convert("L")).stddev[0] < 4 and max(ImageStat.Stat(image).stddev) < 4:
        raise LeftOut("next to nothing to see")
    return image


def prepare(job):
    relative, png, svg, out, size = job
    name = relative.replace(os.sep, "__")
    try:
        title, keywords, creators, licence = described(svg)
        try:
            image = shrunk(png, size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise LeftOut("picture does not decode") from None
    except LeftOut as reason:
        return relative, str(reason), None, None, None, None
    said = caption(title, os.path.dirname(relative).split(os.sep), keywords)
    write = os.path.join(out, name)
    image.save(write + ".png", optimize=False, compress_level=9)
    with open(write + ".txt", "w", encoding="utf-8") as file:
        file.write(said + "\n")
    with open(write + ".png.license", "w", encoding="utf-8") as file:
        for creator in creators:
            # Tags in two parts, or a checker would take them for those of this file.
            file.write("SPDX-" + f"FileCopyrightText: {creator}\n")
        file.write("SPDX-" + f"License-Identifier: {licence}\n")
    pixels = hashlib.sha256(repr(image.size).encode() + image.tobytes()).hexdigest()
    return relative, None, pixels, said, creators, licence


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--png", default="/usr/share/openclipart/png")
    parser.add_argument("--svg", default="/usr/share/openclipart/svg")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--alike", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()

    jobs = []
    for folder, folders, files in os.walk(args.svg):
        folders.sort()
        for file in files:
            stem, extension = os.path.splitext(os.path.join(folder, file))
            relative = os.path.relpath(stem, args.svg)
            png = os.path.join(args.png, relative + ".png")
            if extension == ".svg" and os.path.exists(png):
                jobs.append((relative, png, stem + extension, args.out, args.size))
    jobs.sort()
    if not jobs:
        sys.exit(f"no drawings under {args.svg} and {args.png}\nhint: apt-get install openclipart-png openclipart-svg")
    os.makedirs(os.path.join(args.out, "LICENSES"), exist_ok=True)
    with open(os.path.join(args.out, "LICENSES", "LicenseRef-Public-Domain.txt"), "w", encoding="utf-8") as file:
        file.write(PUBLIC_DOMAIN_TEXT)

    reasons, licences, artists, captions, first = *(collections.Counter() for _ in range(4)), {}
    with multiprocessing.Pool(args.jobs) as pool:
        # imap keeps the order, so which of two equal pictures stays does not depend on the machine.
        for done, (relative, reason, pixels, said, creators, licence) in enumerate(pool.imap(prepare, jobs, 8), 1):
            if reason is None:
                captions[said] += 1
                if first.setdefault(pixels, relative) != relative:
                    reason = "the same pixels as another"
                    captions[said] -= 1
                elif captions[said] > args.alike:
                    reason = "many with the same caption"
                if reason:
                    for extension in (".png", ".txt", ".png.license"):
                        os.remove(os.path.join(args.out, relative.replace(os.sep, "__")) + extension)
            if reason:
                reasons[reason] += 1
            else:
                licences[licence] += 1
                artists.update(creators)
            if done % 500 == 0:
                print(f"{done} of {len(jobs)}", file=sys.stderr)
    summary = {
        "drawings": len(jobs),
        "used": sum(licences.values()),
        "artists": len(artists),
        "licences": licences,
        "left_out": reasons,
    }
    with open(os.path.join(args.out, "summary.json"), "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2, sort_keys=True)
        file.write("\n")
    print(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
