"""What ComfyUI's own functions make of small inputs: tests/fixtures/samplers/comfyui.json.

Usage: python make_comfyui.py COMFYUI tests/fixtures/samplers/comfyui.json

COMFYUI is a checkout of ComfyUI (made with one of June 2026; torch 2.15.0, scipy 1.18). Its `comfy/samplers.py`,
`comfy/model_sampling.py` and `comfy/k_diffusion/sampling.py` are imported and called; what these import for models
and graphics cards and never call here is left out by empty modules. The sigmas of the training are those of diffusers,
which the samplers here start from: ComfyUI keeps them in f64 before it rounds, `own_sigmas` says what that makes.

`spreads`: {spread, steps, sigmas, timesteps, init}: the sigmas, the timestep that the network is asked at each of them
but the last, and what unit noise is multiplied by to begin with.
`traces`: {sampler, spread, steps, trace}: the sample after each step, with the network
`sin(1.7 * input + 0.003 * timestep)`, initial noise `unit(900)` and the noise `unit(i)` of the network's call i, as in
make_samplers.py.
`noise`: {seed, count, values}: two draws of `torch.randn` one after the other, of which every `every`-th value is kept.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import types
from unittest.mock import MagicMock

import torch
from diffusers import DDIMScheduler
from make_samplers import BASE, numbers, unit

EMPTY = (
    "torchsde", "comfy.model_patcher", "comfy.sampler_helpers", "comfy.patcher_extension", "comfy.hooks",
    "comfy.context_windows", "comfy.utils", "comfy.memory_management", "comfy.multigpu", "comfy.model_management",
    "comfy.ldm.modules.diffusionmodules.util", "comfy.k_diffusion.deis", "comfy.k_diffusion.sa_solver",
)
SPREADS = (
    "normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta", "linear_quadratic",
    "kl_optimal",
)
SAMPLERS = {
    "euler": "sample_euler", "euler_ancestral": "sample_euler_ancestral", "heun": "sample_heun",
    "dpmpp_2m": "sample_dpmpp_2m", "dpmpp_2m_sde": "sample_dpmpp_2m_sde", "dpmpp_sde": "sample_dpmpp_sde",
    # ComfyUI's DDIM is its Euler.
    "ddim": "sample_euler",
}


class Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.startswith(EMPTY) else None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module

    def exec_module(self, module):
        module.model_trange = lambda n, **_: range(n)


def schedule(model_sampling, sigmas):
    """SD's schedule with these sigmas of the training."""
    class Schedule(model_sampling.ModelSamplingDiscrete, model_sampling.EPS):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.sigma_data = 1.0
            self.set_sigmas(sigmas)

    return Schedule()


def spread(samplers, ms, name, steps):
    sigmas = samplers.calculate_sigmas(ms, name, steps)
    sampler = samplers.Sampler()
    wrap = types.SimpleNamespace(inner_model=types.SimpleNamespace(model_sampling=ms))
    scaled = ms.noise_scaling(sigmas[0], torch.ones(1), torch.zeros(1), sampler.max_denoise(wrap, sigmas))
    return {
        "spread": name, "steps": steps, "sigmas": numbers(sigmas), "timesteps": numbers(ms.timestep(sigmas[:-1])),
        "init": numbers(scaled)[0],
    }


class Network:
    """The network of make_samplers.py, as ComfyUI's samplers call it; it counts its calls."""

    def __init__(self, ms):
        self.ms, self.calls = ms, 0
        self.inner_model = types.SimpleNamespace(
            model_patcher=types.SimpleNamespace(get_model_object=lambda _: ms), model_sampling=ms
        )
        self.inner_model.inner_model = self.inner_model

    def __call__(self, x, sigma, **_):
        self.calls += 1
        sigma = sigma.reshape(-1)
        network = torch.sin(1.7 * self.ms.calculate_input(sigma, x) + 0.003 * self.ms.timestep(sigma).float())
        return self.ms.calculate_denoised(sigma, network, x)


def path(network):
    """Noise of a Brownian path in sigma whose halves are `unit`, as in make_samplers.py."""
    half = {}

    def noise(sigma, sigma_next):
        here = unit(network.calls - 1)
        if "to" not in half:
            half.update(to=sigma_next, noise=here)
            return here
        share = (sigma - half["to"]) / (sigma - sigma_next)
        first = half["noise"]
        half.clear()
        return share.sqrt() * first + (1 - share).sqrt() * here

    return noise


def trace(samplers, k, ms, name, spread_name, steps):
    sigmas = samplers.calculate_sigmas(ms, spread_name, steps)
    begin = spread(samplers, ms, spread_name, steps)["init"]
    network, seen = Network(ms), []
    more = {}
    if name in {"euler_ancestral", "dpmpp_2m_sde"}:
        more["noise_sampler"] = lambda *_: unit(network.calls - 1)
    if name == "dpmpp_sde":
        more["noise_sampler"] = path(network)
    end = getattr(k, SAMPLERS[name])(
        network, unit(900) * begin, sigmas, callback=lambda s: seen.append(numbers(s["x"].flatten())), disable=True, **more
    )
    return {"sampler": name, "spread": spread_name, "steps": steps, "trace": seen[1:] + [numbers(end.flatten())]}


def draws(seed, count):
    generator = torch.Generator().manual_seed(seed)
    every = max(count // 24, 1)
    both = [torch.randn(count, generator=generator) for _ in range(2)]
    return {"seed": seed, "count": count, "every": every, "values": [numbers(v[::every]) for v in both]}


def main() -> None:
    torch.set_num_threads(1)
    sys.meta_path.insert(0, Empty())
    sys.path.insert(0, sys.argv[1])
    import comfy.k_diffusion.sampling as k
    import comfy.model_sampling as model_sampling
    import comfy.samplers as samplers

    alphas = DDIMScheduler.from_config(BASE).alphas_cumprod
    ms = schedule(model_sampling, ((1 - alphas) / alphas) ** 0.5)
    betas = torch.linspace(BASE["beta_start"] ** 0.5, BASE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    exact = torch.cumprod(1 - betas, 0)
    own = (((1 - exact) / exact) ** 0.5).float()
    with torch.no_grad():
        spreads = [spread(samplers, ms, name, steps) for name in SPREADS for steps in (2, 6, 13, 20, 30)]
        spreads += [spread(samplers, ms, name, 1) for name in SPREADS if name != "kl_optimal"]
        # Where no sigma lies in the middle between two of the training.
        traces = [trace(samplers, k, ms, name, of, 8 if of == "normal" else 7) for name in SAMPLERS for of in SPREADS]
    head = json.dumps({
        "made_with": {"torch": torch.__version__.split("+")[0]},
        "base": BASE, "own_sigmas": numbers([own[0], own[-1]]),
        "own_differ_by": numbers([((own - ms.sigmas) / own).abs().max()])[0],
    }, indent=1)[:-2]
    noise = [draws(seed, count) for seed in (0, 7, 2**32 + 7, 851616030078638) for count in (4, 8, 16, 20, 256, 3072, 12289)]
    with open(sys.argv[2], "w") as file:
        file.write(head)
        for key, rows in (("spreads", spreads), ("traces", traces), ("noise", noise)):
            rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in rows)
            file.write(f',\n "{key}": [\n  {rows}\n ]')
        file.write("\n}\n")
    print(len(spreads), len(traces), len(noise))


if __name__ == "__main__":
    main()
