"""The whole configuration: one section per stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from orster_cli.config.construct import ConstructConfig
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.config.prepare import PrepareConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    construct: ConstructConfig = field(default_factory=ConstructConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
