"""Seeds derived from their purpose, never from global state."""

from __future__ import annotations

import hashlib

MOST_SEED = 2**63 - 1  # of those that generators of all devices take


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed for e.g. ``(run_seed, "densify", step)``: the same parts give the same seed on
    every machine, and a different part gives an unrelated one."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
