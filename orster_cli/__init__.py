"""orster: text, image or static 3D object to an animated 3D asset.

    import orster_cli as orster

    clip = orster.sample(text="a frog jumping", seed=3)      # orbital video of a moving object
    asset = orster.construct(clip)                           # 3D Gaussians with a deformation field
    images = asset.render(orster.orbit_cameras(24, width=256, height=256), 0.5)
    asset.save("frog")

docs/python.md shows more. The names in `__all__` are the public interface; each is imported when it is
first used, so that importing the package takes no time. Other modules may change between versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from orster_cli.api.assets import Asset, construct, load_asset
    from orster_cli.api.cameras import orbit_cameras
    from orster_cli.api.clips import Clip, open_clip
    from orster_cli.api.datasets import Dataset, open_dataset, prepare
    from orster_cli.api.models import Model, load_model, sample
    from orster_cli.api.reports import Report, evaluate
    from orster_cli.core.errors import (
        ConfigError,
        ConflictError,
        InputError,
        MissingResourceError,
        NumericalError,
        OrsterError,
    )
    from orster_cli.core.reporting import Reporter
    from orster_cli.core.types import Cameras, Gaussians, OrbitClip

_MODULES = {
    "api.assets": ("Asset", "construct", "load_asset"),
    "api.cameras": ("orbit_cameras",),
    "api.clips": ("Clip", "open_clip"),
    "api.datasets": ("Dataset", "open_dataset", "prepare"),
    "api.models": ("Model", "load_model", "sample"),
    "api.reports": ("Report", "evaluate"),
    "core.errors": (
        "ConfigError",
        "ConflictError",
        "InputError",
        "MissingResourceError",
        "NumericalError",
        "OrsterError",
    ),
    "core.reporting": ("Reporter",),
    "core.types": ("Cameras", "Gaussians", "OrbitClip"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Asset",
    "Cameras",
    "Clip",
    "ConfigError",
    "ConflictError",
    "Dataset",
    "Gaussians",
    "InputError",
    "MissingResourceError",
    "Model",
    "NumericalError",
    "OrbitClip",
    "OrsterError",
    "Report",
    "Reporter",
    "construct",
    "evaluate",
    "load_asset",
    "load_model",
    "open_clip",
    "open_dataset",
    "orbit_cameras",
    "prepare",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
