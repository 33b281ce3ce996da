"""Settings: precedence, origins, types, bounds, TOML out and in."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orster_cli.config.fields import setting
from orster_cli.config.load import (
    Resolved,
    find_template,
    resolve,
    section_values,
    template_names,
    to_toml,
)
from orster_cli.config.schema import Config
from orster_cli.config.values import Text, setting_value
from orster_cli.core.errors import ConfigError

SECTIONS = [field.name for field in dataclasses.fields(Config)]


def toml(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_later_wins_and_each_value_knows_its_origin(tmp_path: Path) -> None:
    template = toml(tmp_path / "base.toml", "[construct]\nseed = 2\nhidden = 2\nl1 = 2.5")
    file = toml(tmp_path / "mine.toml", "[construct]\nseed = 1\nhidden = 1\nl1 = 1.5\ndepth = 0.1")
    resolved = resolve(
        template=str(template),
        file=file,
        environ={"ORSTER_CONSTRUCT__SEED": "3", "ORSTER_CONSTRUCT__HIDDEN": "3", "HOME": "/"},
        assignments=["construct.seed=4"],
        flags={"construct.seed": 5, "construct.hidden": None},
    )
    cfg = resolved.config.construct
    assert (cfg.seed, cfg.hidden, cfg.l1, cfg.depth) == (5, 3, 2.5, 0.1)
    origins = resolved.origins
    assert origins["construct.seed"] == "command line"
    assert origins["construct.hidden"] == "environment"
    assert origins["construct.l1"] == "template base"
    assert origins["construct.depth"] == f"file {file}"
    assert origins["construct.mask"] == "default"
    without = resolve(file=file, assignments=["construct.seed=4"])
    assert without.config.construct.seed == 4
    assert without.origins["construct.seed"] == "--set"


def test_a_models_own_settings_stand_below_all_others_and_are_few(
    tmp_path: Path,
) -> None:
    model = toml(
        tmp_path / "sample.toml",
        "[sample]\nsteps = 20\nmotion = 0.5\n"
        "[construct]\nnodes = 64\nrigidity = 0.2\nseed = 9\ngaussians = 7",
    )
    file = toml(tmp_path / "mine.toml", "[sample]\nmotion = 0.25")
    resolved = resolve(model=model, file=file)
    assert (resolved.config.sample.steps, resolved.config.sample.motion) == (20, 0.25)
    assert resolved.origins["sample.steps"] == "model"
    steadied = dataclasses.replace(Config().construct, nodes=64, rigidity=0.2)
    assert resolved.config.construct == steadied  # neither its seed nor its size
    asked = resolve(model=model, assignments=["construct.nodes=0"])
    assert asked.config.construct.nodes == 0
    broken = toml(tmp_path / "broken.toml", "[sample]\nstepz = 20")
    with pytest.raises(ConfigError, match="steps"):
        resolve(model=broken)


def test_nothing_given_is_the_defaults() -> None:
    resolved = resolve()
    assert resolved.config == Config()
    assert set(resolved.origins.values()) == {"default"}
    assert len(resolved.origins) == sum(
        len(dataclasses.fields(getattr(Config(), s))) for s in SECTIONS
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model.prediction=epsilon", "model.prediction has another name"),
        ("sample.motion=-1", "expected at least 0, got -1"),
        ("construct.sede=1", "no setting 'construct.sede' (did you mean 'seed'?)"),
        ("construkt.seed=1", "no section 'construkt' (did you mean 'construct'?)"),
        ("construct.seed=1.5", "expected int, got 1.5"),
        ("construct.seed=yes", "expected int, got 'yes'"),
        ("construct.seed=-1", "expected at least 0, got -1"),
        ("construct.hidden=100000", "expected at most 8"),
        ("construct.recurrence=of", "expected one of auto, off, got 'of' (did you mean 'off'?)"),
        ("construct.seed", "expected section.key=value"),
        ("seed=1", "expected section.key=value"),
        ("", "expected section.key=value"),
        ("construct.seed=1\nhidden = 2", "expected int"),
        ("construct.\x1b[31m=1", "no setting 'construct.\ufffd[31m'"),
    ],
)
def test_what_is_wrong_after_set(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(assignments=[text])
    assert says in str(caught.value)
    assert str(caught.value).startswith("--set")


def test_a_setting_that_has_another_name_says_which() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(assignments=["model.prediction=v_prediction"])
    assert "model.parametrization" in str(caught.value.hint)
    model = resolve(assignments=["model.parametrization=v"]).config.model
    assert model.parametrization == "v"


def test_what_the_model_decides_is_none_until_it_is_said() -> None:
    sample = resolve().config.sample
    assert (sample.motion, sample.elevation) == (None, None)
    said = resolve(assignments=["sample.motion=0", "sample.elevation=-10"]).config.sample
    assert (said.motion, said.elevation) == (0, -10)
    again = resolve(assignments=["sample.motion=none"], flags={"sample.elevation": None})
    assert again.config.sample == sample


def test_wrong_in_the_environment_says_so() -> None:
    with pytest.raises(ConfigError, match=r"environment: no setting 'construct\.sede'"):
        resolve(environ={"ORSTER_CONSTRUCT__SEDE": "1"})
    resolve(environ={"ORSTER_DEBUG": "1", "ORSTER_SHARED": "/x"})  # not settings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ORSTER_CONSTRUCT_GAUSSIANS", "ORSTER_CONSTRUCT__GAUSSIANS"),
        ("ORSTER_CONSTRUCT_COARSE_STEPS", "ORSTER_CONSTRUCT__COARSE_STEPS"),
        ("ORSTER_CONSTRUCTION_GAUSIANS", "ORSTER_CONSTRUCT__GAUSSIANS"),
        ("ORSTER_PREPARE_EVAL_VIEW", "ORSTER_PREPARE__EVAL_VIEWS"),
    ],
)
def test_a_misspelt_variable_is_named_with_its_right_spelling(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(environ={name: "8"})
    assert name in str(caught.value)
    assert f"did you mean {meant}?" in str(caught.value)


def test_more_gaussians_at_the_start_than_at_most_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"gaussians \(20000\) exceeds .*max_gaussians \(8000\)"):
        resolve(template="construct-fast", assignments=["construct.gaussians=20000"])
    both = ["construct.gaussians=20000", "construct.max_gaussians=20000"]
    cfg = resolve(template="construct-fast", assignments=both).config.construct
    assert (cfg.gaussians, cfg.max_gaussians) == (20_000, 20_000)


def test_construct_without_a_preset_is_the_fast_one() -> None:
    assert resolve(template="construct-fast").config.construct == resolve().config.construct
    assert resolve(template="construct-balanced").config.construct != resolve().config.construct


@pytest.mark.parametrize("name", ["ORSTER", "ORSTER_HOME", "ORSTER_DATA", "ORSTER_DEBUG"])
def test_other_variables_are_left_alone(name: str) -> None:
    assert resolve(environ={name: "1"}) == resolve()


def test_doctor_says_what_is_wrong_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from orster_cli.diagnosis import checks

    def finding() -> checks.Finding:
        (found,) = checks._variables()
        return found

    monkeypatch.setenv("ORSTER_HOME", "x")
    assert finding().state == "warn"
    assert "ORSTER_HOME" in finding().detail
    monkeypatch.setenv("ORSTER_CONSTRUCT_SEED", "1")
    assert finding().state == "fail"
    assert "ORSTER_CONSTRUCT__SEED" in finding().detail


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("psnr", ("psnr",)),
        ("psnr,ssim", ("psnr", "ssim")),
        ("psnr, ssim", ("psnr", "ssim")),
        ('["psnr", "ssim"]', ("psnr", "ssim")),
        ("[]", ()),
        ("1,2", ("1", "2")),  # texts that look like numbers are texts where texts are wanted
    ],
)
def test_lists_typed_by_hand(text: str, value: tuple[str, ...]) -> None:
    assert typed(tuple[str, ...], text) == value


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "2024", "2024"),
        (str, "true", "true"),
        (str, '"quoted"', "quoted"),
        (int, "0x10", 16),
        (int, "1_000", 1000),
        (float, "3", 3.0),
        (float, "1e-3", 0.001),
        (bool, "true", True),
        (int | None, "none", None),
        (int | None, "7", 7),
        (str | None, "none", None),
        (str | None, "7", "7"),
        (tuple[int, ...], "1,2", (1, 2)),
        (tuple[float, ...], "[0, 0.5]", (0.0, 0.5)),
    ],
)
def test_what_is_typed_means_what_the_setting_wants(
    kind: typing.Any, text: str, value: object
) -> None:
    found = typed(kind, text)
    assert found == value
    assert type(found) is type(value)


def typed(kind: typing.Any, text: str) -> typing.Any:
    """What ``--set section.key=text`` is for a setting of that type."""
    return setting_value(Text(text), kind, {}, "--set section.key")


def test_bounds_are_kept_at_their_edges() -> None:
    assert resolve(assignments=["construct.hidden=8"]).config.construct.hidden == 8
    assert resolve(assignments=["construct.hidden=0"]).config.construct.hidden == 0
    assert resolve(assignments=["construct.l1=3"]).config.construct.l1 == 3.0


def test_a_default_that_could_change_is_refused() -> None:
    with pytest.raises(TypeError, match="immutable"):
        setting([], "a list")


def test_every_shipped_template_resolves() -> None:
    names = template_names()
    assert names
    for name in names:
        resolved = resolve(template=name)
        changed = {o for o in resolved.origins.values() if o != "default"}
        assert changed == {f"template {name}"}, f"{name} sets nothing"
        assert find_template(name).is_file()


def test_a_template_that_is_not_there() -> None:
    close = template_names()[0] + "x"
    with pytest.raises(ConfigError, match="did you mean") as caught:
        resolve(template=close)
    assert template_names()[0] in (caught.value.hint or "")
    for name in ("../../etc/passwd", "a\x1b[2J", "", "/dev/null"):
        with pytest.raises(ConfigError, match="no template"):
            resolve(template=name)


def test_toml_out_has_origins_and_reads_back(tmp_path: Path) -> None:
    resolved = resolve(assignments=["construct.seed=11", "evaluate.metrics=ssim"])
    text = to_toml(resolved, SECTIONS)
    assert "seed = 11  # --set" in text
    assert "mask = " in text
    again = resolve(file=toml(tmp_path / "out.toml", text))
    assert again.config == resolved.config


def _values(
    hint: typing.Any, rule: typing.Mapping[str, typing.Any]
) -> st.SearchStrategy[typing.Any]:
    """Any value that a setting of this type and rule takes."""
    if rule["choices"]:
        choice = st.sampled_from(rule["choices"])
        return choice if hint is str else st.lists(choice, max_size=3).map(tuple)
    low, high = rule["minimum"], rule["maximum"]
    plain: dict[typing.Any, st.SearchStrategy[typing.Any]] = {
        bool: st.booleans(),
        int: st.integers(
            int(low) if low is not None else -(2**62), int(high) if high is not None else 2**62
        ),
        float: st.floats(
            low if low is not None else -1e18,
            high if high is not None else 1e18,
            allow_nan=False,
        ),
        str: st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20),
        type(None): st.none(),
    }
    if typing.get_origin(hint) is tuple:
        return st.lists(_values(typing.get_args(hint)[0], rule), max_size=4).map(tuple)
    if hint in plain:
        return plain[hint]
    return st.one_of([_values(option, rule) for option in typing.get_args(hint)])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    sections = {}
    for name in SECTIONS:
        kind = type(getattr(Config(), name))
        hints = typing.get_type_hints(kind)
        values = {
            f.name: draw(_values(hints[f.name], f.metadata)) for f in dataclasses.fields(kind)
        }
        if name == "construct":  # more at the start than at most is an error
            values["gaussians"] = min(values["gaussians"], values["max_gaussians"])
        if name == "sample" and values["frames"] == 1:  # no clip
            values["frames"] = 2
        sections[name] = kind(**values)
    return Config(**sections)


@given(config=configs())
def test_any_config_survives_toml(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    values = {s: section_values(getattr(config, s)) for s in SECTIONS}
    origins = {f"{s}.{key}": "test" for s, entries in values.items() for key in entries}
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_text(to_toml(Resolved(config, origins), SECTIONS), encoding="utf-8")
    assert resolve(file=path).config == config
