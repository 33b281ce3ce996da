"""Reports (version 2) as `orster evaluate` writes them, of made-up figures."""

from __future__ import annotations

from typing import Any

import numpy as np

FRAMES = 24


def metric(unit: str, better: str, scope: str, network: str | None = None) -> dict[str, Any]:
    return {
        "unit": unit,
        "better": better,
        "definition": f"a figure of each {scope}",
        "scope": scope,
        "network": network,
    }


def report(count: int = 12, *, seed: int = 0, gain: float = 0.0) -> dict[str, Any]:
    """A report of `count` subjects with every scope, way of better and kind of gap.

    `gain` is added to PSNR: two reports of one seed differ by it and by a little noise."""
    rng = np.random.default_rng(seed)
    noise = np.random.default_rng(seed + 1 + round(1000 * gain))
    subjects = []
    for i in range(count):
        level = 24 + 2.5 * rng.standard_normal()
        drift = np.cumsum(0.25 * rng.standard_normal(FRAMES))
        psnr = level + drift - drift.mean() + gain + 0.05 * noise.standard_normal(FRAMES)
        ssim = 1 - 0.9 / (1 + np.exp((psnr - 16) / 3))
        clip = float(rng.uniform(0.7, 0.9))
        subjects.append(
            {
                "name": f"object-{i:02d}",
                "reference": f"object-{i:02d}",
                "condition": {"text": f"object number {i}, turning", "image": None},
                "times": [round(t / (FRAMES - 1), 6) for t in range(FRAMES)],
                "mean": {
                    "psnr": float(psnr.mean()),
                    "ssim": float(ssim.mean()),
                    "clip-o": None if i % 6 == 5 else clip,
                    "flicker": float(rng.uniform(0.001, 0.004)),
                    "motion": float(rng.uniform(0.01, 0.03)),
                },
                "frames": {
                    "psnr": [float(v) for v in psnr],
                    "ssim": [None if t == 3 else float(v) for t, v in enumerate(ssim)],
                },
            }
        )
    summary: dict[str, Any] = {}
    for name in ("psnr", "ssim", "clip-o", "flicker", "motion"):
        known = [s["mean"][name] for s in subjects if s["mean"][name] is not None]
        spread = float(np.std(known)) / max(len(known), 1) ** 0.5
        mean = float(np.mean(known)) if known else None
        summary[name] = {
            "mean": mean,
            "interval": None if len(known) < 3 else [mean - 2 * spread, mean + 2 * spread],
            "objects": len(known),
        }
    summary["fvd"] = {"mean": 512.3 - 10 * gain, "interval": None, "objects": count}
    return {
        "format": "orster-report",
        "version": 2,
        "protocol": {
            "name": "orster",
            "version": 1,
            "background": "white",
            "data_range": 1.0,
            "width": 128,
            "height": 128,
            "frames": FRAMES,
            "views": 36,
            "masked": False,
            "seed": None,
        },
        "networks": {
            "i3d": {"about": "I3D Kinetics-400", "sha256": "ab12" * 16},
            "clip": {"about": "CLIP ViT-B/32", "sha256": "cd34" * 16},
        },
        "metrics": {
            "psnr": metric("dB", "higher", "frame"),
            "ssim": metric("", "higher", "frame"),
            "clip-o": metric("", "higher", "subject", "clip"),
            "flicker": metric("", "lower", "subject"),
            "motion": metric("", "neither", "subject"),
            "fvd": metric("", "lower", "set", "i3d"),
        },
        "unavailable": {
            "lpips": {
                "why": "AlexNet's weights are not at hand",
                "get": "orster models fetch alexnet",
            }
        },
        "subjects": subjects,
        "summary": summary,
    }
