"""What is said of a condition that is unlike all that the model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orster_cli.diffusion.known_texts import KnownTexts, listed, words_of

if TYPE_CHECKING:
    from orster_cli.sampling.sample_clips import Sampler, SampleRequest

MOST_ACTIONS = 12  # that are listed


def warn_unlike(
    request: SampleRequest,
    sampler: Sampler,
    *,
    image: Path | None,
    given: bool,
    made: bool,
    anyway: bool,
) -> None:
    """Warn of unknown words of `request`, and of a picture that is far from all known ones. `image`: its
    file; `given`: the object is, as it is at rest; `made`: the model makes it of the text at once;
    `anyway`: it may show nothing."""
    from orster_cli.core.frames import at_resolution
    from orster_cli.diffusion.mini_encoder import LENGTH, MiniEncoder
    from orster_cli.inputs.pictures import check_picture, warn_far
    from orster_cli.io.images import square

    bundle, reporter = sampler.bundle, sampler.reporter
    known, encoder = bundle.known, bundle.encoder
    if request.text is not None:
        count = len(words_of(request.text))
        if isinstance(encoder, MiniEncoder) and count > LENGTH:
            reporter.warn(f"the model reads the first {LENGTH} of the text's {count} words")
        if known is not None and known.texts is not None:
            _say_unknown(known.texts, request, sampler, given=given, moves=given or made)
        asked = sampler.cfg.motion is None and not sampler.stays_as_known(request)
        if asked and sampler.words_motion(request.text) is not None:
            strength = sampler.motion_of(request.text)
            reporter.note(f"motion {strength:.3f}, as the text's words suggest (--motion sets it)")
    resolution, picture = bundle.facts.resolution, None
    where = "the object" if image is None else image.name
    if given:
        assert request.object_orbit is not None
        picture = at_resolution(request.object_orbit, resolution)[0]
        check_picture(picture, where, reporter, anyway=anyway)
    elif request.image is not None:
        picture = square(request.image, resolution)
    if picture is not None and known is not None and known.images is not None:
        follows = given and bundle.std4d.config.reference_mask
        warn_far(picture, where, known.images, encoder, reporter, follows=follows)


def _say_unknown(
    texts: KnownTexts, request: SampleRequest, sampler: Sampler, *, given: bool, moves: bool
) -> None:
    """A warning of the unknown words of the text of `request`. Of an object that is given the text need not
    tell what it is, but what it does, as of one that the model makes in one pass (`moves`: either)."""
    from orster_cli.diffusion.known_inputs import unknown_words

    reporter, text = sampler.reporter, request.text or ""
    sentence = unknown_words(texts, text, sampler.bundle.encoder)
    quiet, acts = sampler.stays_as_known(request), texts.has_action(text)
    rest, says = sampler.bundle.rest, acts
    if quiet and rest is not None and rest.config.starts:
        says = bool(rest.config.said_in(text))
    if moves and texts.actions and not says:
        if quiet:
            nothing = "no known object does so" if acts else "the text names no action"
            sentence = f"{sentence or nothing}; it does something quiet instead"
        if given or sentence is None:  # with the name of an object that is made they are told
            known = listed(texts.actions, MOST_ACTIONS)
            sentence = f"{sentence or 'the text names no action'}; actions that it knows: {known}"
    elif given and sentence is not None:
        reporter.info(f"{sentence.partition(';')[0]}; the object is given, so it need not")
        return
    if sentence is not None:
        reporter.warn(sentence)
