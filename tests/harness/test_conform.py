"""The command `conform`: what it certifies, what it finds, and what it leaves behind."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

import bvverify as bv
from bvverify.exit_codes import ExitCode
from bvverify.kernels import lower as lowering
from bvverify.kernels.lower import LoweredModel
from bvverify.kernels.quantizer import Quantizer
from bvverify.kernels.target import Target
from bvverify.load import DeployedModel
from bvverify.model import (
    Activation,
    Add,
    AvgPool2d,
    Cat,
    Conv2d,
    Function,
    Mul,
    Quantize,
    QuantizedModel,
    QuantParams,
    Relu,
    Weight,
)
from bvverify.network import Node, Step, StepNetwork
from harness.case_file import read_case
from harness.conform import bench, command, failure, whole
from harness.conform import run as runs
from harness.conform.alone import layer_alone, values_of
from harness.conform.inputs import layer_inputs, quantize_inputs
from harness.conform.table import page
from harness.pool import KernelPool
from tests.models import converted, linear, quantized_weight, small_convolutional

TARGET = "qnnpack"
"""Its kernels need nothing of the CPU."""

app = typer.Typer()
app.command()(command.conform)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_one_line(result: Result, *words: str) -> None:
    assert result.exit_code == ExitCode.USAGE, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def saved(module: torch.nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(module), str(path))
    return path


def dense(*, scale: float = 0.04) -> torch.nn.Module:
    """Return 6 inputs and 3 outputs; the second channel's weights are scaled by `scale`."""
    values = np.random.default_rng(0).integers(-128, 128, (3, 6))
    weight = quantized_weight(values, scale=[0.02, scale, 0.03])
    return converted(linear(weight, [0.5, -1.0, 0.25], scale=0.2, zero_point=9), input_scale=0.25, input_zero_point=5)


class Reader(HTMLParser):
    """Collects what a page refers to, its element identifiers and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "src", "xlink:href"):
                self.links.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """Return a model's file, the report folder of a run that passed, and what the command said."""
    folder = tmp_path_factory.mktemp("conform")
    model = saved(small_convolutional(), folder / "model.pt")
    images = folder / "images.npz"
    np.savez(images, images=np.random.default_rng(0).random((4, 2, 6, 5), dtype=np.float32))
    out = folder / "report"
    options = ("--inputs", images, "--samples", 20, "--seed", 3, "--json", folder / "all.json")
    return model, out, run(model, "--target", TARGET, "--out", out, *options)


def test_a_model_that_conforms_passes(passed: tuple[Path, Path, Result]) -> None:
    model, out, result = passed
    assert result.exit_code == 0, result.output
    assert "PASS" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["certificate.json", "index.html"]
    written = json.loads((out / "certificate.json").read_text())
    assert json.loads((out.parent / "all.json").read_text()) == {"certificates": [written]}
    assert written["verdict"] == "pass"
    assert written["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert written["model"]["input_shape"] == [2, 6, 5]
    assert (written["target"], written["environment"]) == ("qnnpack/sse2", {})
    assert written["versions"].keys() == {"python", "torch", "numpy", "bvverify"}
    assert "sse2" in written["cpu"]["flags"]
    assert written["cpu"]["model"]
    assert (written["seed"], written["samples"], written["inputs"]["count"]) == (3, 20, 4)
    assert written["first_difference"] is None
    assert written["expected"] is None
    assert written["date"].endswith("+00:00")


def test_the_python_function_certifies(tmp_path: Path) -> None:
    deployed = bv.load_model(saved(dense(), tmp_path / "dense.pt"))
    outcome = bv.conform(deployed, target=bv.Target.parse(TARGET), out=tmp_path / "report", samples=20, rounds=1)
    assert outcome.passed
    assert json.loads((tmp_path / "report" / "certificate.json").read_text())["model"]["sha256"] == deployed.digest


def test_every_layer_is_compared_in_the_script_and_alone(passed: tuple[Path, Path, Result]) -> None:
    _, out, _ = passed
    written = json.loads((out / "certificate.json").read_text())
    kinds = [layer["kind"] for layer in written["layers"]]
    assert kinds == ["Quantize", "Conv2d + ReLU", "MaxPool2d", "Linear"]
    sizes = [60, 4 * 3 * 6, 36, 3]
    for layer, size in zip(written["layers"], sizes, strict=True):
        assert layer["whole"] == {"compared": 24 * size, "different": 0}
        assert layer["alone"]["compared"] > 0
        assert layer["alone"]["different"] == 0
        assert (layer["not_alone"], layer["rejected"]) == (None, None)
    counts = [layer["coverage"] for layer in written["layers"]]
    assert counts[2] is None
    for count in (counts[0], counts[1], counts[3]):
        assert count["hit"] == count["reachable"] > 200
        assert (count["missed"], count["fraction"]) == (0, 1.0)
    assert counts[0]["reachable"] == 510
    total = sum(count["hit"] for count in counts if count is not None)
    assert written["coverage"]["hit"] == total
    compared = sum(layer[part]["compared"] for layer in written["layers"] for part in ("whole", "alone"))
    assert written["bytes"] == {"compared": compared, "different": 0}


def test_the_page_needs_nothing_but_itself(passed: tuple[Path, Path, Result]) -> None:
    _, out, _ = passed
    text = (out / "index.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert reader.tags.count("svg") == 4
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link.startswith("data:") or link[1:] in reader.ids
    for word in ("PASS", "prefers-color-scheme: dark", "width=device-width", "currentColor", "max_pool2d"):
        assert word in text
    assert "@import" not in text
    assert "<script" not in text


def test_a_table_of_certificates(passed: tuple[Path, Path, Result]) -> None:
    _, out, _ = passed
    written = json.loads((out / "certificate.json").read_text())
    *_, row, refused, total = page([written, ("other.pt", "x86/avx2", "no such CPU")])
    assert row.startswith("| model.pt | qnnpack/sse2 | 4 | ")
    assert "| 100 % |" in row
    assert "not run: no such CPU" in refused
    assert f"{written['bytes']['compared']:,}" in total


def with_shifted_threshold(lowered: LoweredModel, shift: int) -> LoweredModel:
    """Return the program with one threshold of its staircase moved by one, if it has a staircase."""
    if not lowered.network.nodes:
        return lowered
    (number,) = (i for i, node in enumerate(lowered.network.nodes) if isinstance(node.operation, Step))
    step = lowered.network.nodes[number].operation
    assert isinstance(step, Step)
    thresholds = step.thresholds.copy()
    middle = np.abs(thresholds[1]).argmin()
    thresholds[1, middle] += shift
    nodes = list(lowered.network.nodes)
    nodes[number] = Node(Step(step.base, thresholds), nodes[number].inputs)
    network = StepNetwork(lowered.network.lower, lowered.network.upper, tuple(nodes))
    return dataclasses.replace(lowered, network=network)


@pytest.mark.parametrize("shift", [-1, 1])
def test_one_threshold_off_by_one_is_found(shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: QuantizedModel, target: Target) -> LoweredModel:
        return with_shifted_threshold(lowering.lower(model, target), shift)

    for module in (whole, bench):
        monkeypatch.setattr(module, "lower", wrong)
    monkeypatch.setattr(failure, "shrink", lambda models, inputs, fails, attempts: (models, inputs))
    monkeypatch.setattr(failure, "lower", wrong)
    result = run(saved(dense(), tmp_path / "model.pt"), "--target", TARGET, "--out", tmp_path, "--samples", 0)
    assert result.exit_code == ExitCode.SOME_VIOLATED
    assert "FAIL" in result.stdout
    written = json.loads((tmp_path / "certificate.json").read_text())
    assert written["verdict"] == "fail"
    (layer,) = (layer for layer in written["layers"] if layer["kind"] == "Linear")
    assert layer["alone"]["different"] >= 1
    assert layer["coverage"]["missed"] == 1
    found = written["first_difference"]
    assert (found["alone"], found["position"]) == (True, [1])
    assert found["predicted"] - found["kernel"] == (-1 if shift > 0 else 1)
    case = read_case(tmp_path / found["cases"][0])
    assert case.expected[0].bytes is not None
    assert case.expected[0].bytes[0, 1] == found["predicted"]


def test_a_slightly_wrong_scale_in_the_expected_file_is_found_and_shrunk(tmp_path: Path) -> None:
    model = saved(dense(), tmp_path / "model.pt")
    expected = saved(dense(scale=0.04 * (1 + 1e-5)), tmp_path / "expected.pt")
    result = run(model, "--expect", expected, "--target", TARGET, "--out", tmp_path, "--samples", 0)
    assert result.exit_code == ExitCode.SOME_VIOLATED
    written = json.loads((tmp_path / "certificate.json").read_text())
    assert written["expected"]["sha256"] == hashlib.sha256(expected.read_bytes()).hexdigest()
    assert written["first_difference"]["cases"] == ["case.json", "case-expected.json"]
    assert "FAIL" in (tmp_path / "index.html").read_text()
    assert written["first_difference"]["position"] == [1]
    cases = [read_case(tmp_path / name) for name in written["first_difference"]["cases"]]
    scales = []
    for case in cases:
        layer: Any = case.model.layers[-1]
        assert layer.weight.values.size <= 4
        scales.append(layer.weight.scales.item())
    assert cases[0].inputs.size <= 4
    assert scales[1] / scales[0] == pytest.approx(1 + 1e-5, abs=1e-7)


def test_several_targets_have_a_report_each_and_an_index(tmp_path: Path) -> None:
    result = run(
        saved(dense(), tmp_path / "m.pt"), "--target", "qnnpack,fbgemm", "--out", tmp_path / "r", "--samples", 0
    )
    assert result.exit_code == 0, result.output
    folders = sorted(path.parent.name for path in (tmp_path / "r").glob("*/certificate.json"))
    assert folders == sorted([f"fbgemm-{Target.parse('fbgemm').isa}", "qnnpack-sse2"])
    index = (tmp_path / "r" / "index.html").read_text()
    assert all(f'href="{folder}/index.html"' in index for folder in folders)


def graph() -> QuantizedModel:
    """Return layers with one and two sources, of different quantizations, on images."""
    generator = np.random.default_rng(0)

    def conv(name: str, output: QuantParams) -> Conv2d:
        values = generator.integers(-90, 90, (2, 2, 1, 1)).astype(np.int8)
        weight = Weight(values, np.full(2, 0.01), np.zeros(2, dtype=np.int64), True)
        return Conv2d(name, weight, None, False, output, (1, 1), (0, 0), (1, 1), 1)

    layers = (
        Quantize("quantize", QuantParams(0.02, 10)),
        conv("left", QuantParams(0.03, 100)),
        conv("right", QuantParams(0.01, 20)),
        Add("add", True, QuantParams(0.05, 90)),
        Mul("mul", False, QuantParams(0.2, 77)),
        Cat("cat", 0, QuantParams(0.03, 60)),
        AvgPool2d("average", (2, 2), (2, 2), (0, 0), False, True, None),
        Relu("relu"),
    )
    return QuantizedModel((2, 4, 5), layers, ((0,), (1,), (1,), (2, 3), (2, 3), (2, 3, 4), (4,), (3,)))


def test_layers_with_several_sources_run_alone_on_all_pairs_of_bytes() -> None:
    model, target = graph(), Target.parse(TARGET)
    subject = whole.Subject(DeployedModel("graph", model, b""), model, lowering.lower(model, target))
    compared = {}
    with KernelPool() as pool:
        for index, blank in subject.blank_reports().items():
            report = bench.compare_alone(subject, index, blank, pool, seed=0, rounds=1)
            assert report.conforms
            assert report.not_alone is None
            compared[report.name] = report.alone.compared
    orders, extra = 2, 64
    for name in ("add", "mul"):
        assert compared[name] == orders * (-(-(2**16) // 40) + extra) * 40
    assert compared["cat"] == orders * (256 + extra) * 3 * 40
    assert compared["average"] == orders * (256 + extra) * 2 * 4
    assert compared["relu"] == orders * (256 + extra) * 40


def test_layers_whose_bytes_depend_on_the_place_run_one_input_at_a_time() -> None:
    """Vector and scalar lanes of leaky_relu round differently; which one an element meets depends on the batch."""
    leaky = Activation("leaky", Function.LEAKY_RELU, (0.01,), QuantParams(0.1, 25))
    model = QuantizedModel((70,), (Quantize("quantize", QuantParams(0.05, 127)), leaky))
    lowered = lowering.lower(model, Target.parse("fbgemm"))
    assert lowered.depends_on_place
    subject = whole.Subject(DeployedModel("leaky", model, b""), model, lowered)
    with KernelPool() as pool:
        report = bench.compare_alone(subject, 1, subject.blank_reports()[1], pool, seed=0, rounds=1)
    assert report.conforms
    assert report.alone.compared > 256 * 70


def test_sources_of_a_layer_alone_hold_the_bytes_that_it_is_given() -> None:
    model, target = graph(), Target.parse(TARGET)
    values = values_of(model, lowering.lower(model, target))
    alone = layer_alone(model, 3, values, channels_last=True)
    lowered = lowering.lower(alone, target)
    batch = layer_inputs(model.layers[3], QuantParams(1.0, 0), alone.input_shape, seed=0)
    pairs = batch[: -(-(2**16) // 40)].reshape(-1, 2, 40)
    assert len(set(zip(pairs[:, 0].reshape(-1).tolist(), pairs[:, 1].reshape(-1).tolist(), strict=True))) == 2**16
    found = lowered.layer_bytes(batch.astype(np.int64))
    facts = values_of(alone, lowered)
    for number, source in enumerate(alone.sources[-1]):
        assert facts[source] == values[model.sources[3][number]]
        own = found[f"(requantized {number})"].reshape(len(batch), -1)
        np.testing.assert_array_equal(own, batch[:, 40 * number : 40 * (number + 1)])


def test_a_layer_that_the_kernel_rejects_does_not_conform() -> None:
    class Rejecting:
        def run(self, target: Target, cases: Sequence[object]) -> list[str]:
            return ["no such kernel"] * len(cases)

    model, target = graph(), Target.parse(TARGET)
    subject = whole.Subject(DeployedModel("graph", model, b""), model, lowering.lower(model, target))
    for index in (0, 1, 3):
        blank = subject.blank_reports()[index]
        report = bench.compare_alone(subject, index, blank, Rejecting(), seed=0, rounds=1)  # type: ignore[arg-type]  # the part of a pool that is used
        assert report.rejected == "no such kernel"
        assert not report.conforms


@pytest.mark.parametrize("where", ["layers", "certificate"])
def test_an_interrupted_run_leaves_no_certificate(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> Any:
        raise KeyboardInterrupt

    def halfway(lines: Callable[..., Any]) -> Callable[..., Any]:
        def written(*arguments: Any, **options: Any) -> Any:
            yield next(iter(lines(*arguments, **options)))
            raise KeyboardInterrupt

        return written

    if where == "layers":
        monkeypatch.setattr(runs, "compare_whole", interrupted)
    else:
        monkeypatch.setattr(runs, "compare_whole", lambda subject, batch, advance: {})
        monkeypatch.setattr(runs, "report_page", halfway(runs.report_page))
    result = run(saved(dense(), tmp_path / "m.pt"), "--target", TARGET, "--out", tmp_path / "report")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert list((tmp_path / "report").iterdir()) == []


def test_mistakes_are_said_in_one_line(tmp_path: Path) -> None:
    model = saved(small_convolutional(), tmp_path / "model.pt")
    out = ("--out", tmp_path / "report")
    text = tmp_path / "text.pt"
    text.write_text("no model")
    assert_one_line(run(tmp_path / "missing.pt", *out), "missing.pt")
    assert_one_line(run(text, *out), "text.pt")
    assert_one_line(run(model, *out), "shape")
    assert_one_line(run(model, *out, "--input-shape", "2,6"), "")
    assert_one_line(run(model, *out, "--input-shape", "two"), "two")
    assert_one_line(run(model, *out, "--input-shape", "2,6,5", "--target", "arm"), "arm")
    assert_one_line(run(model, *out, "--input-shape", "2,6,5", "--inputs", text), "text.pt")
    assert_one_line(run(model, "--out", text / "report", "--input-shape", "2,6,5"), "cannot be written")
    other = saved(dense(), tmp_path / "other.pt")
    assert_one_line(run(model, *out, "--input-shape", "2,6,5", "--expect", other), "")
    wrong = converted(linear(quantized_weight(np.ones((2, 6), dtype=int), scale=0.1)))
    expect = ("--expect", saved(wrong, tmp_path / "wrong.pt"))
    assert_one_line(run(other, *out, *expect, "--target", TARGET), "another network", "layer 1")


def test_the_floats_at_the_boundaries_of_quantization_are_neighbours() -> None:
    for params in (QuantParams(0.1, 0), QuantParams(1 / 3, 255), QuantParams(1e-30, 100), QuantParams(0.5, 0, True)):
        at, below = quantize_inputs(params)
        levels = np.arange(params.least + 1, params.greatest + 1)
        np.testing.assert_array_equal(Quantizer(params).levels(at), levels)
        np.testing.assert_array_equal(Quantizer(params).levels(below), levels - 1)
        np.testing.assert_array_equal(np.nextafter(at, np.float32(-np.inf)), below)
