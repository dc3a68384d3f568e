"""Plans: from TOML and options to what a run asks, and one line for every mistake."""

from fractions import Fraction
from pathlib import Path

import pytest

from bvverify.errors import UsageError
from bvverify.queries import Patch, RegionKind, TieRule
from bvverify.runs.config import read_config
from bvverify.runs.job import Limits
from bvverify.runs.keys import region_text
from bvverify.runs.plan import ModelSource, Plan

FULL = """
models = ["a.pt", { path = "sub/b.pt", factory = "nets:make" }]
inputs = "x.npz"
indices = "0-3,7"
radius = [1, "2/255", 0.5]
region = "floats"
clip = "-1,1"
target = ["fbgemm/avx2", "qnnpack"]
tie = ["lowest-index", "any-tie-violates"]
solver = "z3"
timeout = 2.5
cpu_timeout = 3
memory = 0.5
store = "out/r.db"
workers = 3
cluster = { system = "local", jobs = 2 }
"""


def test_every_key_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(FULL)
    config = read_config(path, {})
    assert config.plan == Plan(
        models=(ModelSource(tmp_path / "a.pt"), ModelSource(tmp_path / "sub" / "b.pt", "nets:make")),
        inputs=tmp_path / "x.npz",
        indices="0-3,7",
        radii=(Fraction(1), Fraction(2, 255), Fraction(1, 2)),
        region=RegionKind.FLOATS,
        clip=(Fraction(-1), Fraction(1)),
        targets=("fbgemm/avx2", "qnnpack"),
        ties=(TieRule.LOWEST_INDEX, TieRule.ANY_TIE_VIOLATES),
        solver="z3",
        limits=Limits(2.5, 3.0, 2**29),
    )
    assert (config.store, config.workers) == (tmp_path / "out" / "r.db", 3)
    assert config.cluster == {"system": "local", "jobs": 2}


@pytest.mark.parametrize("value", ["1,2,3,4", [1, 2, 3, 4]])
def test_a_patch_is_four_numbers(value: object) -> None:
    plan = Plan.of(models="m.pt", inputs="x.npz", patch=value)
    assert plan.patch == Patch(1, 2, 3, 4)
    assert region_text(plan.region, plan.patch) == "pixels patch 1,2,3,4"
    assert region_text(plan.region, None) == "pixels"


def test_options_win_over_the_file_and_their_paths_are_not_moved(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(FULL)
    config = read_config(path, {"radius": "3", "region": "pixels", "models": [{"path": "c.pt"}], "store": Path("s.db")})
    assert config.plan.radii == (Fraction(3),)
    assert config.plan.region is RegionKind.PIXELS
    assert config.plan.models == (ModelSource(Path("c.pt")),)
    assert config.store == Path("s.db")
    assert config.plan.solver == "z3"


def test_what_is_left_out_has_defaults() -> None:
    plan = Plan.of(models="m.pt", inputs="x.npz")
    assert plan == Plan(models=(ModelSource(Path("m.pt")),), inputs=Path("x.npz"))
    assert (plan.radii, plan.targets, plan.solver, plan.limits) == ((1,), ("auto",), "bitwuzla", Limits())


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"model": "m.pt"}, "unknown key 'model'"),
        ({"inputs": "x.npz"}, "'models' is missing"),
        ({"models": "m.pt"}, "'inputs' is missing"),
        ({"models": [], "inputs": "x.npz"}, "'models' is empty"),
        ({"models": [{"file": "m.pt"}], "inputs": "x.npz"}, "a mapping holds 'path'"),
        ({"models": [3], "inputs": "x.npz"}, "must be a text"),
        ({"models": "m.pt", "inputs": 3}, "'inputs' must be a text"),
        ({"models": "m.pt", "inputs": "x.npz", "radius": "1.5"}, "whole grey levels"),
        ({"models": "m.pt", "inputs": "x.npz", "radius": "-1"}, "must not be negative"),
        ({"models": "m.pt", "inputs": "x.npz", "radius": []}, "'radius' is empty"),
        ({"models": "m.pt", "inputs": "x.npz", "region": "pixel"}, "region 'pixel': expected pixels or floats"),
        ({"models": "m.pt", "inputs": "x.npz", "tie": ["any"]}, "tie 'any': expected"),
        ({"models": "m.pt", "inputs": "x.npz", "timeout": 0}, "'timeout' must be a positive number"),
        ({"models": "m.pt", "inputs": "x.npz", "timeout": "10"}, "'timeout' must be a positive number"),
        ({"models": "m.pt", "inputs": "x.npz", "timeout": float("nan")}, "'timeout' must be a positive number"),
        ({"models": "m.pt", "inputs": "x.npz", "memory": True}, "'memory' must be a positive number"),
        ({"models": "m.pt", "inputs": "x.npz", "memory": 0.1}, "at least 0.25 GiB"),
        ({"models": "m.pt", "inputs": "x.npz", "clip": "1,0"}, "the lower end is above"),
    ],
)
def test_wrong_entries_are_told_in_one_line(entries: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Plan.of(**entries)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("models = [", "not TOML"),
        ("models = 'a.pt'\n", "'inputs' is missing"),
        ("models = 'a.pt'\ninputs = 'x'\nworkers = 0", "'workers' must be a positive whole number"),
        ("models = 'a.pt'\ninputs = 'x'\nworkers = 1.5", "'workers' must be a positive whole number"),
        ("models = 'a.pt'\ninputs = 'x'\nstore = 1", "'store' must be a path"),
        ("models = 'a.pt'\ninputs = 'x'\ncluster = 1", "'cluster' must be an address"),
    ],
)
def test_errors_of_a_file_name_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        read_config(path, {})
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.toml", {})
    (tmp_path / "latin.toml").write_bytes(b"models = '\xe9'")
    with pytest.raises(UsageError, match="not TOML"):
        read_config(tmp_path / "latin.toml", {})


def test_limits_reach_what_they_allow_at_least() -> None:
    small, large = Limits(1, 1, 2**30), Limits(2, None, 2**31)
    assert large.reach(small)
    assert large.reach(large)
    assert not small.reach(large)
    assert not Limits(2, 1, 2**31).reach(large)
    assert not Limits(2, None, 2**30).reach(large)


def test_the_benchmarks_plan_is_read() -> None:
    config = read_config(Path(__file__).parents[2] / "benchmarks" / "eqv" / "plan.toml", {})
    assert len(config.plan.models) == 7
    assert all(source.path.is_file() for source in config.plan.models)
    assert [int(radius) for radius in config.plan.radii] == [3, 6, 9, 12]
