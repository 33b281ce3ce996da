"""The published weights that orster starts from: where to get them, their size and licence. Nothing is
downloaded here; the listed commands do that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GB = 10**9
_CARD = re.compile(r"^license:\s*([\w.+-]{1,60})\s*$", re.MULTILINE)
_CARD_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Published:
    """`hub`: id on the Hugging Face hub, or "" for a file elsewhere; `revision`: the default commit;
    `size`: bytes to download, about; `licence`: its terms and where they are stated; `fetch`: the command
    (or the place) to download it; `use`: the command that reads it."""

    name: str
    hub: str
    revision: str = ""
    size: int
    licence: str
    fetch: str
    use: str


_VIDEOMV = (
    "VideoMV weights (alibaba/VideoMV), {branch} branch: the repository's LICENSE is MIT; of the "
    "weights, which lie elsewhere, it says nothing of its own. "
)
VIDEOMV = Published(
    name="VideoMV, text branch",
    hub="",
    size=int(5.7 * GB),
    licence=_VIDEOMV.format(branch="text")
    + "Fine-tuned from ModelScopeT2V, so its CC-BY-NC-4.0 holds too: no commercial use",
    fetch="pretrained_models.zip, linked from https://github.com/alibaba/VideoMV",
    use="orster import videomv pretrained_models.zip --base modelscope/ -o videomv/",
)
VIDEOMV_IMAGES = Published(
    name="VideoMV, image branch",
    hub="",
    size=int(5.7 * GB),
    licence=_VIDEOMV.format(branch="image")
    + "Fine-tuned from I2VGen-XL, whose card says MIT and asks for research and non-commercial use "
    "only: take it as no commercial use",
    fetch="pretrained_models.zip, linked from https://github.com/alibaba/VideoMV",
    use="orster import videomv pretrained_models.zip --member i2v_00882000.pth --base i2vgen-xl/ "
    "-o videomv-images/",
)
# The commits are the heads of the repositories' main branches as stored copies of their pages showed
# them; that they are still there could not be looked up.
MODELSCOPE = Published(
    name="ModelScopeT2V",
    hub="ali-vilab/text-to-video-ms-1.7b",
    revision="8227dddca75a8561bf858d604cc5dae52b954d01",
    size=int(7.4 * GB),
    licence="ModelScopeT2V weights (ali-vilab/text-to-video-ms-1.7b): CC-BY-NC-4.0: no commercial use",
    fetch="orster import modelscope ali-vilab/text-to-video-ms-1.7b --fetch -o modelscope/",
    use="orster import modelscope ali-vilab/text-to-video-ms-1.7b -o modelscope/",
)
I2VGEN_XL = Published(
    name="I2VGen-XL",
    hub="ali-vilab/i2vgen-xl",
    revision="39e1979ea27be737b0278c06755e321f2b4360d5",
    size=int(9.9 * GB),
    licence="I2VGen-XL weights (ali-vilab/i2vgen-xl): its card's header says MIT, its disclaimer that it "
    "was trained on WebVid-10M and LAION-400M and is for research and non-commercial use only: take it "
    "as no commercial use",
    fetch="orster import i2vgen-xl ali-vilab/i2vgen-xl --fetch -o i2vgen-xl/",
    use="orster import i2vgen-xl ali-vilab/i2vgen-xl -o i2vgen-xl/",
)
CLIP = Published(
    name="CLIP ViT-H/14",
    hub="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
    size=int(3.9 * GB),
    licence="CLIP weights: LAION's ViT-H/14 is MIT by its card, OpenAI's code is MIT (of its weights "
    "nothing could be read); another's by its own card",
    fetch="orster import clip laion/CLIP-ViT-H-14-laion2B-s32B-b79K --text-layers 23 --fetch -o clip/",
    use="orster import clip laion/CLIP-ViT-H-14-laion2B-s32B-b79K --text-layers 23 -o clip/",
)
BACKBONES = (VIDEOMV, VIDEOMV_IMAGES, MODELSCOPE, I2VGEN_XL, CLIP)


def licences_of(
    published: Published, folder: Path | None = None, commit: str | None = None
) -> list[str]:
    """Lines on the licence of the weights, with the card's in `folder` and the commit that was read.
    Every artifact made from the weights carries them."""
    card = None if folder is None else card_licence(folder)
    lines = [] if card is None else [f"{published.name}: the card in its folder says: {card}"]
    read = f"; read at commit {commit}" if commit else ""
    return [published.licence + read, *lines]


def card_licence(folder: Path) -> str | None:
    """The licence in the front matter of a hub repository's README.md; None: there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    with card.open("rb") as handle:
        text = handle.read(_CARD_BYTES).decode("utf-8", errors="replace")
    front = text.split("---", 2)
    found = _CARD.search(front[1]) if len(front) == 3 and not front[0].strip() else None
    return found.group(1) if found else None
