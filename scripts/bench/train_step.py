#!/usr/bin/env python3
"""A LoRA training step of the U-Net: assent against PyTorch + diffusers + PEFT, in one run, as a ratio.

    python scripts/bench/train_step.py [--unet FOLDER | --channels 320,640,1280,1280] [--size 64] [--batch 1]
        [--rank 8] [--threads 2] [--steps 5] [--accumulate 1] [--checkpointing] [--weights int8]

Both sides read the same weights and inputs, adapt the same modules (attention, feed-forward, proj_in, proj_out), and
do the same: forward, backward, clip to norm 1, AdamW, all in float32 on the CPU. Each runs in a process of its own, which
gives its peak memory; the time is the median over the steps after a first one. The losses of the first step must agree.
With `--weights`, assent keeps the U-Net in f16 or int8; PyTorch computes in float32 with the same rounded weights.

Needs the packages in tests/interop/requirements.txt, and a release build, which it makes:
`cargo build --release --example bench_train_step`.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import ROOT, run

os.environ.setdefault("HF_HUB_OFFLINE", "1")
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]


def make_unet(folder, channels):
    """A U-Net of SD 1.5's architecture with weights from a seed; real sizes with the default channels."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=64,
        block_out_channels=channels,
        norm_num_groups=32 if channels[0] % 32 == 0 else 4,
        attention_head_dim=8,
        cross_attention_dim=768,
    ).save_pretrained(folder)


def make_inputs(path, unet, batch, size):
    import torch
    from safetensors.torch import save_file

    width = json.loads((unet / "config.json").read_text())["cross_attention_dim"]
    generator = torch.Generator().manual_seed(1)
    save_file(
        {
            "sample": torch.randn(batch, 4, size, size, generator=generator),
            "noise": torch.randn(batch, 4, size, size, generator=generator),
            "timesteps": torch.linspace(50, 950, batch).round(),
            "encoder_hidden_states": torch.randn(batch, 77, width, generator=generator),
        },
        path,
    )


def rounded(weight, how):
    """What is left of a weight that is kept in f16, or in int8 with a scale for each output channel."""
    if how == "f16":
        return weight.half().float()
    if how == "int8" and min(weight.shape[:2]) >= 8:
        flat = weight.flatten(1)
        scales = (flat.abs().amax(1) / 127).clamp(min=1e-45)[:, None]
        return ((flat / scales).round().clamp(-127, 127) * scales).reshape(weight.shape)
    return weight


def torch_side(args):
    import torch
    from diffusers import UNet2DConditionModel
    from peft import LoraConfig
    from safetensors.torch import load_file

    torch.set_num_threads(args.threads)
    unet = UNet2DConditionModel.from_pretrained(args.unet, use_safetensors=True).requires_grad_(False)
    for module in unet.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.weight.data = rounded(module.weight.data, args.weights)
    unet.add_adapter(LoraConfig(r=args.rank, lora_alpha=args.rank, target_modules=TARGETS))
    if args.checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    given = load_file(args.inputs)
    seconds, losses = [], []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        for _ in range(args.accumulate):
            out = unet(given["sample"], given["timesteps"], given["encoder_hidden_states"]).sample
            loss = torch.nn.functional.mse_loss(out, given["noise"])
            (loss / args.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
        losses.append(loss.item())
    modules = sum(".lora_A." in name for name, _ in unet.named_parameters())
    print(json.dumps({"seconds": seconds, "losses": losses, "modules": modules}))


def measure(command, threads):
    """The last line of a process's output, its median step, and its peak memory in bytes."""
    _, peak, lines = run(command, threads)
    result = json.loads(lines[-1])
    result["step"] = statistics.median(result["seconds"][1:])
    result["peak"] = peak
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--unet", type=Path, help="folder of a diffusers U-Net; without it one is made")
    parser.add_argument("--channels", default="320,640,1280,1280", help="of the U-Net that is made")
    parser.add_argument("--size", type=int, default=64, help="latent height and width")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches of a step, one after the other")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing on both sides")
    parser.add_argument("--weights", choices=("f32", "f16", "int8"), default="f32", help="how assent keeps the weights")
    parser.add_argument("--inputs", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inputs:
        return torch_side(args)

    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "bench_train_step"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        unet = args.unet or Path(folder) / "unet"
        if args.unet is None:
            # In a process of its own: a child's peak begins with what its parent has in memory.
            channels = tuple(int(c) for c in args.channels.split(","))
            made = multiprocessing.get_context("spawn").Process(target=make_unet, args=(unet, channels))
            made.start()
            made.join()
        inputs = Path(folder) / "inputs.safetensors"
        make_inputs(inputs, unet, args.batch, args.size)
        numbers = {"--rank": args.rank, "--steps": args.steps, "--threads": args.threads}
        common = ["--unet", str(unet), "--inputs", str(inputs)]
        numbers |= {"--weights": args.weights, "--accumulate": args.accumulate}
        common += [text for pair in numbers.items() for text in map(str, pair)]
        extra = ["--checkpointing"] if args.checkpointing else []
        theirs = measure([sys.executable, __file__, *common, *extra], args.threads)
        switch = ["--checkpointing", "true"] if args.checkpointing else []
        ours = measure([str(ROOT / "target/release/examples/bench_train_step"), *common, *switch], args.threads)

    if ours["modules"] != theirs["modules"]:
        sys.exit(f"assent adapts {ours['modules']} modules, PEFT {theirs['modules']}")
    if abs(ours["losses"][0] / theirs["losses"][0] - 1) > 1e-3:
        sys.exit(f"the first losses differ: {ours['losses'][0]} and {theirs['losses'][0]}")
    mib = 1 << 20
    print(f"assent holds the U-Net in {args.weights}: {ours['held'] / mib:.0f} MiB")
    print(f"batch {args.batch} times {args.accumulate}, latents {args.size}x{args.size}, rank {args.rank}, {ours['modules']} modules, {args.threads} threads")
    print(f"{'':22}{'seconds a step':>16}{'peak MiB':>12}{'first loss':>14}")
    for name, side in (("PyTorch + PEFT", theirs), ("assent", ours)):
        print(f"{name:22}{side['step']:16.3f}{side['peak'] / mib:12.0f}{side['losses'][0]:14.6f}")
    print(f"{'assent / PyTorch':22}{ours['step'] / theirs['step']:16.2f}{ours['peak'] / theirs['peak']:12.2f}")


if __name__ == "__main__":
    main()
