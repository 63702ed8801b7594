"""What PyTorch's optimizers and diffusers' schedules make of small inputs: tests/fixtures/optimizers/*.json.

Usage: python make_optimizers.py tests/fixtures/optimizers

Needs torch, transformers, diffusers, lion-pytorch, prodigyopt, schedulefree and bitsandbytes (made with 2.15.0, 5.23.0,
0.42.1, 0.2.5, 1.1.2, 1.4.1 and 0.50.2; bitsandbytes computes on the CPU). Weights and gradients are formulas (`draws.unit`),
the same in the test. REX is not in diffusers: its formula is that of Chen, Wolfe and Kyrillidis 2021, arXiv:2107.04197.

bitsandbytes rounds to 8 bits on the CPU by a table that misses the nearest code of small values; here its rounding is
replaced by the nearest of its own codes, as Dettmers et al. 2022 (arXiv:2110.02861) describe and its GPU code does.

optimizers.json: `codes` are the numbers that 8-bit codes stand for; a case is {name, optimizer, arguments, lr, shapes, every (of how many weights one is kept), weights
(after the update of that number, from 0), kept (of schedule-free: the averages)}.
schedules.json: a case is {name, warmup, total, cycles, power, peak, rates (by update)}.
"""

import json
import math
import sys
from pathlib import Path

import bitsandbytes
import bitsandbytes.backends.cpu.ops as cpu_ops
import lion_pytorch
import prodigyopt
import schedulefree
import torch
from bitsandbytes.functional import create_dynamic_map
from diffusers.optimization import get_scheduler
from draws import numbers, unit
from transformers.optimization import Adafactor

CLASSES = {
    "AdamW": torch.optim.AdamW,
    "AdamW8bit": bitsandbytes.optim.AdamW8bit,
    "Lion": lion_pytorch.Lion,
    "Adafactor": Adafactor,
    "Prodigy": prodigyopt.Prodigy,
    "AdamWScheduleFree": schedulefree.AdamWScheduleFree,
}
SMALL = [[4, 3], [5], [3, 2, 2, 2]]
LARGE = [[64, 80], [70, 61], [100]]
WATCHED = [0, 4, 19]


def round_to_nearest(values, code, absmax_out, out, blocksize) -> None:
    """Each value over the largest of its block becomes the place of the nearest code."""
    flat = values.flatten()
    for block, start in enumerate(range(0, len(flat), blocksize)):
        part = flat[start : start + blocksize]
        absmax_out[block] = part.abs().max()
        distance = ((part / absmax_out[block])[:, None] - code[None, :]).abs()
        out.view(-1)[start : start + blocksize] = distance.argmin(dim=1).to(torch.uint8)


cpu_ops._quant_blockwise_fp32_direct = round_to_nearest


def optimizer_case(name: str, optimizer: str, lr: float | None, large: bool = False, **arguments) -> dict:
    shapes, every = (LARGE, 43) if large else (SMALL, 1)
    params = [
        torch.nn.Parameter(unit(100 + k, math.prod(shape)).reshape(shape)) for k, shape in enumerate(shapes)
    ]
    given = dict(arguments)
    if optimizer == "Adafactor":
        given.setdefault("relative_step", True)
        arguments.setdefault("relative_step", True)
    made = CLASSES[optimizer](params, lr=lr, **given)
    averages = optimizer == "AdamWScheduleFree"
    if averages:
        made.train()
    weights, kept = {}, {}
    for step in range(20):
        for k, (param, size) in enumerate(zip(params, [1.0, 1e-3, 30.0])):
            gradient = (unit(1000 * (k + 1) + step, param.numel()) + unit(50 + k, param.numel())) * torch.tensor(size)
            param.grad = gradient.reshape(param.shape)
        made.step()
        if step in WATCHED:
            weights[str(step)] = [numbers(param, every) for param in params]
            if averages:
                made.eval()
                kept[str(step)] = [numbers(param, every) for param in params]
                made.train()
    return {
        "name": name, "optimizer": optimizer, "arguments": arguments, "lr": lr or 1.0, "shapes": shapes,
        "every": every, "weights": weights, "kept": kept,
    }


def optimizers() -> list[dict]:
    case = optimizer_case
    return [
        case("AdamW", "AdamW", 1e-2),
        case("AdamW, others", "AdamW", 3e-2, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.1),
        case("AdamW8bit", "AdamW8bit", 1e-2, large=True),
        case("AdamW8bit, others", "AdamW8bit", 3e-2, large=True, betas=[0.8, 0.95], eps=1e-6, weight_decay=0.1),
        case("AdamW8bit of few values", "AdamW8bit", 1e-2, weight_decay=0.1),
        case("Lion", "Lion", 1e-3),
        case("Lion, others", "Lion", 3e-3, betas=[0.95, 0.98], weight_decay=1.0),
        case("Adafactor", "Adafactor", None),
        case("Adafactor, warm-up", "Adafactor", None, warmup_init=True, weight_decay=0.1),
        case("Adafactor, unscaled", "Adafactor", 1e-2, relative_step=False, scale_parameter=False),
        case("Adafactor, momentum", "Adafactor", 1e-1, relative_step=False, beta1=0.9, clip_threshold=0.5),
        case("Prodigy", "Prodigy", 1.0),
        case("Prodigy, others", "Prodigy", 0.5, betas=[0.8, 0.99], beta3=0.95, weight_decay=0.1, d0=1e-2, d_coef=2.0),
        case("Prodigy, safeguarded", "Prodigy", 1.0, use_bias_correction=True, safeguard_warmup=True),
        case("Prodigy, slow", "Prodigy", 1.0, growth_rate=1.5, d0=1e-3),
        case("Prodigy, coupled", "Prodigy", 1.0, weight_decay=0.1, decouple=False),
        case("AdamWScheduleFree", "AdamWScheduleFree", 1e-2),
        case("AdamWScheduleFree, others", "AdamWScheduleFree", 3e-2, betas=[0.95, 0.99], weight_decay=0.1,
             warmup_steps=8, r=1.0, weight_lr_power=1.0),
    ]


def schedule_case(name: str, warmup: int, total: int, cycles: int = 1, power: float = 1.0, peak: float = 2e-3) -> dict:
    if name == "rex":
        def rate(step: int) -> float:
            if step < warmup:
                return peak * step / warmup
            left = 1 - (step - warmup) / (total - warmup)
            return peak * left / (0.5 + 0.5 * left)
        rates = [rate(step) for step in range(total + 1)]
    else:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        more = {"num_cycles": cycles} if name == "cosine_with_restarts" else {}
        schedule = get_scheduler(
            name, optimizer, num_warmup_steps=warmup, num_training_steps=total, power=power, **more
        )
        rates = []
        for _ in range(total + 1):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
    return {"name": name, "warmup": warmup, "total": total, "cycles": cycles, "power": power, "peak": peak, "rates": rates}


def schedules() -> list[dict]:
    return [
        schedule_case("constant", 0, 12),
        schedule_case("constant_with_warmup", 5, 12),
        schedule_case("linear", 0, 12),
        schedule_case("linear", 4, 15),
        schedule_case("cosine", 3, 14),
        schedule_case("cosine_with_restarts", 2, 23, cycles=3),
        schedule_case("polynomial", 4, 19, power=2.5, peak=1e-6),
        schedule_case("polynomial", 0, 11),
        schedule_case("rex", 0, 10),
        schedule_case("rex", 4, 21),
    ]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    codes = {"signed": numbers(create_dynamic_map(True)), "unsigned": numbers(create_dynamic_map(False))}
    for name, content in [
        ("optimizers", {"codes": codes, "cases": optimizers()}),
        ("schedules", {"cases": schedules()}),
    ]:
        (folder / f"{name}.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
