#!/usr/bin/env python3
"""Drawing one picture: `assent generate` against diffusers' pipeline, each as a whole process, in one run, as ratios.

    python scripts/bench/generate.py MODEL [--size 512] [--steps 4] [--threads 2] [--extra=--weights --extra=f16|int8]

Text encoding, STEPS steps of DDIM with guidance 7.5 (two passes of the U-Net each), the VAE, and the PNG, in float32 on
the CPU, from the same folder (or single file). Each side runs twice, with one step and with STEPS, which gives the
seconds of a step and those of all else. Python's file system cache is warm after the first run, so is assent's.

Needs the packages in tests/interop/requirements.txt, and a release build, which it makes: `cargo build --release`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import ROOT, run

os.environ.setdefault("HF_HUB_OFFLINE", "1")
PROMPT = "a lighthouse on a cliff at dusk, oil painting"


def torch_side(args):
    begin = time.perf_counter()
    import diffusers
    import peft  # noqa: F401  # what a script that loads an adapter imports
    import torch

    imported = time.perf_counter() - begin
    torch.set_num_threads(args.threads)
    path = Path(args.model)
    if path.is_dir():
        load = diffusers.DiffusionPipeline.from_pretrained
    elif args.xl:
        load = diffusers.StableDiffusionXLPipeline.from_single_file
    else:
        load = diffusers.StableDiffusionPipeline.from_single_file
    pipe = load(args.model, torch_dtype=torch.float32)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    first = []

    def seen(*_):
        first.append(time.perf_counter() - begin)

    pipe.unet.register_forward_pre_hook(seen)
    image = pipe(
        PROMPT,
        num_inference_steps=args.steps,
        guidance_scale=7.5,
        width=args.size,
        height=args.size,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    image.save(args.out)
    print(json.dumps({"imported": imported, "first": first[0]}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a diffusers folder or a single file")
    parser.add_argument("--xl", action="store_true", help="the single file is an SDXL model")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--extra", action="append", default=[], help="another argument for assent")
    parser.add_argument("--only", choices=("torch", "assent"), help="one side, without ratios")
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out:
        return torch_side(args)
    subprocess.run(["cargo", "build", "--release", "-q"], cwd=ROOT, check=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("torch", "assent"):
            if args.only not in (None, side):
                continue

            def draw(steps):
                common = ["--steps", str(steps)]
                if side == "torch":
                    given = ["--size", str(args.size), "--threads", str(args.threads), "--out", f"{folder}/torch.png"]
                    flags = ["--xl"] if args.xl else []
                    command = [sys.executable, __file__, args.model, *common, *given, *flags]
                else:
                    command = [str(ROOT / "target/release/assent"), "generate", "--base", args.model, *common]
                    command += ["--registry", f"{folder}/none.db", "--prompt", PROMPT, "--cfg", "7.5", "--sampler", "ddim"]
                    command += ["--width", str(args.size), "--height", str(args.size), "-o", f"{folder}/assent.png", "-q"]
                    command += args.extra
                return run(command, args.threads)

            one, many = draw(1), draw(args.steps)
            step = (many[0] - one[0]) / (args.steps - 1)
            found[side] = {"step": step, "rest": one[0] - step, "whole": many[0], "peak": max(one[1], many[1])}
            r = found[side]
            print(
                f"{side:8} {r['whole']:7.2f} s with {args.steps} steps: {step:6.2f} s a step, {r['rest']:6.2f} s all else; "
                f"{r['peak'] / 2**20:6.0f} MiB"
            )
            if side == "torch":
                said = json.loads(many[2][-1])
                print(f"         {said['imported']:.1f} s to import, {said['first']:.1f} s to the first pass")
    if len(found) == 2:
        a, t = found["assent"], found["torch"]
        ratios = {name: a[name] / t[name] for name in a}
        print("ratio    " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
