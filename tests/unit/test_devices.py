"""Names of devices on the command line."""

from __future__ import annotations

import pytest
import torch

from orster_cli.core.devices import choose_device
from orster_cli.core.errors import ConfigError, MissingResourceError


@pytest.mark.parametrize(
    "name", ["gpu", "", "cuda:", "cuda:-1", "cuda:1x", "cuda:²", "cpu:0", " cpu"]
)
def test_what_is_no_device_says_what_is(name: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N") as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)


def test_the_cpu_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_without_a_gpu_each_name_of_one_is_refused(name: str) -> None:
    with pytest.raises(MissingResourceError, match="no CUDA device here") as caught:
        choose_device(name)
    assert caught.value.hint == "use --device cpu"
