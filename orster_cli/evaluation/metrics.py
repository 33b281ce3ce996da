"""The metrics by name: what each computes, from which views, in which network, and which way is better.

A metric that needs what a subject does not have raises `UndefinedMetric`; it never gives another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from orster_cli.config.evaluate import EvaluateConfig
from orster_cli.core.errors import ConfigError, InputError
from orster_cli.core.names import did_you_mean, printable
from orster_cli.evaluation.features import Features
from orster_cli.evaluation.videos import Video
from orster_cli.evaluation.views import NEED_REFERENCE, RenderedViews, UndefinedMetric
from orster_cli.metrics.frechet import one_clip_distance
from orster_cli.metrics.i3d import FEWEST_FRAMES
from orster_cli.metrics.motion import flicker
from orster_cli.metrics.perceptual import LEAST_SIDE
from orster_cli.metrics.psnr import masked_psnr, psnr
from orster_cli.metrics.ssim import WINDOW, ssim

Values = list[float | None]  # one for each frame, or a single one
Clips = tuple[list[Tensor], list[Tensor]]  # [T,3,H,W] each, of the subject and of the reference
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a report. `definition`: what a reader needs to compute it again. `scope`: whether there
    is a value for each "frame", for each "subject", or for the whole "set"."""

    name: str
    unit: str = ""
    better: str = "higher"
    scope: str = "subject"
    definition: str = ""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """`measure` returns the values of `columns`, in their order, for one subject. A distance of sets has
    `clips` instead: it returns the clips of one subject and of its reference, and the Fréchet distance is
    taken over all of them. Both raise UndefinedMetric."""

    columns: tuple[Column, ...]
    network: str | None = None
    paired: bool = False  # compares frame i of the subject with frame i of the reference
    measure: Callable[[RenderedViews, Features], tuple[Values, ...]] | None = None
    clips: Callable[[RenderedViews], Clips] | None = None


def _floats(tensor: Tensor) -> Values:
    return [float(v) for v in tensor]


def _psnr(views: RenderedViews, features: Features) -> tuple[Values, ...]:
    del features
    subject, reference = views.paired
    whole = _floats(psnr(subject.frames, reference.frames))
    masked: Values = [None] * len(whole)
    if reference.alpha is not None:
        visible = reference.alpha.amax(dim=(1, 2, 3)) > 0.5
        for i in visible.nonzero()[:, 0].tolist():
            frame = slice(i, i + 1)
            both = subject.frames[frame], reference.frames[frame]
            masked[i] = float(masked_psnr(*both, reference.alpha[frame]))
    return whole, masked


def _check_size(name: str, video: Video, least: int) -> None:
    if min(video.frames.shape[2:]) < least:
        raise InputError(
            f"{video.name}: {name} needs frames of at least {least} pixels, these are smaller",
            hint="leave it out: --metrics psnr",
        )


def _ssim(views: RenderedViews, features: Features) -> tuple[Values, ...]:
    del features
    subject, reference = views.paired
    _check_size("ssim", reference, WINDOW)
    return (_floats(ssim(subject.frames, reference.frames)),)


def _perceptual(key: str, views: RenderedViews, features: Features) -> tuple[Values, ...]:
    subject, reference = views.paired
    _check_size(key, reference, LEAST_SIDE)
    return (_floats(features.distances(key, subject.frames, reference.frames)),)


def _same_view(key: str, views: RenderedViews, features: Features) -> tuple[Values, ...]:
    subject, reference = (features.images(key, side.frames) for side in views.paired)
    return (_floats((subject * reference).sum(dim=-1)),)


def _clip_score(
    key: str, which: str, views: RenderedViews, features: Features
) -> tuple[Values, ...]:
    """Mean cosine over the frames: to the condition (its image, or its text where that alone was given), to
    its image, to its text."""
    condition = views.pair.condition
    embeddings = features.images(key, (views.orbit if which == "o" else views.front).frames)
    to_text = to_image = None
    if condition.text:
        to_text = float((embeddings @ features.text(key, condition.text)).mean())
    try:
        to_image = float((embeddings @ features.images(key, views.condition_image[None])[0]).mean())
    except UndefinedMetric:
        if to_text is None:
            why = "neither the text nor the image of its condition is known"
            raise UndefinedMetric(why, NEED_REFERENCE) from None
    by_text = to_text is not None and condition.image is None
    return [to_text if by_text else to_image], [to_image], [to_text]


def _flicker(views: RenderedViews, features: Features) -> tuple[Values, ...]:
    del features
    subject = views.pair.subject
    video = subject if isinstance(subject, Video) else views.front  # a turning camera adds flicker
    if len(video) < 3:
        raise UndefinedMetric("flicker needs three frames")
    return ([float(flicker(video.frames).mean())],)


def _motion(views: RenderedViews, features: Features) -> tuple[Values, ...]:
    del features
    moving, static = views.moving_and_static
    return ([float((moving.frames.double() - static.frames.double()).square().mean())],)


def check_length(clips: Iterable[Tensor], cfg: EvaluateConfig) -> None:
    """UndefinedMetric: a clip has fewer frames than I3D needs."""
    for clip in clips:
        if len(clip) * cfg.hold < FEWEST_FRAMES:
            hold = -(-FEWEST_FRAMES // len(clip))
            raise UndefinedMetric(
                f"I3D needs {FEWEST_FRAMES} frames or more, a clip has {len(clip)}",
                f"--set evaluate.hold={hold} shows it each frame {hold} times",
            )


def _one_clip(views: RenderedViews, features: Features) -> tuple[Values, ...]:
    subject, reference = views.paired
    pairs = list(zip(views.split_azimuths(subject), views.split_azimuths(reference), strict=True))
    check_length((clip for pair in pairs for clip in pair), views.cfg)
    distances = [one_clip_distance(*features.videos(pair)) for pair in pairs]
    return ([sum(distances) / len(distances)],)


def _videos(views: RenderedViews) -> Clips:
    subject, reference = views.videos
    return views.split_azimuths(subject), [] if reference is None else views.split_azimuths(
        reference
    )


def _matrix(kind: str, views: RenderedViews) -> Clips:
    return views.matrix_clips(kind)


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


def _distance(name: str, clips: Callable[[RenderedViews], Clips], of_what: str) -> Metric:
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
    """The metrics to compute, each once; a lone "all" is every metric. ConfigError: an unknown name, or
    none."""
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
        raise ConfigError("no metric is given", hint="known: " + ", ".join(METRICS))
    return chosen


def columns_of(names: Iterable[str]) -> list[Column]:
    """The columns of the metrics `names`, in order."""
    return [column for name in names for column in METRICS[name].columns]


def networks_of(names: Iterable[str]) -> list[str]:
    """The networks that the metrics `names` need, each once."""
    keys = (METRICS[name].network for name in names)
    return list(dict.fromkeys(key for key in keys if key is not None))


def mean(values: Values) -> float | None:
    """Mean of the values that are defined; None where none is."""
    defined = [v for v in values if v is not None]
    return sum(defined) / len(defined) if defined else None
