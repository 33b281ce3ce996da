"""Make tests/golden/st_lpips.json: distances by the network of the `stlpips-pytorch` package itself.

    pip install --no-deps stlpips-pytorch==0.0.2
    python -m tests.golden.make_st_lpips

The package imports IPython and torchsummary, which it neither declares nor uses: empty modules stand in.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import torch

from tests.helpers.pictures import noise_pairs

OUT = Path(__file__).with_name("st_lpips.json")


def main() -> None:
    for name, attribute in (("IPython", "embed"), ("torchsummary", "summary")):
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], attribute, None)
    from stlpips_pytorch import stlpips

    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    values = {}
    with torch.no_grad():
        for side in (32, 64, 97):
            first, second = noise_pairs(4, side)
            values[str(side)] = network(2 * first - 1, 2 * second - 1).flatten().tolist()
    about = "distances of noise_pairs(4, side) by stlpips-pytorch 0.0.2, alex, shift_tolerant"
    OUT.write_text(json.dumps({"about": about, "torch": torch.__version__, "values": values}))


if __name__ == "__main__":
    main()
