"""The metrics by name: what each computes, from what, in which network, and which way is better.

A metric that needs what a subject does not have is undefined for it (`Undefined`), never another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.names import did_you_mean, printable
from orster_cli.evaluate.features import Features
from orster_cli.evaluate.film import Footage
from orster_cli.evaluate.views import NEED_REFERENCE, Looks, Undefined
from orster_cli.metrics.frechet import one_clip_distance
from orster_cli.metrics.i3d import FEWEST_FRAMES
from orster_cli.metrics.motion import flicker
from orster_cli.metrics.perceptual import LEAST_SIDE
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import WINDOW, ssim

Values = list[float | None]  # one a frame, or one alone
Clips = tuple[list[Tensor], list[Tensor]]  # [T,3,H,W] each, ours and the reference's
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a report: `definition` is what a reader needs to compute it again. `scope`: it has a
    value for each "frame", each "subject", or for the whole "set"."""

    name: str
    unit: str = ""
    better: str = "higher"
    scope: str = "subject"
    definition: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Either `measure` gives the values of `columns`, in their order, for one subject, or `clips` gives its
    videos, whose Fréchet distance to the reference's is taken over all subjects. Both raise Undefined."""

    columns: tuple[Column, ...]
    network: str | None = None
    paired: bool = False  # frame i of ours is compared with frame i of the reference
    measure: Callable[[Looks, Features], tuple[Values, ...]] | None = None
    clips: Callable[[Looks], Clips] | None = None


def _floats(tensor: Tensor) -> Values:
    return [float(v) for v in tensor]


def _psnr(looks: Looks, features: Features) -> tuple[Values, ...]:
    del features
    ours, reference = looks.paired
    plain = _floats(psnr(ours.frames, reference.frames))
    inside: Values = [None] * len(plain)
    if reference.alpha is not None:
        seen = reference.alpha.amax(dim=(1, 2, 3)) > 0.5
        for i in seen.nonzero()[:, 0].tolist():
            frame = slice(i, i + 1)
            both = ours.frames[frame], reference.frames[frame]
            inside[i] = float(masked_psnr(*both, reference.alpha[frame]))
    return plain, inside


def _large_enough(name: str, footage: Footage, least: int) -> None:
    if min(footage.frames.shape[2:]) < least:
        raise InputError(
            f"{footage.name}: {name} needs frames of at least {least} pixels, these are smaller",
            hint="leave it out: --metrics psnr",
        )


def _ssim(looks: Looks, features: Features) -> tuple[Values, ...]:
    del features
    ours, reference = looks.paired
    _large_enough("ssim", reference, WINDOW)
    return (_floats(ssim(ours.frames, reference.frames)),)


def _perceptual(key: str, looks: Looks, features: Features) -> tuple[Values, ...]:
    ours, reference = looks.paired
    _large_enough(key, reference, LEAST_SIDE)
    return (_floats(features.distances(key, ours.frames, reference.frames)),)


def _same_view(key: str, looks: Looks, features: Features) -> tuple[Values, ...]:
    ours, reference = (features.images(key, side.frames) for side in looks.paired)
    return (_floats((ours * reference).sum(dim=-1)),)


def _clip_score(key: str, which: str, looks: Looks, features: Features) -> tuple[Values, ...]:
    """By what the condition was, to its image, to its text: mean cosine over the frames."""
    condition = looks.case.condition
    targets = features.images(key, (looks.around if which == "o" else looks.front).frames)
    to_text = to_image = None
    if condition.text:
        to_text = float((targets @ features.text(key, condition.text)).mean())
    try:
        to_image = float((targets @ features.images(key, looks.first_view[None])[0]).mean())
    except Undefined:
        if to_text is None:
            why = "neither text nor image of what was asked for is known"
            raise Undefined(why, NEED_REFERENCE) from None
    by_text = to_text is not None and condition.image is None
    return [to_text if by_text else to_image], [to_image], [to_text]


def _flicker(looks: Looks, features: Features) -> tuple[Values, ...]:
    del features
    ours = looks.case.ours
    footage = ours if isinstance(ours, Footage) else looks.front  # a turning camera flickers too
    if len(footage) < 3:
        raise Undefined("flicker needs three frames")
    return ([float(flicker(footage.frames).mean())],)


def _motion(looks: Looks, features: Features) -> tuple[Values, ...]:
    del features
    moving, still = looks.at_rest
    return ([float((moving.frames.double() - still.frames.double()).square().mean())],)


def long_enough(clips: Iterable[Tensor], cfg: EvaluateConfig) -> None:
    """Undefined: fewer frames than I3D looks at."""
    for clip in clips:
        if len(clip) * cfg.hold < FEWEST_FRAMES:
            hold = -(-FEWEST_FRAMES // len(clip))
            raise Undefined(
                f"I3D looks at {FEWEST_FRAMES} frames or more, a clip has {len(clip)}",
                f"--set evaluate.hold={hold} shows it each frame {hold} times",
            )


def _one_clip(looks: Looks, features: Features) -> tuple[Values, ...]:
    ours, reference = looks.paired
    pairs = list(zip(looks.parts(ours), looks.parts(reference), strict=True))
    long_enough((clip for pair in pairs for clip in pair), looks.cfg)
    found = [one_clip_distance(*features.videos(pair)) for pair in pairs]
    return ([sum(found) / len(found)],)


def _videos(looks: Looks) -> Clips:
    ours, reference = looks.videos
    return looks.parts(ours), [] if reference is None else looks.parts(reference)


def _matrix(kind: str, looks: Looks) -> Clips:
    return looks.matrix_clips(kind)


def _per_frame(key: str, measure: str, network: str, definition: str, better: str) -> Metric:
    column = Column(name=key, better=better, scope="frame", definition=definition)
    kinds = {"distance": _perceptual, "cosine": _same_view}
    measured = partial(kinds[measure], network)
    return Metric(columns=(column,), network=network, paired=True, measure=measured)


def _score(which: str, network: str, label: str) -> Metric:
    where = {
        "o": "all frames of a clip, or the protocol's uniform orbital views of an asset",
        "f": "the frames that show the front",
    }[which]
    mark = f"[{label}]" if label else ""
    name = f"clip-{which}"
    texts = {
        "": "to the image of the condition, or to its text where a text alone was given",
        "_image": "to the condition's image, else to the reference's first front view",
        "_text": "to the condition's text",
    }
    columns = tuple(
        Column(name=f"{name}{mark}{end}", definition=f"mean cosine of {where} {text}")
        for end, text in texts.items()
    )
    return Metric(columns=columns, network=network, measure=partial(_clip_score, network, which))


def _distance(name: str, clips: Callable[[Looks], Clips], of_what: str) -> Metric:
    definition = (
        "Fréchet distance of the Gaussians fitted to I3D's logits (Unterthiner et al. 2018) of "
        f"{of_what}, float64 covariances over N - 1"
    )
    column = Column(name=name, better="lower", scope="set", definition=definition)
    return Metric(columns=(column,), network="i3d", clips=clips)


_PSNR = Column(
    name="psnr",
    unit="dB",
    scope="frame",
    definition="10 log10(1 / MSE) over all pixels and channels of a frame in [0,1], at most 100; "
    "mean over frames",
)
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        columns=(
            _PSNR,
            replace(
                _PSNR,
                name="psnr_masked",
                definition="the same over the pixels whose alpha in the reference exceeds 0.5",
            ),
        ),
        paired=True,
        measure=_psnr,
    ),
    "ssim": Metric(
        columns=(
            Column(
                name="ssim",
                scope="frame",
                definition="Wang et al. 2004, Gaussian window of 11 pixels and sigma 1.5, "
                "population covariance, K1 0.01, K2 0.03, range 1, window inside the image, "
                "mean over RGB and frames",
            ),
        ),
        paired=True,
        measure=_ssim,
    ),
    "lpips": _per_frame("lpips", "distance", "lpips", "LPIPS v0.1 (Zhang et al. 2018)", "lower"),
    "st-lpips": _per_frame(
        "st-lpips",
        "distance",
        "st-lpips",
        "shift-tolerant LPIPS (Ghildyal and Liu 2022); not comparable with LPIPS v0.1",
        "lower",
    ),
    "clip-o": _score("o", "clip", ""),
    "clip-f": _score("f", "clip", ""),
    "clip-i": _per_frame(
        "clip-i", "cosine", "clip", "cosine of a frame and the reference's same view", "higher"
    ),
    "clip-o[mini]": _score("o", "mini", "mini"),
    "clip-f[mini]": _score("f", "mini", "mini"),
    "fvd": _distance("fvd", _videos, "the subjects' and the references' videos"),
    "fvd-c4d": Metric(
        columns=(
            Column(
                name="fvd-c4d",
                better="lower",
                definition="Consistent4D's one-clip figure: |f1 - f2|^2 + (s1 - s2)^2 of two I3D "
                "vectors, s the deviation over their 400 numbers; mean over a subject's videos",
            ),
        ),
        network="i3d",
        paired=True,
        measure=_one_clip,
    ),
    "fvd-f": _distance("fvd-f", partial(_matrix, "f"), "each view over time (SV4D)"),
    "fvd-v": _distance("fvd-v", partial(_matrix, "v"), "each moment over the views (SV4D)"),
    "fvd-diag": _distance("fvd-diag", partial(_matrix, "diag"), "the matrix's diagonals (SV4D)"),
    "fv4d": _distance("fv4d", partial(_matrix, "4d"), "the whole matrix, rows to and fro (SV4D)"),
    "motion": Metric(
        columns=(
            Column(
                name="motion",
                better="neither",
                definition="Diffusion4D's magnitude: mean squared difference to the same cameras "
                "at the first moment",
            ),
        ),
        measure=_motion,
    ),
    "flicker": Metric(
        columns=(
            Column(
                name="flicker",
                better="lower",
                definition="mean absolute second difference of neighbouring frames, of a clip as it "
                "is, of an asset from the front",
            ),
        ),
        measure=_flicker,
    ),
}


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics to compute, without repetition. ConfigError: an unknown one, or none."""
    chosen = tuple(dict.fromkeys(names))
    if chosen == (ALL,):
        return tuple(METRICS)
    for name in chosen:
        if name not in METRICS:
            raise ConfigError(
                f"unknown metric {printable(name)!r}{did_you_mean(name, list(METRICS))}",
                hint=f"known: {', '.join(METRICS)}, {ALL}",
            )
    if not chosen:
        raise ConfigError("no metric was asked for", hint="known: " + ", ".join(METRICS))
    return chosen


def columns_of(names: Iterable[str]) -> list[Column]:
    """The columns that the metrics `names` fill, in their order."""
    return [column for name in names for column in METRICS[name].columns]


def networks_of(names: Iterable[str]) -> list[str]:
    """The networks that the metrics `names` are measured in."""
    keys = (METRICS[name].network for name in names)
    return list(dict.fromkeys(key for key in keys if key is not None))


def mean(values: Values) -> float | None:
    """Over those that are defined; None where none is."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None
