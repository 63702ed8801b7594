"""Small random bases of every kind in every layout, for `tests/bases.rs`.

    python make_bases.py OUT

Unlike the parity fixtures these have the published models' rule for heads and groups (heads of 64, or 8 in Stable
Diffusion 1; 32 groups), so that a single file needs no configuration beside it. For each kind, in OUT/KIND:

model/              as diffusers saves it, f32
single.safetensors  the same in the original layout, f16 (every weight is exact in f16); diffusers' own loader reads it
variant/            as diffusers saves it with variant="fp16"
sharded/            as diffusers saves it in shards, with an index
old/                model/ with the names that VAE files of 2022 have
bf16.safetensors    (sd15) the single file in bf16, and bf16/: what its values are
prompts.*           what scripts/parity/prompts.py says of model/
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts/parity"))

import make_parity  # noqa: E402
import prompts  # noqa: E402

PROMPTS = ["", "a (red:1.4) boat!", " ".join(["river"] * 80) + " (last:0.7)"]


def parts(kind: str) -> dict:
    # SDXL's encoders are 64 and 128 wide: diffusers' single-file loader tells them apart by that alone.
    found = make_parity.configs(kind, "tiny", 64, 128 if kind == "sdxl" else 64)
    levels = len(found["unet"]["block_out_channels"])
    found["unet"] |= {"block_out_channels": (64,) * levels, "norm_num_groups": 32, "sample_size": 64}
    found["unet"]["attention_head_dim"] = 8 if kind == "sd15" else [1] * levels
    found["vae"] |= {"block_out_channels": (32, 32, 64, 64), "norm_num_groups": 32, "sample_size": 512}
    if kind == "sd2":
        found["unet"]["sample_size"] = 96
    if kind == "sdxl":
        found["unet"]["sample_size"] = 128
        found["vae"]["sample_size"] = 1024
    for text in found["texts"]:
        text["num_attention_heads"] = text["hidden_size"] // 64
        text["eos_token_id"] = 49407
    return found


def edit(source: Path, target: Path, change) -> None:
    tensors = change(load_file(source))
    save_file(tensors, target, metadata={"format": "pt"})


def make(kind: str, root: Path, merges: list[str]) -> None:
    root.mkdir(parents=True)
    model, made = root / "model", parts(kind)
    model.mkdir()
    make_parity.save_model(model, kind, made, f"bases-{kind}", merges)
    make_parity.save_single(root, kind, made, f"bases-{kind}", torch.float16)

    cls = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    single = cls.from_single_file(
        str(root / "single.safetensors"), config=str(model), local_files_only=True, torch_dtype=torch.float32
    )
    pipe = cls.from_pretrained(model)
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            theirs = getattr(single, name).state_dict()
            for key, value in part.state_dict().items():
                assert torch.equal(value, theirs[key]), f"{kind}: {name} {key}"

    pipe.save_pretrained(root / "sharded", max_shard_size="1MB")
    assert (root / "sharded/unet/diffusion_pytorch_model.safetensors.index.json").exists()
    pipe.to(torch.float16).save_pretrained(root / "variant", variant="fp16")
    assert (root / "variant/unet/diffusion_pytorch_model.fp16.safetensors").exists()
    # Today's versions save one new tokenizer file, and every default of the scheduler; the published folders do not.
    for folder in ("sharded", "variant"):
        for part in [*model.glob("tokenizer*"), model / "scheduler"]:
            shutil.rmtree(root / folder / part.name)
            shutil.copytree(part, root / folder / part.name)

    old = root / "old"
    shutil.copytree(model, old)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = old / "vae/diffusion_pytorch_model.safetensors"

    def rename(tensors):
        for new, before in names.items():
            tensors = {k.replace(f".{new}.", f".{before}."): v for k, v in tensors.items()}
        return tensors

    edit(weights, weights, rename)

    if kind == "sd15":
        edit(root / "single.safetensors", root / "bf16.safetensors", lambda tensors: {
            k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in tensors.items()
        })  # fmt: skip
        shutil.copytree(model, root / "bf16")
        for weights in (root / "bf16").glob("*/*.safetensors"):
            edit(weights, weights, lambda tensors: {k: v.bfloat16().float() for k, v in tensors.items()})

    listed, tensors = prompts.cases(model, PROMPTS)
    (root / "prompts.json").write_text(json.dumps(listed))
    save_file(tensors, root / "prompts.safetensors")


def main() -> None:
    fixture = REPOSITORY / "tests/fixtures/parity/sd15-tiny/model/tokenizer/merges.txt"
    merges = [m for m in fixture.read_text(encoding="utf-8").split("\n")[1:] if m]
    for kind in make_parity.KINDS:
        make(kind, Path(sys.argv[1]) / kind, merges)


if __name__ == "__main__":
    main()
