"""What the training objectives come to in PyTorch: tests/fixtures/objectives/cases.json.

Usage: python make_objectives.py tests/fixtures/objectives/cases.json

Needs torch and diffusers (made with 2.15.0 and 0.42.1). The formulas are written down here from the papers, in the
variants that sd-scripts computes: min-SNR (arXiv:2303.09556), debiased estimation (2310.08442), P2 (2204.00227),
zero terminal SNR (2305.08891), scheduled Huber losses (2403.16728), offset noise (Guttenberg 2023), multi-resolution
noise (Whitaker 2023), input perturbation (2301.11706). A weight that a paper gives for the loss on the noise is turned
into one on the velocity or the clean sample by measuring, with the definitions of the three alone, how large the errors
of the same prediction are in each. Inputs are formulas (`draws.unit`), the same in the test.
"""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from draws import numbers, unit

TIMESTEPS = [0, 1, 20, 250, 500, 801, 998, 999]
SHAPE = [2, 3, 8, 8]


def alphas_cumprod() -> torch.Tensor:
    return DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").alphas_cumprod


def zero_terminal(alphas: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of the paper: shift the roots so that the last is zero, scale so that the first stays."""
    roots = alphas.sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * first / (first - last)
    bars = roots**2
    single = torch.cat([bars[:1], bars[1:] / bars[:-1]])
    return torch.cumprod(single, dim=0)


def share_of_noise_error(prediction: str, alpha: float) -> float:
    """The squared error of the noise over that of what is predicted, by taking both from a wrong prediction."""
    root, sigma = math.sqrt(alpha), math.sqrt(1 - alpha)
    clean, noise, wrong = 0.3, -0.7, 0.01
    noisy = root * clean + sigma * noise
    if prediction == "epsilon":
        found = noise + wrong
    elif prediction == "v_prediction":
        velocity = root * noise - sigma * clean + wrong
        found = root * velocity + sigma * noisy
    else:
        found = (noisy - root * (clean + wrong)) / sigma
    return (found - noise) ** 2 / wrong**2


def weights(alphas: torch.Tensor) -> list[dict]:
    cases = []
    for prediction in ["epsilon", "v_prediction", "sample"]:
        for t in TIMESTEPS:
            alpha = alphas[t].double().item()
            snr = alpha / (1 - alpha)
            near = min(snr, 1000.0)
            noise_error = share_of_noise_error(prediction, alpha)
            case = {
                "prediction": prediction,
                "timestep": t,
                "min_snr": min(snr, 5.0) / snr * noise_error,
                "debiased": {
                    "epsilon": 1 / math.sqrt(near), "v_prediction": 1 / (near + 1), "sample": math.sqrt(near),
                }[prediction],
                "p2": noise_error / (1.5 + snr) ** 0.7,
            }
            if prediction == "v_prediction":
                case["scaled"] = near / (near + 1)
            if prediction == "epsilon":
                case["like_v"] = 1 + 0.2 * (near + 1) / near
            cases.append(case)
    return cases


def thresholds(alphas: torch.Tensor, c: float, scale: float) -> list[dict]:
    cases = []
    for t in TIMESTEPS:
        alpha = alphas[t].double().item()
        sigma = math.sqrt((1 - alpha) / alpha)
        cases.append({
            "timestep": t,
            "constant": c * scale,
            "exponential": math.exp(math.log(c) / len(alphas) * t) * scale,
            "snr": (1 - c) / (1 + sigma) ** 2 + c,
        })
    return cases


def losses() -> dict:
    """The loss of each sample with thresholds 0.1 and 0.6, and the gradient of their sum."""
    out = {}
    c = torch.tensor([0.1, 0.6]).view(2, 1, 1, 1)
    for name in ["l2", "l1", "huber", "smooth_l1"]:
        prediction = (unit(1, 384) * 2).view(SHAPE).requires_grad_()
        target = unit(2, 384).view(SHAPE)
        if name == "l2":
            each = F.mse_loss(prediction, target, reduction="none")
        elif name == "l1":
            each = F.l1_loss(prediction, target, reduction="none")
        else:
            root = torch.sqrt((prediction - target) ** 2 + c**2) - c
            each = 2 * c * root if name == "huber" else 2 * root
        each = each.mean(dim=(1, 2, 3))
        each.sum().backward()
        out[name] = {"losses": numbers(each), "gradient": numbers(prediction.grad, 7)}
    return out


def prior(alphas: torch.Tensor) -> dict:
    """Prior preservation: two pictures to be learned and two for regularization, whose loss counts 0.35, under min-SNR.

    The squared error is averaged over each sample, multiplied by the sample's weights and averaged over the batch.
    """
    weight, timesteps = 0.35, [250, 801, 20, 500]
    prediction = (unit(21, 768) * 2).view(4, 3, 8, 8).requires_grad_()
    each = F.mse_loss(prediction, unit(22, 768).view(4, 3, 8, 8), reduction="none").mean(dim=(1, 2, 3))
    snr = (alphas / (1 - alphas))[timesteps]
    each = each * torch.tensor([1.0, weight, weight, 1.0]) * torch.clamp(snr, max=5.0) / snr
    loss = each.mean()
    loss.backward()
    return {"weight": weight, "timesteps": timesteps, "loss": loss.item(), "gradient": numbers(prediction.grad, 7)}


def noises() -> dict:
    noise, latents = unit(3, 384).view(SHAPE), unit(4, 384).view(SHAPE)
    shifts = unit(5, 6).view(2, 3, 1, 1)
    mean = latents.mean(dim=(2, 3), keepdim=True).abs()
    pyramid = noise.clone()
    for i, size in enumerate([(8, 8), (3, 3), (1, 2)]):
        coarse = unit(10 + i, 6 * size[0] * size[1]).view(2, 3, *size)
        pyramid += F.interpolate(coarse, size=(8, 8), mode="bilinear", align_corners=False) * 0.4**i
    pyramid = pyramid / pyramid.std()
    return {
        "offset": numbers(noise + 0.1 * shifts),
        "adaptive": numbers(noise + (0.1 + 0.5 * mean) * shifts),
        "adaptive_negative": numbers(noise + torch.clamp(0.02 - 0.5 * mean, min=0) * shifts),
        "pyramid": numbers(pyramid),
        "perturbed": numbers(noise + 0.1 * unit(6, 384).view(SHAPE)),
        "mask": numbers(F.interpolate(unit(7, 256).view(1, 1, 16, 16), size=(4, 4), mode="area")),
    }


def main() -> None:
    alphas = alphas_cumprod()
    content = {
        "zero_terminal": numbers(zero_terminal(alphas)[TIMESTEPS]),
        "timesteps": TIMESTEPS,
        "weights": weights(alphas),
        "thresholds": {"c": 0.2, "scale": 1.5, "cases": thresholds(alphas, 0.2, 1.5)},
        "losses": losses(),
        "prior": prior(alphas),
        "noises": noises(),
    }
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
