"""The corpus: every case holds; and a wrong case, a vacuous encoding, a broken file do not pass."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bvverify.encode import Encoding
from bvverify.errors import InputError
from bvverify.kernels.lower import lower
from bvverify.kernels.target import TARGETS, Engine, Isa, Target
from bvverify.model import Linear, Quantize, QuantizedModel, QuantParams, Weight
from bvverify.network import Affine, Node, StepNetwork
from harness import corpus, sameness
from harness.case_file import CaseFile, Expectation, read_case, write_case
from harness.corpus import Check, case_paths, identity_fault, recorded_case, run_case
from harness.corpus_command import app
from harness.pool import KernelPool
from harness.tampering import tampered

PATHS = case_paths()
VNNI = Target(Engine.FBGEMM, Isa.AVX512_VNNI)
AVX2 = Target(Engine.FBGEMM, Isa.AVX2)
QNNPACK = Target(Engine.QNNPACK, Isa.SSE2)


@pytest.fixture(scope="module")
def pool() -> Iterator[KernelPool]:
    with KernelPool() as kernels:
        yield kernels


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_case_holds(pool: KernelPool, path: Path) -> None:
    outcomes = run_case(read_case(path), pool)
    assert not [outcome for outcome in outcomes if outcome.fault]
    assert {outcome.check for outcome in outcomes} - {Check.REPLAY}


def test_names_are_those_of_the_files() -> None:
    assert len(PATHS) >= 40
    for path in PATHS:
        expected = path.parent.name if path.stem == "case" else f"{path.parent.name}/{path.stem}"
        assert read_case(path).name == expected


def test_every_folder_is_in_the_list_of_bugs() -> None:
    bugs = (corpus.FOLDER / "BUGS.md").read_text(encoding="utf-8")
    for name in {path.parent.name for path in PATHS}:
        assert f"`{name}`" in bugs, name


def saturating_case() -> CaseFile:
    """Two bytes of 255 times 127: 127 with VNNI, 64 without."""
    weight = Weight(np.array([[127, 127]], dtype=np.int8), np.array([1.0]), np.array([0]), False)
    layers = (Quantize("quantize", QuantParams(1.0, 0)), Linear("fc", weight, None, False, QuantParams(512.0, 0)))
    expected = (Expectation((VNNI, QNNPACK), np.array([[127]])), Expectation((AVX2,), np.array([[64]])))
    inputs = np.array([[255, 255]], dtype=np.uint8)
    return CaseFile("saturating", "cause", ("ours",), QuantizedModel((2,), layers), inputs, expected)


def faults(case: CaseFile, pool: KernelPool) -> set[tuple[str, Check]]:
    return {(str(outcome.target), outcome.check) for outcome in run_case(case, pool) if outcome.fault}


def test_a_right_case_passes_all_checks(pool: KernelPool) -> None:
    outcomes = run_case(saturating_case(), pool)
    assert not faults(saturating_case(), pool)
    assert {outcome.check for outcome in outcomes} == set(Check) - {Check.REFUSAL}


def test_a_wrong_expectation_fails(pool: KernelPool) -> None:
    case = saturating_case()
    wrong = replace(case, expected=(case.expected[0], Expectation((AVX2,), np.array([[65]]))))
    assert faults(wrong, pool) == {(str(AVX2), check) for check in (Check.NETWORK, Check.REPLAY, Check.ENCODING)}


def test_an_expected_refusal_that_does_not_come_fails(pool: KernelPool) -> None:
    case = replace(saturating_case(), expected=(Expectation((VNNI,), None, "rejects"),))
    (outcome,) = run_case(case, pool)
    assert outcome.fault == "expected a refusal with 'rejects', but it was lowered"


def test_a_refusal_for_another_reason_fails(pool: KernelPool) -> None:
    case = saturating_case()
    asymmetric = replace(case.model.layers[1], weight=replace(case.model.layers[1].weight, zero_points=np.array([1])))
    model = QuantizedModel((2,), (case.model.layers[0], asymmetric))
    for fragment, fault in (("weights with a zero point", False), ("too large", True)):
        (outcome,) = run_case(replace(case, model=model, expected=(Expectation((AVX2,), None, fragment),)), pool)
        assert bool(outcome.fault) == fault


def test_a_prediction_that_is_refused_fails(pool: KernelPool) -> None:
    case = saturating_case()
    model = QuantizedModel((2,), (replace(case.model.layers[0], output=QuantParams(-1.0, 0)), case.model.layers[1]))
    assert (str(VNNI), Check.NETWORK) in faults(replace(case, model=model), pool)


def test_a_vacuous_encoding_is_found_out(pool: KernelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sameness.encode

    def contradictory(*arguments: object) -> Encoding[str]:
        encoding = honest(*arguments)
        return replace(encoding, domain=[*encoding.domain, "false"])

    monkeypatch.setattr(sameness, "encode", contradictory)
    found = {outcome.check: outcome.fault for outcome in run_case(saturating_case(), pool) if outcome.fault}
    assert found == {
        Check.ENCODING: "the formula does not admit the input",
        Check.IDENTITY: "the check is vacuous: a planted fault is not told apart",
    }


def test_an_encoding_that_is_not_its_network_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, calls = sameness.encode, []

    def other(network: StepNetwork, *arguments: object) -> Encoding[str]:
        calls.append(network)
        return honest(tampered(network, point) if len(calls) % 2 else network, *arguments)

    network = lower(saturating_case().model, VNNI).network
    point = np.array([255, 255])
    monkeypatch.setattr(sameness, "encode", other)
    with pytest.raises(Exception, match="differ at an input where the networks agree"):
        identity_fault(network, point)


@pytest.mark.parametrize("target", [VNNI, AVX2], ids=str)
def test_tampering_shows_at_the_point(target: Target) -> None:
    network = lower(saturating_case().model, target).network
    for point in ([255, 255], [0, 0], [3, 200]):
        levels = np.array(point)
        changed = tampered(network, levels)
        assert abs(int((changed.evaluate(levels[None]) - network.evaluate(levels[None])).item())) == 1


def test_tampering_with_a_network_without_staircases_changes_the_outputs() -> None:
    total = Affine(np.ones((1, 2, 2), dtype=int), [0, 1])
    network = StepNetwork(np.zeros(2, dtype=int), np.full(2, 9), (Node(total, (0,)),))
    assert tampered(network, np.array([1, 2])).evaluate([[1, 2]]).tolist() == [[4, 5]]


def test_recording_finds_bytes_and_refusals(pool: KernelPool) -> None:
    case = saturating_case()
    recorded = recorded_case("name", "cause", ["ours"], case.model, case.inputs, pool)
    assert sorted(int(entry.bytes.item()) for entry in recorded.expected) == [64, 127]
    here = {target for target in TARGETS if target.unavailable() is None}
    assert {target for entry in recorded.expected for target in entry.targets} == here


def test_a_corpus_runs_as_a_whole(pool: KernelPool, tmp_path: Path) -> None:
    (tmp_path / "saturating").mkdir()
    write_case(tmp_path / "saturating" / "case.json", saturating_case())
    assert not [
        outcome
        for outcome in (outcome for path in case_paths(tmp_path) for outcome in run_case(read_case(path), pool))
        if outcome.fault
    ]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no case files"):
        case_paths(tmp_path)


def test_the_command_adds_a_case_and_runs_it(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_case(path, replace(saturating_case(), expected=(Expectation((VNNI,), np.array([[0]])),)))
    options = ["--name", "pairs", "--cause", "pairs saturate", "--upstream", "FBGEMM#125", "--folder", str(tmp_path)]
    assert CliRunner().invoke(app, ["add", str(path), *options]).exit_code == 0
    added = read_case(tmp_path / "pairs" / "case.json")
    assert (added.name, added.cause, added.upstream) == ("pairs", "pairs saturate", ("FBGEMM#125",))
    result = CliRunner().invoke(app, ["run", str(tmp_path)])
    assert result.exit_code == 0
    assert "0 failed" in result.output
    again = CliRunner().invoke(app, ["add", str(path), *options])
    assert again.exit_code != 0


def test_the_command_reports_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "wrong").mkdir()
    write_case(
        tmp_path / "wrong" / "case.json",
        replace(saturating_case(), expected=(Expectation((VNNI,), np.array([[1]])),)),
    )
    result = CliRunner().invoke(app, ["run", str(tmp_path)])
    assert result.exit_code == 1
    assert "wrong/case.json on fbgemm/avx512_vnni, network: 1 bytes differ, first at (0, 0)" in result.output


def test_the_command_names_a_malformed_file(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "case.json").write_text("{}")
    result = CliRunner().invoke(app, ["run", str(tmp_path)])
    assert result.exit_code != 0
    assert "key 'cause' is missing" in " ".join(result.output.split()) + result.stderr
