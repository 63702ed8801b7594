#!/usr/bin/env python3
"""The U-Net's forward pass: assent against PyTorch and diffusers, in one run, as ratios.

    python scripts/bench/unet_forward.py UNET_FOLDER [--size 64] [--batch 2] [--steps 3] [--threads 2] [--weights f16|int8]

Both sides read the same weights and inputs, in float32 on the CPU. Each runs in a process of its own, which gives its
peak memory; the time is the median over the passes after a first one. Prints how far the outputs are from each other as
a share of the greatest output, and how far PyTorch's is from its own with `--exact` (float64, needs twice the memory).

Needs the packages in tests/interop/requirements.txt, and a release build, which it makes:
`cargo build --release --example bench_unet_forward`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import ROOT
from train_step import measure

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def make_inputs(path, config, batch, size):
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    given = {
        "sample": normal(batch, config["in_channels"], size, size),
        "timesteps": torch.full((batch,), 601.0),
        "encoder_hidden_states": normal(batch, 77, config["cross_attention_dim"]),
    }
    if config.get("addition_embed_type") == "text_time":
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        given["text_embeds"] = normal(batch, pooled)
        given["time_ids"] = torch.tensor([[8.0 * size, 8.0 * size, 0, 0, 8.0 * size, 8.0 * size]] * batch)
    save_file(given, path)


def torch_side(args):
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(args.threads)
    dtype = torch.float64 if args.exact else torch.float32
    start = time.perf_counter()
    unet = UNet2DConditionModel.from_pretrained(args.unet, use_safetensors=True, torch_dtype=dtype).eval()
    load = time.perf_counter() - start
    given = {name: tensor.to(dtype) for name, tensor in load_file(args.inputs).items()}
    added = {name: given[name] for name in ("text_embeds", "time_ids") if name in given}
    seconds = []
    with torch.no_grad():
        for _ in range(args.steps + 1):
            start = time.perf_counter()
            condition = given["encoder_hidden_states"]
            out = unet(given["sample"], given["timesteps"], condition, added_cond_kwargs=added or None).sample
            seconds.append(time.perf_counter() - start)
    save_file({"out": out.float().contiguous()}, args.out)
    print(json.dumps({"seconds": seconds, "load": load}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("unet", type=Path, help="folder of a diffusers U-Net")
    parser.add_argument("--size", type=int, default=64, help="latent height and width")
    parser.add_argument("--batch", type=int, default=2, help="2 is one picture with guidance")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", choices=("f32", "f16", "int8"), default="f32", help="how assent keeps the weights")
    parser.add_argument("--exact", action="store_true", help="compare both with PyTorch in float64 too")
    parser.add_argument("--only", choices=("torch", "assent"), help="one side, without ratios")
    parser.add_argument("--inputs", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inputs:
        return torch_side(args)
    from safetensors.torch import load_file

    subprocess.run(["cargo", "build", "--release", "-q", "--example", "bench_unet_forward"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        config = json.loads((args.unet / "config.json").read_text())
        inputs = Path(folder) / "inputs.safetensors"
        make_inputs(inputs, config, args.batch, args.size)
        passes = ["--steps", str(args.steps), "--threads", str(args.threads)]

        def out(side):
            return ["--inputs", str(inputs), "--out", f"{folder}/{side}.safetensors"]

        torch_command = [sys.executable, __file__, str(args.unet)]
        binary = str(ROOT / "target/release/examples/bench_unet_forward")
        sides = {
            "torch": [*torch_command, *passes, *out("torch")],
            "assent": [binary, "--unet", str(args.unet), "--weights", args.weights, *passes, *out("assent")],
        }
        found = {}
        for side, command in sides.items():
            if args.only in (None, side):
                found[side] = measure(command, args.threads)
                r = found[side]
                print(f"{side:8} {r['step']:7.2f} s a pass  {r['peak'] / 2**20:7.0f} MiB  loaded in {r['load']:.1f} s")
        if args.exact:
            measure([*torch_command, "--steps", "0", "--threads", str(args.threads), "--exact", *out("exact")], args.threads)
        outputs = {path.stem: load_file(path)["out"] for path in Path(folder).glob("*.safetensors") if path != inputs}
    names = sorted(outputs)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            error = (outputs[one] - outputs[other]).abs().max() / outputs[other].abs().max()
            print(f"{one} and {other} differ by {error:.2e} of the greatest output")
    if len(found) == 2:
        a, t = found["assent"], found["torch"]
        print(f"ratio    {a['step'] / t['step']:.2f} of the time, {a['peak'] / t['peak']:.2f} of the memory")


if __name__ == "__main__":
    main()
