"""`--device cuda:N` where there are GPUs."""

from __future__ import annotations

import pytest
import torch

from orster_cli.core.devices import choose_device
from orster_cli.core.errors import MissingResourceError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_each_gpu_has_an_index_and_becomes_the_current_one() -> None:
    assert choose_device("cuda") == torch.device("cuda")
    for index in reversed(range(torch.cuda.device_count())):
        assert choose_device(f"cuda:{index}") == torch.device("cuda", index)
        assert torch.cuda.current_device() == index
        assert torch.empty(1, device="cuda").device.index == index


def test_an_index_that_is_not_there_says_which_are() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(
        MissingResourceError, match=f"no cuda:{count} here, found {count}"
    ) as caught:
        choose_device(f"cuda:{count}")
    assert "cuda:0" in (caught.value.hint or "")
