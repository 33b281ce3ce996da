"""Which samples of a dataset have captions, for the stages that learn texts."""

from __future__ import annotations

from orster_cli.core.errors import InputError
from orster_cli.core.reporting import Reporter
from orster_cli.dataset.reader import Dataset

TO_CAPTION = (
    "orster prepare-data objects/ --write-captions, edit objects/clips.csv, then "
    "orster prepare-data objects/ --captions objects/clips.csv -o {dataset} --force"
)


def captioned(
    dataset: Dataset, reporter: Reporter, *, pairs: bool = False, section: str = "SECTION"
) -> list[str]:
    """Keys of the samples with a caption, for a stage that learns texts; warns of the others.

    `pairs`: the stage learns from pairs of frame and caption alone, and the others are left out of
    it; `section`: of the stage's settings. InputError: no sample has a caption."""
    texts = dataset.texts()
    keys = [key for key in texts if texts[key]]
    missing, total = len(texts) - len(keys), len(texts)
    if not keys:
        raise InputError(
            f"{dataset.root}: {missing} of {total} clips have no caption; expected captions, since "
            "texts are learned from them",
            hint=TO_CAPTION.format(dataset=dataset.root)
            + ("" if pairs else f"; or no texts: --set {section}.text=0 --set {section}.image=1"),
            code="E-CAPTIONS",
        )
    if missing:
        then = "are left out" if pairs else "are trained with the empty text"
        reporter.warn(f"{dataset.root}: {missing} of {total} clips have no caption and {then}")
    if pairs and len({text for key in keys for text in texts[key]}) == 1:
        reporter.warn(
            f"{dataset.root}: all captions are the same text: the encoder has nothing to tell apart"
        )
    return keys
