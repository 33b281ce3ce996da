"""What tests.helpers.starts imports before it forks: every module behind the commands."""

import importlib
import pkgutil

from tests.helpers.no_network import refuse_connections

refuse_connections()

for _name in ("app", "commands", "inputs", "training", "construction", "evaluation"):
    _module = importlib.import_module(f"orster_cli.{_name}")
    for _part in pkgutil.iter_modules(getattr(_module, "__path__", ())):
        importlib.import_module(f"{_module.__name__}.{_part.name}")
