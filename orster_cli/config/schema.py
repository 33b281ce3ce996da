"""The whole config: one section per stage."""

from __future__ import annotations

from dataclasses import dataclass, field

from orster_cli.config.construct import ConstructConfig
from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.config.prepare import PrepareConfig
from orster_cli.config.sample import SampleConfig
from orster_cli.config.train import (
    AlignConfig,
    DistillConfig,
    EncoderConfig,
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    TeacherConfig,
    VaeConfig,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    construct: ConstructConfig = field(default_factory=ConstructConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
