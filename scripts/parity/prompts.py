#!/usr/bin/env python3
"""What ComfyUI's reading of a prompt makes of transformers' text encoders: a reference for `src/model/prompt.rs`.

    python scripts/parity/prompts.py tests/fixtures/parity/sd15-tiny/model tests/fixtures/prompts

writes `prompts.json` (prompts, clip skip, ids and weights) and `prompts.safetensors` (context, and pooled for SDXL) for
a diffusers folder. The reading is written out again here from its rules, not translated from the Rust:

- `\\(` and `\\)` are parentheses of the text. An outer `(` up to the `)` that closes it is a group; where the count of
  open parentheses goes below zero, or a group is never closed, the parentheses are text.
- A group whose inside ends in `:NUMBER` (not at its first character) has that weight for what is in front of the colon;
  any other has 1.1 times the weight around it. Groups are read the same way inside.
- Each stretch of one weight is tokenized by itself. Rows have room for 75 tokens: a stretch of eight or more is divided
  between rows where it must be, a shorter one goes to the next row whole. Three rows at most.
- A token's vector v of weight w is e + w (v - e), where e is the vector at its place in the encoding of "".
- Clip skip n takes the nth layer from the last. Stable Diffusion: 1, through the final norm. SDXL: 2, without it, both
  encoders side by side cut to the shorter, and the pooled vector of the second encoder's first row.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

PROMPTS = [
    "",
    "a red boat",
    "a (red) boat",
    "a (red:1.4) boat on (calm:0.5) water",
    "((a red) boat:0.8) by [nobody]",
    r"a boat \(1923\), (oil \(thick\):1.2)",
    "an (unclosed boat, (inner:1.3) text",
    "closed too early) (not a group)",
    "(a:b) (:1.3) () (2:1:1.2)",
    "(negative:-0.5) and (none:0)",
    " ".join(["boat"] * 76),
    ", ".join(f"a (green:1.{i % 7}) boat {i}" for i in range(20)),
    " ".join(["river"] * 70) + " (seven words that stay all together:1.3) tail",
    ", ".join(f"stone {i}" for i in range(120)),
    "Ünïcode (façade:1.1) 雪 (☃!:1.2)",
]
ROOM, ROWS, WHOLE = 75, 3, 8


def groups(text):
    """(inside, is a group) for each piece."""
    pieces, piece, level = [], "", 0
    for c in text:
        if c == "(" and level == 0 and piece:
            pieces.append(piece)
            piece = ""
        piece += c
        level += {"(": 1, ")": -1}.get(c, 0)
        if c == ")" and level == 0:
            pieces.append(piece)
            piece = ""
    if piece:
        pieces.append(piece)
    return [(p[1:-1], True) if len(p) > 1 and p[0] == "(" and p[-1] == ")" else (p, False) for p in pieces]


def stretches(text, weight=1.0):
    for inside, group in groups(text):
        if not group:
            yield inside, weight
            continue
        front, colon, number = inside.rpartition(":")
        try:
            if not (colon and front):
                raise ValueError
            yield from stretches(front, float(number))
        except ValueError:
            yield from stretches(inside, weight * 1.1)


def rows(prompt, tokenizer):
    hidden = prompt.replace(r"\)", "\x01").replace(r"\(", "\x02")
    filled = [[]]
    for text, weight in stretches(hidden):
        ids = tokenizer(text.replace("\x01", ")").replace("\x02", "("))["input_ids"][1:-1]
        tokens = [(i, weight) for i in ids]
        whole = len(tokens) < WHOLE
        while len(tokens) > ROOM - len(filled[-1]):
            room = 0 if whole else ROOM - len(filled[-1])
            filled[-1] += tokens[:room]
            tokens = tokens[room:]
            filled.append([])
        filled[-1] += tokens
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    framed = [[(start, 1.0), *row, (end, 1.0)] for row in filled[:ROWS]]
    return [row + [(pad, 1.0)] * (ROOM + 2 - len(row)) for row in framed]


@torch.no_grad()
def encode(prompt, tokenizer, encoder, skip, norm):
    found = rows(prompt, tokenizer)
    empty = rows("", tokenizer)[0]
    ids = torch.tensor([[i for i, _ in row] for row in [*found, empty]])
    out = encoder(ids, output_hidden_states=True)
    states = out.hidden_states[-skip]
    if norm:
        inner = getattr(encoder, "text_model", encoder)
        states = inner.final_layer_norm(states)
    weights = torch.tensor([[w for _, w in row] for row in found])[..., None]
    states, base = states[:-1], states[-1:]
    states = torch.where(weights == 1, states, (states - base) * weights + base)
    pooled = getattr(out, "text_embeds", None)
    return found, states.reshape(1, -1, states.shape[-1]), None if pooled is None else pooled[:1]


def cases(model, prompts=PROMPTS, skips=(None, 2)):
    """For each prompt and clip skip: what goes into JSON, and the tensors."""
    model = Path(model)
    xl = (model / "text_encoder_2").is_dir()
    parts = [(CLIPTokenizer.from_pretrained(model / "tokenizer"), CLIPTextModel.from_pretrained(model / "text_encoder"))]
    if xl:
        second = CLIPTextModelWithProjection.from_pretrained(model / "text_encoder_2")
        parts.append((CLIPTokenizer.from_pretrained(model / "tokenizer_2"), second))
    listed, tensors = [], {}
    for i, prompt in enumerate(prompts):
        for skip in skips:
            layer = skip or (2 if xl else 1)
            done = [encode(prompt, t, e.eval(), layer, not xl) for t, e in parts]
            shortest = min(states.shape[1] for _, states, _ in done)
            name = f"{i}/{skip or 0}"
            tensors[f"{name}/context"] = torch.cat([states[:, :shortest] for _, states, _ in done], -1).contiguous()
            if xl:
                tensors[f"{name}/pooled"] = done[1][2].contiguous()
            listed.append({
                "name": name, "prompt": prompt, "clip_skip": skip,
                "ids": [[[t for t, _ in row] for row in found] for found, _, _ in done],
                "weights": [[[w for _, w in row] for row in found] for found, _, _ in done],
            })  # fmt: skip
    return listed, tensors


def main():
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    listed, tensors = cases(model)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in listed)
    (out / "prompts.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    save_file(tensors, out / "prompts.safetensors")


if __name__ == "__main__":
    main()
