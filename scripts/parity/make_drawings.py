"""What the pipelines of diffusers draw from a picture with a small random model: tests/fixtures/drawings/cases.json.

Usage: python make_drawings.py tests/fixtures/parity/sd15-tiny/model tests/fixtures/drawings

Needs torch, diffusers and transformers (made with 2.15.0, 0.42.1 and 5.23.0; two minutes on one core). Cases of
StableDiffusionPipeline, StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline, with the latents before the
VAE, and the VAE's tiled_decode and tiled_encode, of which every `every`-th value is kept.

Pictures, masks and noise are formulas (`wave`), the same in the test. The noise is that of a label: `start` (the
posterior of the VAE for the picture), `masked` (the same for the masked picture), `picture/0` (what sampling starts
from) and `step/N`. The inpainting network of nine channels is the model's own with `wave(7, ...) / 10` for the weights
of the five further ones.
"""

import json
import math
import pathlib
import sys
import types

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from diffusers.models.autoencoders import vae as posterior

sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
from diffusers.schedulers import scheduling_dpmsolver_sde as sde  # noqa: E402

WIDTH, HEIGHT = 48, 64
PROMPT, NEGATIVE = "a red boat", "blue, people"
SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m_karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "uni_pc": (UniPCMultistepScheduler, {}),
    "dpmpp_sde": (sde.DPMSolverSDEScheduler, {}),
    "lcm": (LCMScheduler, {}),
}
LABELS = {"start": 1, "masked": 2, "picture/0": 3}


def wave(key: int, *shape: int) -> torch.Tensor:
    """Numbers of about unit size, rounded to f32."""
    count = math.prod(shape)
    values = [1.4 * math.sin(12.9898 * (key + 1) + 78.233 * j) for j in range(count)]
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def noise(label: str, shape) -> torch.Tensor:
    return wave(LABELS[label] if label in LABELS else 100 + int(label.removeprefix("step/")), *shape)


def path(turn: list[int]):
    """The Brownian path of DPMSolverSDEScheduler, over [sigma, middle] and then over the whole step: two independent
    halves, each of the noise of the evaluation that is at hand."""
    half = {}

    def between(sigma, sigma_next):
        here = noise(f"step/{turn[0]}", (1, 4, HEIGHT // 8, WIDTH // 8))
        if not half:
            half.update(to=sigma_next, noise=here)
            return here
        share, first = (sigma - half["to"]) / (sigma - sigma_next), half["noise"]
        half.clear()
        return share.sqrt() * first + (1 - share).sqrt() * here

    return between


def numbers(values) -> list[float]:
    return [float(f"{float(v):.9g}") for v in values.flatten()]


def picture() -> torch.Tensor:
    return (wave(5, 1, 3, HEIGHT, WIDTH) / 1.4 + 1) / 2


def mask() -> torch.Tensor:
    """New in the lower right quarter."""
    out = torch.zeros(1, 1, HEIGHT, WIDTH)
    out[:, :, HEIGHT // 2:, WIDTH // 2:] = 1
    return out


def nine_channels(unet):
    """The same network with an input for mask and masked picture."""
    old = unet.conv_in
    new = torch.nn.Conv2d(9, old.out_channels, 3, padding=1)
    further = wave(7, old.out_channels, 5, 3, 3) / 10
    new.weight.data = torch.cat([old.weight.data, further], 1)
    new.bias.data = old.bias.data
    unet.conv_in = new
    unet.register_to_config(in_channels=9)


def run(folder: str, kind: str, sampler: str, steps: int, strength: float | None, cfg: float, rescale: float) -> dict:
    cls = {
        "text": StableDiffusionPipeline, "image": StableDiffusionImg2ImgPipeline,
        "inpaint": StableDiffusionInpaintPipeline, "inpaint9": StableDiffusionInpaintPipeline,
    }[kind]
    pipe = cls.from_pretrained(folder, safety_checker=None, feature_extractor=None, image_encoder=None)
    pipe.set_progress_bar_config(disable=True)
    of, changes = SAMPLERS[sampler]
    pipe.scheduler = of.from_config(pipe.scheduler.config, **changes)
    if kind == "inpaint9":
        nine_channels(pipe.unet)
    turn, step = [0], pipe.scheduler.step

    def counted(*args, **kwargs):
        out = step(*args, **kwargs)
        turn[0] += 1
        return out

    pipe.scheduler.step = counted
    sde.BrownianTreeNoiseSampler = lambda *_: path(turn)
    # A network of nine channels that starts from noise alone does not encode the picture.
    draws = iter(["masked"] if kind == "inpaint9" and strength == 1.0 else ["start", "masked"])
    posterior.randn_tensor = lambda shape, **_: noise(next(draws), shape)
    sys.modules[cls.__module__].randn_tensor = lambda shape, **_: noise("picture/0", shape)
    module = sys.modules[of.__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda shape, **_: noise(f"step/{turn[0]}", shape)
    options = {"text": {"width": WIDTH, "height": HEIGHT, "guidance_rescale": rescale}, "image": {"image": picture()}}.get(
        kind, {"image": picture(), "mask_image": mask(), "width": WIDTH, "height": HEIGHT}
    )
    if strength is not None:
        options["strength"] = strength
    latents = pipe(
        PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=cfg, output_type="latent", **options
    ).images
    return {
        "kind": kind, "sampler": sampler, "steps": steps, "strength": strength, "cfg": cfg, "rescale": rescale,
        "latents": numbers(latents),
    }


def cases():
    for sampler in SAMPLERS:
        yield "image", sampler, 6, 0.6, 3.0, 0.0
    yield "text", "euler_ancestral", 4, None, 5.0, 0.7
    yield "image", "ddim", 5, 1.0, 1.0, 0.0
    for sampler in ("ddim", "euler", "dpmpp_2m_karras", "euler_ancestral"):
        yield "inpaint", sampler, 6, 0.6, 3.0, 0.0
    yield "inpaint", "ddim", 4, 1.0, 3.0, 0.0
    yield "inpaint9", "ddim", 4, 1.0, 3.0, 0.0
    yield "inpaint9", "euler", 5, 0.7, 3.0, 0.0


def tiles(folder: str) -> dict:
    vae = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, feature_extractor=None, image_encoder=None).vae
    tile, every = 8, 41
    vae.tile_latent_min_size, vae.tile_sample_min_size = tile, tile * 8
    latents, image = wave(8, 1, 4, 14, 11), wave(9, 1, 3, 14 * 8, 11 * 8) / 1.4
    with torch.no_grad():
        decoded = vae.tiled_decode(latents).sample
        encoded = vae._tiled_encode(image)
    return {
        "tile": tile, "every": every, "latent_size": [14, 11],
        "decoded": numbers(decoded.flatten()[::every]), "encoded": numbers(encoded.flatten()[::every]),
    }


def main() -> None:
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    folder, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(run(folder, *case), allow_nan=False) for case in cases()]
    head = json.dumps({
        "made_with": {"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__},
        "size": [WIDTH, HEIGHT], "prompt": PROMPT, "negative_prompt": NEGATIVE, "tiles": tiles(folder),
    })
    (out / "cases.json").write_text(head[:-1] + ',\n "cases": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n")
    print(f"{len(rows)} cases")


if __name__ == "__main__":
    main()
