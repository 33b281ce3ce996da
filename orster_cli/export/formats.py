"""The formats of `orster export`: what each holds, what it loses, and how close it must come.

One table. This module imports nothing heavy: --help prints it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orster_cli.core.errors import ConfigError, MissingResourceError
from orster_cli.core.file_kinds import SPLATS, VIDEOS
from orster_cli.core.names import did_you_mean, printable

if TYPE_CHECKING:
    from pathlib import Path

    from orster_cli.export.job import ExportJob, Outcome


@dataclass(frozen=True, kw_only=True)
class Format:
    """`suffix`: of the file, or "/" and the end of the folder's name; `least`: dB that what is read back
    must reach, whole images on white; `writer`: "module:function" below `orster_cli`; `extra`: of the
    package that installs `module`, which the writer imports; `check`: as `writer`, whether its
    version serves; `placed`: the file holds coordinates."""

    name: str
    suffix: str
    holds: str
    loses: str
    least: float
    writer: str
    extra: str = ""
    module: str = ""
    check: str = ""
    placed: bool = False

    @property
    def is_folder(self) -> bool:
        return self.suffix.startswith("/")

    def file_name(self, name: str) -> str:
        """Of the file or folder for an asset `name`."""
        return f"{name}-{self.suffix[1:]}" if self.is_folder else f"{name}{self.suffix}"

    def check_installed(self) -> None:
        """MissingResourceError: its library is not there, or too old."""
        if self.module and not _has(self.module):
            raise MissingResourceError(
                f"{self.name}: the library {self.module.partition('.')[0]} is not installed",
                hint=f"pip install 'orster[{self.extra}]'",
                code="E-EXTRA",
            )
        if self.check:
            self._function(self.check)()

    def write(self, job: ExportJob, path: Path) -> Outcome:
        """Write `path`, a new file or folder; errors leave a part of it behind."""
        outcome: Outcome = self._function(self.writer)(job, path)
        return outcome

    @staticmethod
    def _function(place: str) -> Callable[..., Any]:
        module, _, name = place.partition(":")
        found: Callable[..., Any] = getattr(import_module(f"orster_cli.{module}"), name)
        return found


def _has(module: str) -> bool:
    """Whether `module` could be imported; the package that it is in is."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


_ALL = (
    Format(
        name="glb",
        suffix=".glb",
        holds="your own mesh with its UVs, textures and materials, animated",
        loses="what the mesh cannot show: colour changes; without a mesh, detail",
        least=0.0,  # the mesh is the file's own: its vertices are checked, not its looks
        writer="export.mesh_file:write_mesh_glb",
        placed=True,
    ),
    Format(
        name="html",
        suffix=".html",
        holds="a page that plays the asset from every side, in any browser, offline",
        loses="detail below 16 bit places and 8 bit turns, sizes and colours",
        least=35.0,
        writer="export.viewer_page:write_html",
    ),
    Format(
        name="ply-sequence",
        suffix="/ply",
        holds="all Gaussians at each moment (3DGS PLY), fps and up axis beside",
        loses="motion between the moments",
        least=35.0,
        writer="export.splats:write_ply_sequence",
        placed=True,
    ),
    Format(
        name="glb-splats",
        suffix="-splats.glb",
        holds="all Gaussians at one moment (--at), KHR_gaussian_splatting",
        loses="motion",
        least=35.0,
        writer="export.splats:write_splat_glb",
        placed=True,
    ),
    Format(
        name="spz",
        suffix=".spz",
        holds="all Gaussians at one moment (--at), SPZ 3: a quarter of a PLY's size",
        loses="motion, 3 % of a size, colours beyond 8 bits",
        least=35.0,
        writer="export.spz:write_spz",
        placed=True,
    ),
    Format(
        name="compressed-ply",
        suffix=".compressed.ply",
        holds="all Gaussians at one moment (--at), for SuperSplat and PlayCanvas",
        loses="motion, order, what 10 bits of a place or size in its chunk lose",
        least=35.0,
        writer="export.compressed_ply:write_compressed_ply",
        placed=True,
    ),
    Format(
        name="4dgs",
        suffix=".4dgs",
        holds="all Gaussians moving, one file (pip install 'orster[4dgs]')",
        loses="2 % of a size, colours beyond 8 bits; turns and sizes are steps",
        least=35.0,
        writer="export.fourdgs_file:write_4dgs",
        extra="4dgs",
        module="fourdgs.keyframe_delta_file",
        placed=True,
    ),
    Format(
        name="usd",
        suffix=".usdc",
        holds="all Gaussians moving, ParticleField3DGaussianSplat (pip install 'orster[usd]')",
        loses="the way between key frames, which is straight",
        least=35.0,
        writer="export.usd_file:write_usd",
        extra="usd",
        module="pxr.UsdVol",
        check="export.usd_file:check_schema",
        placed=True,
    ),
    Format(
        name="mp4",
        suffix=".mp4",
        holds="a video along a camera path, H.264",
        loses="transparency, other views, half the resolution of colour",
        least=30.0,
        writer="export.pictures:write_mp4",
    ),
    Format(
        name="webp",
        suffix=".webp",
        holds="an endless animation with transparency",
        loses="other views, some detail",
        least=32.0,
        writer="export.pictures:write_webp",
    ),
    Format(
        name="gif",
        suffix=".gif",
        holds="an endless animation",
        loses="other views, all but 256 colours, soft edges, times below 1/100 s",
        least=25.0,
        writer="export.pictures:write_gif",
    ),
    Format(
        name="png-sequence",
        suffix="/png",
        holds="RGBA pictures along a camera path",
        loses="other views",
        least=35.0,
        writer="export.pictures:write_png_sequence",
    ),
    Format(
        name="transforms",
        suffix="/transforms",
        holds="RGBA pictures with their cameras and times, for nerfstudio and `orster construct`",
        loses="other views",
        least=35.0,
        writer="export.pictures:write_transforms_folder",
        placed=True,
    ),
)
FORMATS = {one.name: one for one in _ALL}
# programs and their own files -> the format that they open
_OPENED = {
    "glb": (
        "blender",
        "unity",
        "unreal",
        "godot",
        "three",
        "three.js",
        "gltf",
        "fbx",
        "obj",
        "usdz",
    ),
    "mp4": ("mov", "webm", "avi", "video"),
    "ply-sequence": ("supersplat", "ply", "splat", "splats"),
}


def parse_formats(text: str) -> list[Format]:
    """The formats of "glb,mp4", each once. ConfigError: an unknown one, or none."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise ConfigError("--to: no format is given", hint="one of " + ", ".join(FORMATS))
    for name in names:
        if name not in FORMATS:
            instead = next((f for f, names in _OPENED.items() if name.lower() in names), None)
            opened = "" if instead is None else f"--to {instead} is what opens there; all: "
            near = "" if instead else did_you_mean(name, list(FORMATS))
            raise ConfigError(
                f"--to: no format {printable(name)!r}{near}",
                hint=(opened or "one of ") + ", ".join(FORMATS),
                code="E-FORMAT",
            )
    return [FORMATS[name] for name in names]


def asked_for(to: str, out: Path | None) -> tuple[list[Format], str | None]:
    """The formats that `to` names, or the one by the ending of the file `out`; and what stands before that
    ending (None: `out` is no such file). ConfigError: none, or an unknown one."""
    among = parse_formats(to) if to else list(FORMATS.values())
    found = [
        one
        for one in among
        if not one.is_folder and out is not None and not out.is_dir()
        if out.name.endswith(one.suffix) and out.name != one.suffix
    ]
    if out is not None and found and (len(among) == 1 or not to):
        single = max(found, key=lambda one: len(one.suffix))
        return [single], out.name.removesuffix(single.suffix)
    if not to:
        raise ConfigError("--to: no format is given", hint="one of " + ", ".join(FORMATS))
    return among, None


def checked_folder(out: Path | None, formats: Sequence[Format]) -> Path | None:
    """`out`, the folder of files of `formats`. ConfigError: it is named as a file would be."""
    written = {one.suffix.rpartition(".")[2] for one in FORMATS.values() if not one.is_folder}
    other = ("usda", "usdz", "gltf", "obj", "fbx")
    endings = {*(f".{ending}" for ending in (*written, *FORMATS, *other)), *SPLATS, *VIDEOS}
    if out is not None and out.suffix.lower() in endings and not out.is_dir():
        single = formats[0] if len(formats) == 1 and not formats[0].is_folder else None
        wanted = (
            "a folder" if single is None else f"a folder, or a file that ends in {single.suffix}"
        )
        raise ConfigError(
            f"-o {out}: expected {wanted}, got the name of another file",
            hint=f"-o {out.parent if out.parent.name else 'files'}/: files have the name of the asset",
        )
    return out


def rows() -> list[tuple[str, str, str, str]]:
    """Name, what is written, what it holds, what it loses: for --help and the documentation."""
    return [
        (one.name, one.file_name("NAME") + ("/" if one.is_folder else ""), one.holds, one.loses)
        for one in _ALL
    ]
