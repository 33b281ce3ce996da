"""Which reference each subject is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orster_cli.core.errors import InputError
from orster_cli.inputs.subjects import Subject

SHOWN = 6


@dataclass(frozen=True)
class Pairs:
    """`reference` by subject's name; `spare`: references that no subject is held against."""

    reference: dict[str, Subject]
    spare: list[Subject]


def pair(subjects: Sequence[Subject], references: Sequence[Subject], *, strict: bool) -> Pairs:
    """One reference serves all subjects; of several each subject takes the one of its name, else the one
    that it, or the dataset's clip that it shows, was made from.

    InputError: a subject fits several, or none where `strict`."""
    if len(references) == 1:
        return Pairs({subject.name: references[0] for subject in subjects}, [])
    found: dict[str, Subject] = {}
    for subject in subjects:
        fits = [one for one in references if one.name == subject.name]
        fits = fits or [one for one in references if set(one.made_from) & set(subject.made_from)]
        if len(fits) > 1:
            names = ", ".join(one.name for one in fits[:SHOWN])
            raise InputError(
                f"{subject.name}: {len(fits)} references show what it was made from ({names})",
                hint="give the one that is meant, or name the subject's folder as its reference",
            )
        if fits:
            found[subject.name] = fits[0]
    missing = [subject.name for subject in subjects if subject.name not in found]
    if missing and references and strict:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        known = ", ".join(one.name for one in references[:SHOWN])
        raise InputError(
            f"no reference for {len(missing)} of {len(subjects)}: {shown}; the {len(references)} "
            f"references are {known}{', ...' if len(references) > SHOWN else ''}",
            hint="pairs have one name, or the subject was made from the reference's clip; metrics "
            "of sets (fvd) need no pairs",
        )
    used = {id(one) for one in found.values()}
    return Pairs(found, [one for one in references if id(one) not in used])
