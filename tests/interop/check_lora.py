"""What diffusers computes with adapters that assent wrote.

    python check_lora.py UNET_FOLDER INPUTS.safetensors OUTPUTS.safetensors NAME=ADAPTER.safetensors...

Loads the U-Net, loads each adapter with `load_lora_weights`, and writes the U-Net's output on the inputs (`sample`,
`timesteps`, `encoder_hidden_states`): `base` without an adapter, and one tensor NAME for each adapter. A module that
diffusers leaves out, or warns about, is an error.
"""

import logging
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, safe_open, save_file


class Warnings(logging.Handler):
    """Keeps what diffusers and PEFT warn about while an adapter is loaded."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def adapted_modules(unet):
    return {name.split(".lora_A.")[0] for name, _ in unet.named_parameters() if ".lora_A." in name}


def modules_in(path):
    suffixes = (".lora_down.weight", ".lora_A.weight")
    with safe_open(path, "pt") as file:
        return sum(key.endswith(suffixes) for key in file.keys())


@torch.no_grad()
def main(unet_folder, inputs, outputs, adapters):
    torch.set_num_threads(2)
    unet = UNet2DConditionModel.from_pretrained(unet_folder, use_safetensors=True).eval()
    pipe = StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    given = load_file(inputs)

    def run():
        return pipe.unet(given["sample"], given["timesteps"], given["encoder_hidden_states"]).sample.contiguous()

    made = {"base": run()}
    for name, path in adapters:
        heard = Warnings()
        for logger in ("diffusers", "peft"):
            logging.getLogger(logger).addHandler(heard)
        pipe.load_lora_weights(path)
        for logger in ("diffusers", "peft"):
            logging.getLogger(logger).removeHandler(heard)
        expected, found = modules_in(path), len(adapted_modules(pipe.unet))
        if expected != found:
            sys.exit(f"{name}: the file has {expected} modules, diffusers adapted {found}")
        # This pipeline has no text encoder, and neither has the file anything for one: diffusers says so.
        complaints = [line for line in heard.lines if "No LoRA keys associated to" not in line]
        if complaints:
            sys.exit(f"{name}: " + "\n".join(complaints))
        made[name] = run()
        pipe.unload_lora_weights()
        if not torch.equal(run(), made["base"]):
            sys.exit(f"{name}: unloading the adapter does not give the base again")
    save_file(made, outputs)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], [pair.split("=", 1) for pair in sys.argv[4:]])
