"""What the schedulers of diffusers make of one small sample: tests/fixtures/samplers/cases.json.

Usage: python make_samplers.py tests/fixtures/samplers/cases.json

Needs torch and diffusers (made with 2.15.0 and 0.42.1). The network is `sin(1.7 * input + 0.003 * timestep)`, so that
the numbers depend on the schedulers alone. The initial latents and the noise of step i are formulas
(`unit`, below), the same in the test. The noise of `DPMSolverSDEScheduler` comes from a Brownian path in sigma, whose
two halves of a step are independent; torchsde, which draws such paths, is not needed, as the path is made from `unit`.

A case: {sampler, config (what the scheduler's configuration changes), steps, skipped (steps left out at the start),
init, timesteps, trace (the sample after each evaluation)}. A picture that is noised to where the skipped steps end is
`unit(900)`, with the noise `unit(901)`. `guidance` holds one call of `rescale_noise_cfg`.
"""

import json
import math
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
    UniPCMultistepScheduler,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
from diffusers.schedulers import scheduling_dpmsolver_sde as sde  # noqa: E402

BASE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}
SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_sde": (sde.DPMSolverSDEScheduler, {}),
    "uni_pc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}
SPREADS = {"euler", "heun", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "uni_pc"}
NO_SAMPLE_PREDICTION = {"euler_ancestral", "dpmpp_sde"}
FINAL_SIGMAS = {"euler", "dpmpp_2m", "uni_pc"}


def numbers(values) -> list[float]:
    """As many digits as an f32 has."""
    return [float(f"{float(v):.9g}") for v in values]


def unit(key: int) -> torch.Tensor:
    """Two numbers of about unit size, rounded to f32."""
    values = [1.4 * math.sin(12.9898 * (key + 1) + 78.233 * j) for j in range(2)]
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, 2)


class Source:
    """Stands in the place of a random generator: the noise of evaluation `turn`."""

    turn = 0


def path(source: Source, middle: dict):
    """The noise sampler of DPMSolverSDEScheduler, over [sigma, middle] and then over the whole step."""

    def noise(sigma, sigma_next):
        here = unit(source.turn)
        if "sigma" not in middle:
            middle.update(sigma=sigma_next, noise=here)
            return here
        share = (sigma - middle["sigma"]) / (sigma - sigma_next)
        first = middle["noise"]
        middle.clear()
        return share.sqrt() * first + (1 - share).sqrt() * here

    return noise


def run(name: str, changes: dict, steps: int, skipped: int) -> dict:
    cls, fixed = SAMPLERS[name]
    scheduler = cls.from_config(BASE | changes | fixed)
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps[skipped * scheduler.order:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(skipped * scheduler.order)
    if skipped:
        sample = scheduler.add_noise(unit(900), unit(901), timesteps[:1])
    else:
        sample = unit(900) * scheduler.init_noise_sigma
    source, trace = Source(), []
    if name == "dpmpp_sde":
        scheduler.noise_sampler = path(source, {})
    module = sys.modules[cls.__module__]
    if hasattr(module, "randn_tensor"):
        module.randn_tensor = lambda *_, **__: unit(source.turn)
    sample = sample.float()
    for turn, t in enumerate(timesteps):
        source.turn = turn
        network = torch.sin(1.7 * scheduler.scale_model_input(sample, t).float() + 0.003 * t.float())
        sample = scheduler.step(network, t, sample, return_dict=False)[0].float()
        trace.append(numbers(sample.flatten()))
    return {
        "sampler": name, "config": changes, "steps": steps, "skipped": skipped,
        "init": float(scheduler.init_noise_sigma), "timesteps": numbers(timesteps), "trace": trace,
    }


def cases():
    for name in SAMPLERS:
        for prediction in ("epsilon", "v_prediction", "sample"):
            if prediction == "sample" and name in NO_SAMPLE_PREDICTION:
                continue
            for spacing in ("leading", "trailing", "linspace"):
                for spread in (None, "karras", "exponential") if name in SPREADS else (None,):
                    changes = {"prediction_type": prediction, "timestep_spacing": spacing}
                    if spread:
                        changes[f"use_{spread}_sigmas"] = True
                    yield name, changes, 6, 0
        plain = {"timestep_spacing": "linspace"}
        yield name, {}, 7, 0
        yield name, plain, 1, 0
        yield name, plain, 16, 0
        yield name, plain, 8, 3
        if name in FINAL_SIGMAS:
            yield name, plain | {"final_sigmas_type": "sigma_min"}, 16, 0
            # UniPC gives NaN where its last step, down to no noise at all, is of second order.
            final = {"final_sigmas_type": "sigma_min", "lower_order_final": False}
            yield name, plain | final, 6, 0
        if name in {"ddim", "heun", "lcm"}:
            yield name, plain | {"clip_sample": True, "clip_sample_range": 0.6}, 6, 0
        if name == "ddim":
            yield name, {"set_alpha_to_one": True}, 6, 0


def main() -> None:
    torch.set_num_threads(1)
    with_text, guided = unit(910), unit(911) * 3
    out = {
        "made_with": {"torch": torch.__version__.split("+")[0], "diffusers": diffusers.__version__},
        "base": BASE,
        "guidance": {
            "with_text": numbers(with_text.flatten()), "guided": numbers(guided.flatten()), "rescale": 0.7,
            "out": numbers(rescale_noise_cfg(guided, with_text, guidance_rescale=0.7).flatten()),
        },
    }
    rows = [json.dumps(run(*case), allow_nan=False) for case in cases()]
    head = json.dumps(out, indent=1)[:-2]
    with open(sys.argv[1], "w") as file:
        file.write(head + ',\n "cases": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n")
    print(f"{len(rows)} cases")


if __name__ == "__main__":
    main()
