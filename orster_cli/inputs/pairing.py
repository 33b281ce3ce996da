"""Which reference each subject is compared with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from orster_cli.core.errors import InputError
from orster_cli.inputs.subjects import Subject

MOST_NAMED = 6  # references or subjects that a message lists


@dataclass(frozen=True)
class Pairs:
    """`reference`: by the subject's name; `unused`: references that no subject is paired with."""

    reference: dict[str, Subject]
    unused: list[Subject]


def pair(
    subjects: Sequence[Subject],
    references: Sequence[Subject],
    *,
    strict: bool,
    given: tuple[str, str] | None = None,
) -> Pairs:
    """The reference of each subject, `given` by these two paths:

    1. A single reference is that of all subjects.
    2. Of several, a subject takes the one of the same name.
    3. Without one of its name, it takes the reference that shares an entry of `made_from` with it: the clip
       that it was made from, or another subject of the same clip of a dataset.

    InputError: several references fit a subject, or none does and `strict` is set; a reference was made
    from its subject."""
    _refuse_swapped(subjects, references, given)
    if len(references) == 1:
        return Pairs({subject.name: references[0] for subject in subjects}, [])
    found: dict[str, Subject] = {}
    for subject in subjects:
        matches = [one for one in references if one.name == subject.name]
        matches = matches or [
            one for one in references if set(one.made_from) & set(subject.made_from)
        ]
        if len(matches) > 1:
            names = ", ".join(one.name for one in matches[:MOST_NAMED])
            raise InputError(
                f"{subject.name}: {len(matches)} references show what it was made from ({names})",
                hint="give the one you mean, or give the subject's folder the name of its reference",
            )
        if matches:
            found[subject.name] = matches[0]
    missing = [subject.name for subject in subjects if subject.name not in found]
    if missing and references and strict:
        shown = ", ".join(missing[:MOST_NAMED]) + (", ..." if len(missing) > MOST_NAMED else "")
        known = ", ".join(one.name for one in references[:MOST_NAMED])
        raise InputError(
            f"no reference for {len(missing)} of {len(subjects)}: {shown}; the {len(references)} "
            f"references are {known}{', ...' if len(references) > MOST_NAMED else ''}",
            hint="a pair has one name, or the subject was made from the reference's clip; distances "
            "of sets (fvd) need no pairs",
        )
    used = {id(one) for one in found.values()}
    return Pairs(found, [one for one in references if id(one) not in used])


def _refuse_swapped(
    subjects: Sequence[Subject], references: Sequence[Subject], given: tuple[str, str] | None
) -> None:
    """InputError: a subject is a clip, and a reference the asset that was made from it."""
    subject_path, reference_path = map(shlex.quote, given or ("CLIP", "ASSET"))
    clips = {one.id: one for one in subjects if one.kind == "clip"}
    for reference in references:
        for made_from in reference.made_from if reference.kind == "asset" else ():
            if made_from in clips:
                subject = clips[made_from].name
                raise InputError(
                    f"the reference {reference.name} is an asset that was made from the clip {subject}: "
                    "what is measured and what it should look like are swapped",
                    hint=f"orster evaluate {reference_path} --reference {subject_path}",
                )
