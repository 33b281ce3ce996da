"""The pooled text in every frame's embedding: texts that an encoder hardly tells apart are told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orster_cli.core.errors import ConfigError
from orster_cli.diffusion import weights
from orster_cli.diffusion.bundle import Bundle, WholeBundle, load_bundle, save_bundle
from orster_cli.diffusion.embeddings import TextEmbedding
from orster_cli.diffusion.std4d import STD4D
from orster_cli.training.prepared import Models
from tests.helpers.diffusion import CONFIG, STEPS, given_to, latents, shaken
from tests.helpers.stages import begun, run
from tests.helpers.training import CFG, bundle, dataset

MERGED = replace(CONFIG, merged=True, reference_mask=True)
ALIKE = 0.01  # texts differ by so much of what they have in common
TEXTED = replace(CFG.model, text_directions=4)


def texts_alike(count: int) -> torch.Tensor:
    """Pooled vectors [count,6] of texts which are all but equal, and differ most where it means least."""
    draw = torch.Generator().manual_seed(4)
    spread = ALIKE * torch.tensor([1.0, 0.3, 0.1, 0.1, 0.1, 0.1])
    return torch.ones(6) + spread * torch.randn(count, 6, generator=draw)


def test_texts_that_are_almost_equal_are_read_far_apart() -> None:
    texts = texts_alike(200)
    embedding = TextEmbedding(6, 4, 16)
    embedding.measure(texts)
    read = (texts - embedding.centre) @ embedding.directions
    torch.testing.assert_close(torch.cov(read.T), torch.eye(4), atol=1e-4, rtol=1e-4)
    embedding.measure(texts[:3])  # which span two directions
    assert int(embedding.directions.any(dim=0).sum()) == 2
    embedding.measure(texts[:1])
    with torch.no_grad():
        embedding.linear_2.weight += 1
        assert embedding(texts).isfinite().all()
        embedding.measure(texts)
        far = embedding(100 * texts[:1])  # a text unlike all of them is no louder
        assert far.norm() < 4 * embedding(texts).norm(dim=1).mean()


@pytest.mark.parametrize("config", [MERGED, replace(CONFIG, reference_mask=True)])
@torch.no_grad()
def test_a_new_one_changes_nothing(config) -> None:  # type: ignore[no-untyped-def]
    model, z, given = shaken(config), latents(), given_to()
    texted = weights.start_from(model, replace(config, text_directions=4), 0).eval()
    texted.text_embedding.measure(texts_alike(20))
    assert torch.equal(texted(z, STEPS, given).prediction, model(z, STEPS, given).prediction)
    assert texted.merge().text_embedding is texted.text_embedding


def _told_apart(model: STD4D) -> float:
    """Share of the variance of two answers that `model` learns, where the text alone says which is right:
    its tokens are equal, its pooled vectors almost."""
    pooled, z = texts_alike(8), latents(1)[:1, ..., :4, :4]
    given = replace(given_to(1)[:1], reference=None, reference_mask=None, object_latents=None)
    given = replace(given[torch.zeros(8, dtype=torch.long)], pooled=pooled)
    if model.text_embedding is not None:
        model.text_embedding.measure(pooled)
    sign = (pooled[:, 1] - pooled[:, 1].mean()).sign().view(-1, 1, 1, 1, 1)
    answer = sign * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    error = torch.zeros(())
    for _ in range(25):
        prediction = model(z.expand(8, -1, -1, -1, -1), STEPS[:1].expand(8), given).prediction
        error = (prediction - answer).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return 1 - float(error.detach() / answer.var(correction=0))


def test_the_text_decides_where_cross_attention_hears_no_difference() -> None:
    """Its purpose, against the model without it."""
    given = replace(MERGED, text_directions=4)
    deaf = _told_apart(shaken(MERGED))
    hears = _told_apart(shaken(given))
    assert deaf < 0.1
    assert hears > 0.8


def test_a_stage_adds_it_for_its_captions_and_the_model_keeps_it(tmp_path: Path) -> None:
    data = dataset(Path("examples/creature.glb"), tmp_path / "data")
    start = bundle("4d", MERGED)
    cfg = replace(CFG, model=TEXTED)
    ready = begun("finetune", data, Models(start=Bundle(**vars(start))), cfg)
    run(ready, "finetune", tmp_path / "run", cfg=cfg)
    model = ready.finish()
    assert model.std4d.text_embedding is not None
    assert model.std4d.config.text_directions == 4
    save_bundle(model, tmp_path / "model")
    again = load_bundle(tmp_path / "model").whole("model")
    ours, theirs = model.std4d.state_dict(), again.std4d.state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    _kept_unless_the_encoder_changes(again, data)


def _kept_unless_the_encoder_changes(model: WholeBundle, data: Path) -> None:
    start = Bundle(**vars(model))
    same = begun("pretrain", data, Models(start=start), CFG).finish().std4d
    assert torch.equal(same.text_embedding.centre, model.std4d.text_embedding.centre)
    other = Models(start=start, encoder=model.encoder)
    assert begun("pretrain", data, other, CFG).finish().std4d.text_embedding is None


def test_more_directions_than_a_text_has_numbers() -> None:
    with pytest.raises(ConfigError, match="text_directions: at most the 6 numbers"):
        replace(MERGED, text_directions=7)
