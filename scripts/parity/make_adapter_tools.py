"""What the tools on adapter files must compute, by numpy's SVD of the updates in full.

    pip install numpy safetensors
    python scripts/parity/make_adapter_tools.py tests/fixtures/adapter-tools

Writes two small adapters in kohya's layout, `a.safetensors` and `b.safetensors`, and `expected.safetensors` with, for
each module, the update in full (`A/MODULE`, `B/MODULE`), its singular values (`A/MODULE/values`), the update cut to rank
2 (`A/MODULE/rank2`), and of the sum 0.7·A − 0.4·B the update in full and cut to rank 3 (`sum/MODULE`,
`sum/MODULE/rank3`). `expected.json` holds the ranks that keep a share of the energy, cosines and relative distances.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ATTN = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
TUCKER = "lora_unet_down_blocks_0_downsamplers_0_conv"
TEXT = "lora_te_text_model_encoder_layers_0_mlp_fc1"
ONLY_A = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"
SHARES = [0.5, 0.9, 0.99]


def adapter(seed, ranks):
    """Tensors with singular values that fall off, and each module's update as a matrix."""
    rng = np.random.default_rng(seed)
    tensors, updates = {}, {}
    for name, (out, inputs, kernel, rank, alpha) in ranks.items():
        fall = (0.6 ** np.arange(rank)).astype(np.float32)
        normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)
        up = normal(out, rank) * fall
        if name == TUCKER:
            down, mid = normal(rank, inputs), normal(rank, rank, kernel, kernel)
            tensors[f"{name}.lora_mid.weight"] = mid
            tensors[f"{name}.lora_down.weight"] = down.reshape(rank, inputs, 1, 1)
            full = np.einsum("oa,abkl,bi->oikl", *(x.astype(np.float64) for x in (up, mid, down)))
            full = full.reshape(out, -1)
        else:
            down = normal(rank, inputs * kernel * kernel)
            shape = (rank, inputs, kernel, kernel) if kernel > 1 else (rank, inputs)
            tensors[f"{name}.lora_down.weight"] = down.reshape(shape)
            full = up.astype(np.float64) @ down.astype(np.float64)
        tensors[f"{name}.lora_up.weight"] = up.reshape(out, rank, 1, 1) if kernel > 1 else up
        tensors[f"{name}.alpha"] = np.array(alpha, dtype=np.float32)
        updates[name] = full * (alpha / rank)
    return tensors, updates


def cut(full, rank):
    u, s, v = np.linalg.svd(full, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


def rank_for(values, share):
    shares = np.cumsum(values**2) / np.sum(values**2)
    return int(np.searchsorted(shares, share)) + 1


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        ATTN: (20, 12, 1, 4, 2.0),
        CONV: (12, 8, 3, 4, 4.0),
        TUCKER: (6, 8, 3, 4, 2.0),
        TEXT: (16, 10, 1, 3, 1.0),
    }
    a, full_a = adapter(1, common | {ONLY_A: (8, 24, 1, 4, 2.0)})
    b, full_b = adapter(2, common | {ATTN: (20, 12, 1, 2, 1.0)})
    header = {"ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "a sketch", "ss_network_dim": "4"}
    save_file(a, folder / "a.safetensors", header | {"sshs_legacy_hash": "0", "assent.receipt": "{}"})
    save_file(b, folder / "b.safetensors", header | {"modelspec.trigger_phrase": "in ink"})
    expected, numbers = {}, {}
    for name, full in full_a.items():
        values = np.linalg.svd(full, compute_uv=False)
        expected |= {f"A/{name}": full, f"A/{name}/values": values, f"A/{name}/rank2": cut(full, 2)}
        other = full_b.get(name, np.zeros_like(full))
        total = 0.7 * full - 0.4 * other
        expected |= {f"sum/{name}": total, f"sum/{name}/rank3": cut(total, 3)}
        numbers[name] = {"ranks": {str(share): rank_for(values, share) for share in SHARES}}
        if name in full_b:
            expected[f"B/{name}"] = other
            lengths = np.linalg.norm(full) * np.linalg.norm(other)
            numbers[name] |= {
                "cosine": float(np.sum(full * other) / lengths),
                "distance": float(np.linalg.norm(full - other) / np.linalg.norm(full)),
            }
    # As f32: what the tests compare is f32 on both sides.
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in expected.items()}, folder / "expected.safetensors")
    (folder / "expected.json").write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
