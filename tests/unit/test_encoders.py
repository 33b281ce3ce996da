"""Encoders: CLIP as transformers has it, and the small one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orster_cli.core.errors import InputError
from orster_cli.diffusion.encoders import ClipEncoder, clip_pixels, load_encoder, save_encoder
from orster_cli.diffusion.mini_encoder import new_mini
from orster_cli.io.tensors import content_id
from tests.helpers.clip_models import TEXT, clip_folder, tokenizer

FRAMES = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_clip_is_transformers_clip(tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor, CLIPModel

    folder = clip_folder(tmp_path / "clip", both=True)
    encoder = load_encoder(folder)
    assert isinstance(encoder, ClipEncoder)
    assert (encoder.text_width, encoder.image_width, encoder.pooled_width) == (16, 24, 10)
    model = CLIPModel.from_pretrained(folder).eval()
    ids = tokenizer(tmp_path / "t")(
        ["a frog", ""], padding="max_length", max_length=9, truncation=True, return_tensors="pt"
    ).input_ids
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32, do_rescale=False)
    pixels = processor(list(FRAMES), return_tensors="pt").pixel_values
    out = model(input_ids=ids, pixel_values=pixels)
    text, image = encoder.text(["a frog", ""]), encoder.image(FRAMES)
    torch.testing.assert_close(text.pooled, out.text_embeds, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text.tokens, out.text_model_output.last_hidden_state)
    torch.testing.assert_close(image.pooled, out.image_embeds, atol=0.02, rtol=0.05)  # bicubic
    assert image.tokens.shape == (3, 17, 24)
    saved = tmp_path / "saved"
    saved.mkdir()
    save_encoder(encoder, saved)
    assert content_id(load_encoder(saved)) == content_id(encoder)


@torch.no_grad()
def test_clip_is_saved_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    encoder = load_encoder(clip_folder(tmp_path / "clip", both=True))
    before = content_id(encoder)
    sizes = []
    for dtype in (None, torch.float16):
        place = tmp_path / str(dtype)
        save_encoder(encoder, place, dtype)
        kept = {str(v.dtype) for f in place.glob("*.safetensors") for v in load_file(f).values()}
        assert kept == {str(dtype or torch.float32)}
        sizes.append(sum(file.stat().st_size for file in place.glob("*.safetensors")))
        text = load_encoder(place).text(["a frog"]).pooled
        torch.testing.assert_close(text, encoder.text(["a frog"]).pooled, atol=0.01, rtol=0.01)
    assert sizes[1] < 0.7 * sizes[0]
    assert content_id(encoder) == before


@torch.no_grad()
def test_cosines_are_clips_own_and_those_of_another_field_are_not(tmp_path: Path) -> None:
    """transformers 5 returns objects where it returned features: which field is taken shows here."""
    from transformers import CLIPModel

    folder = clip_folder(tmp_path / "clip", both=True)
    encoder, model = load_encoder(folder), CLIPModel.from_pretrained(folder).eval()
    texts = ["a frog", "a tall horse", ""]
    ids = tokenizer(tmp_path / "t")(
        texts, padding="max_length", max_length=9, truncation=True, return_tensors="pt"
    ).input_ids
    pixels = clip_pixels(FRAMES, 32)
    golden = model(input_ids=ids, pixel_values=pixels).logits_per_text / model.logit_scale.exp()
    cosines = encoder.text(texts).pooled @ encoder.image(FRAMES).pooled.T
    torch.testing.assert_close(cosines, golden, atol=1e-6, rtol=1e-5)
    wrong = model.text_projection(model.text_model(input_ids=ids).last_hidden_state.mean(dim=1))
    wrong = torch.nn.functional.normalize(wrong, dim=-1) @ encoder.image(FRAMES).pooled.T
    assert not torch.allclose(wrong, golden, atol=1e-3)
    features = model.get_text_features(input_ids=ids)
    pooled = getattr(features, "pooler_output", features)
    torch.testing.assert_close(
        encoder.text(texts).pooled, torch.nn.functional.normalize(pooled, dim=-1)
    )


@torch.no_grad()
def test_the_text_tower_alone_reads_no_images(tmp_path: Path) -> None:
    encoder = load_encoder(clip_folder(tmp_path / "text", both=False))
    assert encoder.image_width == 0
    assert encoder.text(["a", "b"]).tokens.shape == (2, 9, 16)
    with pytest.raises(InputError, match="reads texts only"):
        encoder.image(FRAMES)


def test_a_pipelines_tokenizer_lies_beside_its_text_encoder(tmp_path: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    folder = tmp_path / "text_encoder"
    torch.manual_seed(0)
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(folder)
    tokenizer(tmp_path / "tokenizer").save_pretrained(tmp_path / "tokenizer")
    assert load_encoder(folder).text_width == 16


def test_no_clip_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no CLIP there"):
        load_encoder(tmp_path / "absent/really")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"expected CLIP|no CLIP there"):
        load_encoder(tmp_path)


@torch.no_grad()
def test_the_small_encoder_reads_words_it_never_saw_and_the_empty_text(tmp_path: Path) -> None:
    encoder = new_mini(16, 0).eval()
    text = encoder.text(["a frog jumping", "A FROG, jumping!", "", "x " * 50, "蛙"])
    assert text.tokens.shape == (5, 16, 16)
    torch.testing.assert_close(text.tokens[0], text.tokens[1])
    assert not torch.allclose(text.pooled[0], text.pooled[2])
    alone = encoder.text(["a frog jumping"])
    torch.testing.assert_close(alone.tokens[0], text.tokens[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text.pooled.norm(dim=1), torch.ones(5))
    assert encoder.image(FRAMES).tokens.shape == (3, 16, 16)
    save_encoder(encoder, tmp_path)
    assert content_id(load_encoder(tmp_path)) == content_id(encoder)
    assert content_id(new_mini(16, 1)) != content_id(encoder)


def test_contrast_is_low_for_pairs_that_match() -> None:
    encoder = new_mini(16, 0)
    texts = ["red", "green", "blue"]
    pictures = torch.zeros(3, 3, 32, 32)
    for k in range(3):
        pictures[k, k] = 1
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = encoder.contrast(pictures, texts)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = encoder.contrast(pictures, texts)
        wrong = encoder.contrast(pictures, [texts[1], texts[2], texts[0]])
        same = encoder.contrast(pictures, ["red"] * 3)
    assert float(right) < 0.05 < 1 < float(wrong)
    assert float(same) < float(wrong)  # equal texts are all right
