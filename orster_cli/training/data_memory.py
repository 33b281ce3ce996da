"""How much memory the data of a training stage may take, and where."""

from __future__ import annotations

import os

import torch

_CPU = torch.device("cpu")


class DataMemory:
    """A `share` of the free memory of `device`, and of the host's, which `processes` share."""

    def __init__(self, device: torch.device, share: float, processes: int = 1) -> None:
        self.device, self.share, self.processes = device, share, processes
        self.used = {_CPU: 0, device: 0}

    def place(self, size: int) -> torch.device | None:
        """Where `size` more bytes may lie: on the device, in host memory, or nowhere (None). They are
        counted."""
        for place in (self.device, _CPU):
            if self.used[place] + size <= self.share * self._free(place):
                self.used[place] += size
                return place
        return None

    def left(self) -> int:
        """Bytes of host memory that more data may take."""
        return max(int(self.share * self._free(_CPU)) - self.used[_CPU], 0)

    def _free(self, place: torch.device) -> int:
        """Free bytes now, with those that the data has taken."""
        if place.type == "cuda":
            return int(torch.cuda.mem_get_info(place)[0]) + self.used[place]
        if place != _CPU:  # unknown: the data stays in host memory
            return 0
        return (free_host_bytes() + self.used[place]) // self.processes


def free_host_bytes() -> int:
    """Memory that programs may still take, from the system; files that it caches count as free."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name == "MemAvailable":
                    return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return 2**32
