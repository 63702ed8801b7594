"""Adapters of every kind, written by the programs that people train them with, and what those programs compute with them.

    pip install lycoris-lora    # 4.1.3, beside torch, peft, diffusers and safetensors
    python scripts/parity/make_adapters.py tests/fixtures/adapters

The model is a handful of layers with the names that a U-Net's have; nothing else of a U-Net matters here. For each case
the folder gets the peer's own file, and `cases.safetensors` the output of every layer (`CASE/out/LAYER`) and the gradient
of every trained tensor (`CASE/grad/LAYER.TENSOR`) of the loss Σ output · probe.
"""

import json
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import lycoris
import peft
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file
from torch import nn

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
PROJ = "down_blocks.0.attentions.0.proj_in"
CONV = "down_blocks.0.resnets.0.conv1"
DOWN = "down_blocks.0.downsamplers.0.conv"
GROUP = "down_blocks.0.attentions.0.norm"
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.norm1"
WEIGHTED = [Q, PROJ, CONV, DOWN]
ALL = WEIGHTED + [GROUP, LAYER]


class Net(nn.Module):
    """The layers, each with its own input: vectors `[5, 12]` or maps `[1, 8, 5, 5]`."""

    def __init__(self):
        super().__init__()
        for path, layer in [
            (Q, nn.Linear(12, 20, bias=False)),
            (PROJ, nn.Conv2d(8, 12, 1)),
            (CONV, nn.Conv2d(8, 12, 3, padding=1)),
            (DOWN, nn.Conv2d(8, 6, 3, stride=2, padding=1)),
            (GROUP, nn.GroupNorm(4, 8)),
            (LAYER, nn.LayerNorm(12)),
        ]:
            owner = self
            *folders, name = path.split(".")
            for folder in folders:
                if not hasattr(owner, folder):
                    owner.add_module(folder, nn.Module())
                owner = getattr(owner, folder)
            owner.add_module(name, layer)

    def forward(self, vectors, maps):
        module = dict(self.named_modules())
        return {path: module[path](vectors if path in (Q, LAYER) else maps) for path in ALL}


def normal(shape, name, scale=1.0):
    generator = torch.Generator().manual_seed(sum(map(ord, name)) * 7919 + len(name))
    return torch.randn(shape, generator=generator) * scale


def fresh():
    """The model with its own weights, the same each time."""
    net = Net()
    with torch.no_grad():
        for name, p in net.named_parameters():
            fan = p[0].numel() if p.dim() > 1 else 4
            p.copy_(normal(p.shape, name, 1 / math.sqrt(fan)))
            p.requires_grad_(False)
            if "norm" in name and name.endswith("weight"):
                p.add_(1.0)
    return net


INPUTS = {"vectors": normal((5, 12), "vectors"), "maps": normal((1, 8, 5, 5), "maps")}
PROBES = {path: normal(out.shape, "probe " + path) for path, out in fresh()(**INPUTS).items()}


def shake(modules):
    """Gives every trained tensor a value, so that nothing is zero; DoRA's lengths stay lengths."""
    with torch.no_grad():
        for path, module in modules:
            for name, p in module.named_parameters():
                if not p.requires_grad:
                    continue
                if "dora" in name or "magnitude" in name:
                    p.mul_(1 + normal(p.shape, path + name, 0.2))
                else:
                    p.copy_(normal(p.shape, path + name, 0.4))


def lycoris_case(make, paths, folder, name):
    """Wraps the layers at `paths` as LyCORIS does, and writes its file with kohya's names."""
    net = fresh()
    layers = dict(net.named_modules())
    modules = [(path, make("lora_unet_" + path.replace(".", "_"), layers[path], path)) for path in paths]
    shake(modules)
    for _, module in modules:
        module.train(False)
        module.apply_to()
    out = net(**INPUTS)
    sum((out[path] * PROBES[path]).sum() for path in ALL).backward()
    state, gradients = {}, {}
    for path, module in modules:
        for key, value in module.state_dict().items():
            state[f"lora_unet_{path.replace('.', '_')}.{key}"] = value.detach().clone().contiguous()
        for key, p in module.named_parameters():
            if p.grad is not None:
                key = {"lora_down.weight": "lora_A.weight", "lora_up.weight": "lora_B.weight"}.get(key, key)
                gradients[f"{path}.{key}"] = p.grad
    save_file(state, folder / f"{name}.safetensors")
    return {"file": f"{name}.safetensors", "peer": f"lycoris-lora {lycoris_version()}"}, out, gradients


def peft_case(config, folder, name, diffusers_layout=False):
    """Wraps the layers as PEFT does, and writes its folder, or diffusers' file."""
    if diffusers_layout:
        model = peft.inject_adapter_in_model(config, fresh())
    else:
        model = peft.get_peft_model(fresh(), config)
    shake([("peft " + name, model)])
    model.eval()
    out = model(**INPUTS)
    sum((out[path] * PROBES[path]).sum() for path in ALL).backward()
    gradients = {}
    for key, p in model.named_parameters():
        if p.grad is None:
            continue
        key = key.removeprefix("base_model.model.").replace(".default", "")
        # PEFT's backward pass of the Tucker form takes the other half's core for these two (seen in 0.21.2): its own
        # forward pass, left to autograd, gives what LyCORIS gives.
        if name == "peft_loha" and key.startswith((CONV, DOWN)) and key.endswith(("hada_w1_a", "hada_w2_a")):
            continue
        gradients[key] = p.grad
    if getattr(config, "use_dora", False):
        # PEFT holds the length of the updated weight constant, which is not the gradient of what it computes.
        gradients = {}
    if diffusers_layout:
        from diffusers import StableDiffusionPipeline

        StableDiffusionPipeline.save_lora_weights(
            str(folder),
            unet_lora_layers=peft.get_peft_model_state_dict(model),
            weight_name=f"{name}.safetensors",
            unet_lora_adapter_metadata=config.to_dict(),
        )
        file = f"{name}.safetensors"
    else:
        model.save_pretrained(folder / name, safe_serialization=True)
        (folder / name / "README.md").unlink(missing_ok=True)
        file = f"{name}/adapter_model.safetensors"
    return {"file": file, "peer": f"peft {peft.__version__}"}, out, gradients


def lycoris_version():
    from importlib.metadata import version

    return version("lycoris-lora")


LORA = dict(multiplier=1.0, lora_dim=3, alpha=2.0)
# How LyCORIS makes each kind of adapter for a layer: name of the adapter, layer, path.
ALGOS = {
    "locon": lambda n, m, p: LoConModule(n, m, **LORA),
    "locon_tucker": lambda n, m, p: LoConModule(n, m, use_tucker=True, **LORA),
    "locon_rs": lambda n, m, p: LoConModule(n, m, rs_lora=True, **LORA),
    "locon_dora": lambda n, m, p: LoConModule(n, m, weight_decompose=True, **LORA),
    "locon_dora_in": lambda n, m, p: LoConModule(n, m, weight_decompose=True, wd_on_out=False, **LORA),
    "loha": lambda n, m, p: LohaModule(n, m, **LORA),
    "loha_tucker": lambda n, m, p: LohaModule(n, m, use_tucker=True, **LORA),
    "loha_dora": lambda n, m, p: LohaModule(n, m, weight_decompose=True, **LORA),
    "lokr": lambda n, m, p: LokrModule(n, m, factor=2, **{**LORA, "lora_dim": 2}),
    "lokr_both": lambda n, m, p: LokrModule(n, m, decompose_both=True, factor=4, **{**LORA, "lora_dim": 1}),
    "lokr_tucker": lambda n, m, p: LokrModule(n, m, use_tucker=True, factor=2, **{**LORA, "lora_dim": 1}),
    "lokr_whole": lambda n, m, p: LokrModule(n, m, full_matrix=True, factor=2, **LORA),
    "lokr_dora": lambda n, m, p: LokrModule(n, m, weight_decompose=True, factor=2, **{**LORA, "lora_dim": 2}),
    "full": lambda n, m, p: FullModule(n, m),
    "norm": lambda n, m, p: NormModule(n, m),
    "ia3": lambda n, m, p: IA3Module(n, m, train_on_input=p in (PROJ, DOWN)),
}


def main(folder):
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    # rsLoRA's scale, and a pattern of ranks and alphas, where the tensors alone do not tell.
    peft_algos = {
        "peft_lora": peft.LoraConfig(
            r=3, lora_alpha=5, target_modules=WEIGHTED, rank_pattern={CONV: 2}, alpha_pattern={"attn1.to_q": 7}
        ),
        "peft_rslora": peft.LoraConfig(r=4, lora_alpha=3, target_modules=WEIGHTED, use_rslora=True),
        "peft_dora": peft.LoraConfig(r=3, lora_alpha=2, target_modules=WEIGHTED, use_dora=True),
        "peft_loha": peft.LoHaConfig(r=2, alpha=3, target_modules=WEIGHTED, use_effective_conv2d=True),
        "peft_loha_flat": peft.LoHaConfig(r=2, alpha=3, target_modules=WEIGHTED),
        "peft_lokr": peft.LoKrConfig(r=1, alpha=3, target_modules=WEIGHTED, use_effective_conv2d=True),
        "peft_lokr_whole": peft.LoKrConfig(r=8, alpha=3, target_modules=WEIGHTED),
    }
    diffusers_algos = {
        "diffusers_lora": peft.LoraConfig(r=3, lora_alpha=5, target_modules=WEIGHTED, rank_pattern={CONV: 2}),
        "diffusers_dora": peft.LoraConfig(r=3, lora_alpha=5, target_modules=WEIGHTED, use_dora=True),
    }
    cases, tensors = {}, {}

    def keep(name, made):
        about, out, gradients = made
        cases[name] = {**about, "gradients": sorted(gradients)}
        for path, value in out.items():
            tensors[f"{name}/out/{path}"] = value.detach().clone().contiguous()
        for key, value in gradients.items():
            tensors[f"{name}/grad/{key}"] = value.clone().contiguous()

    for name, make in ALGOS.items():
        keep(name, lycoris_case(make, [GROUP, LAYER] if name == "norm" else WEIGHTED, folder, name))
    for name, config in peft_algos.items():
        keep(name, peft_case(config, folder, name))
    for name, config in diffusers_algos.items():
        keep(name, peft_case(config, folder, name, diffusers_layout=True))

    net = fresh()
    base = {key: value.clone() for key, value in net.state_dict().items()}
    save_file(base, folder / "base.safetensors")
    for path, value in net(**INPUTS).items():
        tensors[f"base/out/{path}"] = value.detach().clone().contiguous()
        tensors[f"probe/{path}"] = PROBES[path]
    tensors |= {f"input/{name}": value for name, value in INPUTS.items()}
    # What PEFT's starts from the weight itself take out of a linear layer.
    for start in ("pissa", "olora"):
        config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=[Q], init_lora_weights=start)
        layer = dict(peft.inject_adapter_in_model(config, fresh()).named_modules())[Q]
        tensors[f"start/{start}"] = layer.get_delta_weight("default").detach().clone().contiguous()
    save_file(tensors, folder / "cases.safetensors")
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (folder / "cases.json").write_text(json.dumps(cases, indent=1, sort_keys=True) + "\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
