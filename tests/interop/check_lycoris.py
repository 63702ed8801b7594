"""What LyCORIS computes with adapters that assent wrote for the layers of `scripts/parity/make_adapters.py`.

    python check_lycoris.py OUTPUTS.safetensors NAME=ADAPTER.safetensors...

NAME is a kind of that script. Each file is loaded into LyCORIS' own modules of that kind, and each layer's output is
written as NAME/LAYER. An entry that LyCORIS does not take, or misses, is an error.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "parity"))

import make_adapters as peer


@torch.no_grad()
def main(outputs, adapters):
    torch.set_num_threads(1)
    made = {}
    for name, path in adapters:
        state = load_file(path)
        net = peer.fresh()
        layers, taken = dict(net.named_modules()), set()
        for layer in peer.WEIGHTED:
            module_name = "lora_unet_" + layer.replace(".", "_")
            own = {key.removeprefix(module_name + "."): value for key, value in state.items() if key.startswith(module_name + ".")}
            module = peer.ALGOS[name](module_name, layers[layer], layer)
            module.load_state_dict(own, strict=True)
            module.train(False)
            module.apply_to()
            taken |= {f"{module_name}.{key}" for key in own}
        if taken != set(state):
            sys.exit(f"{name}: LyCORIS takes {sorted(taken)}, the file has {sorted(state)}")
        for path, value in net(**peer.INPUTS).items():
            made[f"{name}/{path}"] = value.clone().contiguous()
    save_file(made, outputs)


if __name__ == "__main__":
    main(sys.argv[1], [pair.split("=", 1) for pair in sys.argv[2:]])
