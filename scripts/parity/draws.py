"""Numbers that a script and a test both make, without a file between them."""

import torch

MASK = (1 << 64) - 1


def unit(key: int, count: int) -> torch.Tensor:
    """Stream `key` of values in [-1, 1); `src/train/golden.rs` makes the same."""
    values = []
    for i in range(count):
        mixed = ((key * 1_000_003 + i) * 0x9E3779B97F4A7C15) & MASK
        values.append(((mixed ^ (mixed >> 29)) >> 11) / (1 << 52) - 1.0)
    return torch.tensor(values, dtype=torch.float64).float()


def numbers(values: torch.Tensor, every: int = 1) -> list[float]:
    """As many digits as an f32 has."""
    return [float(f"{v:.9g}") for v in values.detach().flatten()[::every].tolist()]
