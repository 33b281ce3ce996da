"""What an estimate of `orster run prepare-data` renders."""

from __future__ import annotations

from pathlib import Path

from orster_cli.config.prepare import PrepareConfig
from orster_cli.core.reporting import Silent
from orster_cli.fanout.sources import sample_tasks
from orster_cli.inputs.prepare_plan import plan_prepare
from tests.helpers.preparing import copies


def test_objects_in_folders_are_measured_with_their_own_captions(
    creature: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        copies(creature, tmp_path / name, 1)
    (tmp_path / "clips.csv").write_text(
        "file,clip,caption\na/pet0.glb,0,it walks\nb/pet0.glb,1,it hops\n"
    )
    cfg = PrepareConfig()
    plan = plan_prepare([tmp_path], cfg, captions=tmp_path / "clips.csv", reporter=Silent())
    tasks = sample_tasks(plan.sources, plan, tmp_path / "scratch", "entry")
    rows = [[(clip, row["text"]) for clip, row in task.arguments["captions"]] for task in tasks]
    assert rows == [[(0, "it walks")], [(1, "it hops")]]
