"""What a model knows: collected in training, kept in its folder, compared with an input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import InputError
from orster_cli.dataset.reader import Dataset
from orster_cli.diffusion.bundle import Bundle, load_bundle, save_bundle
from orster_cli.diffusion.known_inputs import (
    KnownImages,
    KnownInputs,
    embed_frames,
    load_known,
    nearest_caption,
    save_known,
    unknown_words,
)
from orster_cli.diffusion.known_texts import (
    MOST_WORDS,
    KnownTexts,
    content_words,
    read_known_texts,
    stem,
    words_of,
)
from orster_cli.inputs.models import SHIPPED
from orster_cli.training.build import build_stage
from orster_cli.training.known_data import known_data
from orster_cli.training.prepared import Models
from tests.helpers.training import CFG, SIDE, bundle, merged, source, tiny_vae

FROG = (["a green frog jumping", "a frog jumps"], None)
FOX = (["an orange fox galloping", "a fox galloping"], (["an orange fox", "a fox"], ["galloping"]))


def texts() -> KnownTexts:
    return KnownTexts.of([FROG, FOX])


def vectors(count: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    random = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(random, dim=-1)


@pytest.mark.parametrize(
    "forms",
    [
        ("jump", "jumps", "jumped", "jumping"),
        ("run", "runs", "running"),
        ("bite", "bites", "biting"),
        ("horse", "horses"),
        ("fall", "falls", "falling"),
        ("swim", "swims", "swimming"),
        ("carry", "carries", "carried", "carrying"),
    ],
)
def test_the_forms_of_a_word_are_one_word(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_different_words_stay_different() -> None:
    words = ["frog", "fox", "horse", "wing", "king", "fish", "wasp", "red", "robot"]
    words += ["tank", "tang", "mech", "walk", "fly", "bite", "jump"]
    assert len({stem(word) for word in words}) == len(words)


def test_words_are_counted_by_clip_and_the_lists_are_short() -> None:
    known = texts()
    assert known.words["frog"] == 1  # in two captions of one clip
    assert known.words["a"] == 2
    assert known.subjects == ("a green frog", "a fox")
    assert known.actions == ("jumping", "galloping")
    assert known.summary() == "a green frog, a fox; jumping, galloping"
    assert known.unknown("A tank JUMPED over the frogs") == ["tank", "over"]
    assert known.spelled_alike("jmping") == ["jumping"]
    assert content_words("the frog and a frog") == ["frog"]
    plain = KnownTexts.of([(["frog"], None)])
    assert plain.summary() == "frog"


def test_more_words_than_are_kept_are_counted() -> None:
    many = KnownTexts.of([([" ".join(f"w{k}" for k in range(MOST_WORDS + 7)), "frog"], None)])
    assert (len(many.words), many.left_out) == (MOST_WORDS, 8)
    assert KnownTexts.from_json(json.loads(json.dumps(many.to_json())), "x") == many


def test_a_model_knows_what_both_of_its_trainings_showed() -> None:
    one, two = KnownTexts.of([FROG]), KnownTexts.of([FOX])
    both = one.merged(two)
    assert both == replace(texts(), words=both.words)
    assert dict(both.words) == {**two.words, **one.words}
    assert both.merged(two) == both  # the same data again
    images = KnownImages(vectors=vectors(4), threshold=0.1)
    other = KnownImages(vectors=torch.cat([vectors(4)[:2], vectors(3, seed=1)]), threshold=0.3)
    joined = images.merged(other)
    assert len(joined.vectors) == 7
    assert joined.threshold == 0.3
    assert KnownInputs(texts=one).merged(KnownInputs(images=images)) == KnownInputs(
        texts=one, images=images
    )


def test_the_threshold_lets_most_held_out_images_through_and_no_other() -> None:
    known, width = vectors(5, 32), 32
    near = known.repeat(40, 1) + 0.05 * torch.randn(200, width)
    images = KnownImages.of(known, near)
    passed = sum(images.distance(one) <= images.threshold for one in near) / len(near)
    assert passed == pytest.approx(0.95, abs=0.01)
    assert all(images.distance(one) > images.threshold for one in vectors(50, width, seed=9))
    assert images.distance(known[3] * 7) == pytest.approx(0, abs=1e-6)
    alone = KnownImages.of(torch.cat([known, known + 0.01]))  # each against the others
    assert 0 < alone.threshold < 0.01


def test_it_is_kept_in_a_models_folder(tmp_path: Path) -> None:
    known = KnownInputs(texts=texts(), images=KnownImages(vectors=vectors(5), threshold=0.25))
    model = replace(merged("4d"), known=known)
    save_bundle(model, tmp_path / "model")
    opened = load_bundle(tmp_path / "model").whole("model").known
    assert opened is not None
    assert opened.texts == read_known_texts(tmp_path / "model") == texts()
    assert opened.images is not None
    assert opened.images.threshold == 0.25
    torch.testing.assert_close(opened.images.vectors, vectors(5), atol=1e-3, rtol=0)
    save_bundle(merged("4d"), tmp_path / "old")
    assert load_bundle(tmp_path / "old").whole("old").known is None
    save_known(KnownInputs(), tmp_path / "old")
    assert load_known(tmp_path / "old") == KnownInputs()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version 1"),
        ({"texts": {"words": {}}}, "expected words"),
        ({"texts": {"words": {"a": "b"}, "subjects": [], "actions": [], "left_out": 0}}, "words"),
        ({"texts": {"words": {}, "subjects": [3], "actions": [], "left_out": 0}}, "subjects"),
        ({"images": {"threshold": 3.0}}, "from 0 to 2"),
        ({"images": {"threshold": "far"}}, "from 0 to 2"),
        ({"images": {"threshold": 0.5}}, "no such file|cannot be read|not a readable"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: Path, change: dict[str, object], says: str) -> None:
    save_known(KnownInputs(texts=texts()), tmp_path)
    path = tmp_path / "known.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=says):
        load_known(tmp_path)


def test_training_records_what_it_showed_and_goes_on_from_it(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    parts = Models(vae=tiny_vae(), encoder=bundle().encoder)
    new = build_stage("pretrain", "3d", CFG, source(tiny_dataset), parts).finish().known
    assert new is not None
    assert new.texts is not None
    assert {"teal", "creature", "walking", "waving"} < set(new.texts.words)
    assert new.texts.subjects == ("a teal creature",)
    assert new.images is not None
    data, encoder = Dataset.read(tiny_dataset), bundle().encoder
    keys = data.keys()
    first = torch.stack([data.clip(key, "static").over()[0] for key in keys])
    for vector in embed_frames(encoder, first):
        assert new.images.distance(vector) < 1e-3
    start = replace(merged("4d"), known=KnownInputs(texts=texts()))
    models = Models(start=Bundle(**vars(start)))
    later = build_stage("finetune", "4d", CFG, source(tiny_dataset), models).finish().known
    assert later is not None
    assert later.texts is not None
    assert {"frog", "creature"} < set(later.texts.words)
    assert later.images is not None
    student = build_stage("pretrain", "4d", CFG, source(tiny_dataset), models).finish().known
    assert student is not None
    assert student.texts == later.texts


def test_a_model_of_unknown_training_is_not_said_to_know_only_this(tiny_dataset: Path) -> None:
    """One that was imported, or trained before this was recorded, has seen more than this dataset."""
    for stage in ("pretrain", "finetune"):
        models = Models(start=Bundle(**vars(merged("4d"))))
        assert build_stage(stage, "4d", CFG, source(tiny_dataset), models).finish().known is None


def test_another_encoder_ends_what_was_known_of_images(tiny_dataset: Path) -> None:
    known = KnownInputs(texts=texts(), images=KnownImages(vectors=vectors(3, 12), threshold=0.1))
    models = Models(
        start=Bundle(**vars(replace(merged("3d"), known=known))), encoder=bundle().encoder
    )
    made = build_stage("pretrain", "4d", CFG, source(tiny_dataset), models).finish().known
    assert made is not None
    assert made.images is not None
    assert len(made.images.vectors) == 2  # of the two clips


def test_without_texts_or_an_image_tower_that_part_is_not_recorded(tiny_dataset: Path) -> None:
    data = Dataset.read(tiny_dataset)
    encoder = bundle().encoder
    kinds = {"view": "dynamic", "resolution": SIDE}
    assert known_data(data, data.keys(), encoder, **kinds, texts=False).texts is None  # type: ignore[arg-type]
    encoder.image_width = 0
    assert known_data(data, data.keys(), encoder, **kinds).images is None  # type: ignore[arg-type]


def test_the_shipped_model_knows_its_objects_and_names_the_nearest() -> None:
    shipped = load_bundle(SHIPPED).whole("mini")
    assert shipped.known is not None
    known = shipped.known.texts
    assert known is not None
    assert len(known.subjects) == 12
    for prompt in ("a frog jumping", "a brown horse galloping", "a white robot walks", "two foxes"):
        assert len(known.unknown(prompt)) < len(content_words(prompt)), prompt
    assert nearest_caption(shipped.encoder, "two frogs jumping", known) == "a frog jumping"
    said = unknown_words(known, "a pink frog jumping with a tank", shipped.encoder)
    assert said == (
        "the model does not know 'pink', 'tank'; nearest known: 'tang' by spelling, "
        "'a frog jumping' by its encoder"
    )
    assert unknown_words(known, "a frog jumping", shipped.encoder) is None


def test_the_nearest_caption_is_made_of_what_is_recorded() -> None:
    encoder = bundle().encoder
    assert nearest_caption(encoder, "a fox galloping", texts()) == "a fox galloping"
    words = KnownTexts.of([(["frog", "a fox"], None)])
    assert nearest_caption(encoder, "fox", words) == "fox"
    assert nearest_caption(encoder, "fox", KnownTexts(words={})) is None


def test_irregular_verbs_denials_and_hyphens_are_understood() -> None:
    texts = KnownTexts(
        words={"a": 3, "rex": 1, "running": 2, "dying": 1, "flying": 1},
        actions=("running", "dying", "flying fast"),
    )
    for text in ("a wolf ran fast", "the rex dies", "it flew"):
        assert texts.has_action(text), text
    assert texts.unknown("a t-rex ran and flew") == []
    assert words_of("It doesn't run, it won\u2019t") == [
        "it",
        "does",
        "not",
        "run",
        "it",
        "will",
        "not",
    ]
    assert texts.unknown("a rex not running") == []
