"""Reads the materials and textures of a glTF file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from orster_cli.core import limits
from orster_cli.core.errors import InputError, LimitError
from orster_cli.geometry.mesh import (
    BLEND,
    CLAMP,
    MASK,
    MIRROR,
    OPAQUE,
    REPEAT,
    Material,
    Texture,
    mip_levels,
)
from orster_cli.gltf.document import GltfDocument
from orster_cli.gltf.extensions import BASISU, WEBP

_WRAPS = {10497: REPEAT, 33071: CLAMP, 33648: MIRROR}
_ALPHA_MODES = {"OPAQUE": OPAQUE, "MASK": MASK, "BLEND": BLEND}
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP")


class UvSource:
    """Source of texture coordinates: a TEXCOORD set (None: no texture) and an affine map [2,3] of it."""

    def __init__(self, texcoord: int | None = None, transform: np.ndarray | None = None) -> None:
        self.texcoord = texcoord
        self.transform = transform


class MaterialReader:
    """Reads the materials of a document, each texture once; `warn` receives what is not drawn."""

    def __init__(self, document: GltfDocument, warn: Callable[[str], None]) -> None:
        self._document = document
        self._warn = warn
        self._textures: dict[int, Texture] = {}

    def materials(self) -> tuple[list[Material], list[tuple[UvSource, UvSource]]]:
        """All materials, and for each the sources of its base colour's and its emission's texture
        coordinates. The last one is the default material of the specification."""
        entries = self._document.items("materials")
        read = [self._material(entry, f"materials[{i}]") for i, entry in enumerate(entries)]
        read.append((Material(double_sided=False), (UvSource(), UvSource())))
        return [material for material, _ in read], [sources for _, sources in read]

    def _material(
        self, entry: dict[str, Any], where: str
    ) -> tuple[Material, tuple[UvSource, UvSource]]:
        document = self._document
        extensions = document.mapping(entry, "extensions", where)
        if "KHR_materials_pbrSpecularGlossiness" in extensions:
            pbr = document.mapping(extensions, "KHR_materials_pbrSpecularGlossiness", where)
            factor_key, texture_key = "diffuseFactor", "diffuseTexture"
        else:
            pbr = document.mapping(entry, "pbrMetallicRoughness", where)
            factor_key, texture_key = "baseColorFactor", "baseColorTexture"
        base = np.clip(document.numbers(pbr, factor_key, where, (1.0, 1.0, 1.0, 1.0)), 0.0, 1.0)
        emissive = document.numbers(entry, "emissiveFactor", where, (0.0, 0.0, 0.0))
        strength = document.mapping(extensions, "KHR_materials_emissive_strength", where)
        emissive = emissive * document.numbers(
            {"v": [strength.get("emissiveStrength", 1.0)]}, "v", where, (1.0,)
        )
        mode = entry.get("alphaMode", "OPAQUE")
        if not isinstance(mode, str) or mode not in _ALPHA_MODES:
            raise document.fail(f"{where}.alphaMode", " or ".join(_ALPHA_MODES), mode)
        cutoff = document.numbers(
            {"v": [entry.get("alphaCutoff", 0.5)]}, "v", f"{where}.alphaCutoff", (0.5,)
        )
        texture, source = self._slot(pbr, texture_key, where)
        emission, emission_source = self._slot(entry, "emissiveTexture", where)
        material = Material(
            base_color=tuple(base.tolist()),
            emissive=tuple(np.clip(emissive, 0.0, 1e3).tolist()),
            texture=texture,
            emissive_texture=emission,
            alpha_mode=_ALPHA_MODES[mode],
            alpha_cutoff=float(cutoff[0]),
            unlit="KHR_materials_unlit" in extensions,
            double_sided=entry.get("doubleSided", False) is True,
        )
        return material, (source, emission_source)

    def _slot(self, owner: dict[str, Any], key: str, where: str) -> tuple[Texture | None, UvSource]:
        """The texture of a textureInfo and the source of its coordinates."""
        if key not in owner:
            return None, UvSource()
        document, where = self._document, f"{where}.{key}"
        info = document.mapping(owner, key, where)
        texcoord = document.integer(info, "texCoord", where, 0, maximum=15)
        extensions = document.mapping(info, "extensions", where)
        transform = None
        if "KHR_texture_transform" in extensions:
            entry = document.mapping(extensions, "KHR_texture_transform", where)
            texcoord = document.integer(entry, "texCoord", where, texcoord, maximum=15)
            offset = document.numbers(entry, "offset", where, (0.0, 0.0))
            scale = document.numbers(entry, "scale", where, (1.0, 1.0))
            angle = document.numbers({"v": [entry.get("rotation", 0.0)]}, "v", where, (0.0,))[0]
            cos, sin = np.cos(angle), np.sin(angle)
            transform = np.array(
                [[cos * scale[0], sin * scale[1], offset[0]],
                 [-sin * scale[0], cos * scale[1], offset[1]]]
            )  # fmt: skip
        index = document.integer(info, "index", where)
        return self._texture(index, where), UvSource(texcoord, transform)

    def _texture(self, index: int, where: str) -> Texture:
        if index in self._textures:
            return self._textures[index]
        document = self._document
        entry = document.item("textures", index, where)
        where = f"textures[{index}]"
        pixels = self._pixels(entry, where)
        sampler: dict[str, Any] = {}
        if "sampler" in entry:
            sampler = document.item("samplers", entry["sampler"], f"{where}.sampler")
        wraps = [sampler.get(key, 10497) for key in ("wrapS", "wrapT")]
        for wrap in wraps:
            if type(wrap) is not int or wrap not in _WRAPS:
                raise document.fail(f"{where}.sampler", f"a wrap mode of {sorted(_WRAPS)}", wrap)
        self._textures[index] = Texture(
            levels=mip_levels(pixels),
            wrap_u=_WRAPS[wraps[0]],
            wrap_v=_WRAPS[wraps[1]],
            nearest=sampler.get("magFilter") == 9728,
        )
        return self._textures[index]

    def _pixels(self, entry: dict[str, Any], where: str) -> np.ndarray:
        """The picture of a texture, [h,w,4] uint8: an extension's, else the plain one, which is its
        fallback."""
        document = self._document
        extensions = document.mapping(entry, "extensions", where)
        webp = extensions.get(WEBP)
        if isinstance(webp, dict):
            try:
                return self._image(webp.get("source"), f"{where}.{WEBP}")
            except LimitError:
                raise
            except InputError as error:
                if "source" not in entry:
                    raise
                self._warn(f"{where}: its fallback picture is used: {error}")
        others = [
            n for n, e in extensions.items() if n != WEBP and isinstance(e, dict) and "source" in e
        ]
        if "source" in entry:
            for name in others:
                self._warn(f"{where}: {name[:60]} is not read: its fallback picture is used")
            return self._image(entry["source"], f"{where}.source")
        if others:
            tool = "ktxdecompress" if BASISU in others else "png"
            raise InputError(
                f"{document.path}: {where}: a picture in {others[0][:60]}, which is not read, without a "
                "fallback",
                hint=f"npx @gltf-transform/cli {tool} in.glb out.glb",
                code="E-GLTF-COMPRESSED",
            )
        if "source" not in entry:  # to be supplied by whoever draws (3.8.1)
            self._warn(f"{where}: it names no picture and is drawn white")
        return np.full((1, 1, 4), 255, np.uint8)

    def _image(self, index: object, where: str) -> np.ndarray:
        """Image `index` as [h,w,4] uint8; the size is checked before decoding."""
        document = self._document
        entry = document.item("images", index, where)
        where = f"images[{index}]"
        if "bufferView" in entry:
            data = bytes(document.view(entry["bufferView"], where)[0])
        else:
            data = document.uri_bytes(entry.get("uri"), f"{where}.uri")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
                    if max(image.size) > limits.GLTF_MAX_TEXTURE_SIDE:
                        raise LimitError(
                            f"{document.path}: {where}: {image.size[0]}x{image.size[1]} pixels, "
                            f"sides over {limits.GLTF_MAX_TEXTURE_SIDE} are not read",
                            hint="shrink the texture, e.g. gltf-transform resize",
                        )
                    document.count_decoded(where, image.size[0] * image.size[1] * 24)
                    return _rgba(image)
        except LimitError:
            raise
        except Image.DecompressionBombError as error:
            raise LimitError(f"{document.path}: {where}: {error}") from None
        except Exception as error:  # noqa: BLE001 - Pillow's decoders raise many types
            raise document.fail(where, "a PNG, JPEG or WebP image", str(error)) from None


def _rgba(image: Image.Image) -> np.ndarray:
    """[h,w,4] uint8."""
    if image.mode.startswith("I"):  # grey of 16 bits, which `convert` would cut off at 255
        grey = np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    return np.array(image.convert("RGBA"), dtype=np.uint8)
