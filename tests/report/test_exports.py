"""CSV, JSON and JUnit say the same as the results file."""

import csv
import io
import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bvverify.report.exports import csv_lines, results_as_json
from bvverify.report.junit import junit_lines
from bvverify.report.results import Results, read_results
from bvverify.runs.job import Limits
from bvverify.runs.store import Result, Store
from tests.report.stores import fill, item, misclassified, realistic, reals, robust, subject, unknown, violated

NASTY = "<b>&\"'\x01\x1b\n,;]]>$x$ \u00e9\U0001f600"


def read(path: Path) -> Results:
    with Store(path, create=False) as store:
        return read_results(store, file=path.name)


@pytest.fixture
def nasty(tmp_path: Path) -> Results:
    image = np.arange(4, dtype=np.float32).reshape(2, 2) / 4
    row = subject(NASTY, NASTY, runtime=NASTY, replay_refusal=NASTY)
    verdicts = [
        robust(solver=NASTY),
        violated(image, witness_class=7),
        misclassified(image),
        unknown(reason=NASTY, gap=3),
        None,
    ]
    asked = [(item(row, place, "1/255", image, source=NASTY), verdict) for place, verdict in enumerate(verdicts)]
    return read(fill(tmp_path / "nasty.db", row, asked))


def records(results: Results) -> list[dict[str, str]]:
    text = "".join(f"{line}\n" for line in csv_lines(results))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def suites(results: Results) -> ElementTree.Element:
    return ElementTree.fromstring("\n".join(junit_lines(results)))


def test_all_forms_have_the_same_counts(tmp_path: Path) -> None:
    made = realistic(tmp_path / "r.db", inputs=10)
    results = read(made.path)
    content = json.loads(json.dumps(results_as_json(results)))
    summary = content["summary"]
    expected = [made.robust, made.violated, made.unknown, made.unasked]
    assert content["format"] == 1
    assert [summary[name] for name in ("robust", "violated", "unknown", "unasked")] == expected
    assert summary["queries"] == sum(expected) == len(content["results"])
    assert (len(summary["models"]), len(summary["targets"])) == (3, 2)
    outcomes = Counter(row["outcome"] for row in records(results))
    assert [outcomes[name] for name in ("robust", "violated", "unknown", "")] == expected
    root = suites(results)
    assert (root.get("tests"), root.get("failures")) == (str(sum(expected)), str(made.violated))
    assert root.get("skipped") == str(made.unknown + made.unasked)
    assert len(root) == 6
    for suite in root:
        assert len(suite.findall("testcase")) == int(suite.get("tests", ""))
        assert len(suite.findall("testcase/failure")) == int(suite.get("failures", ""))
        assert len(suite.findall("testcase/skipped")) == int(suite.get("skipped", ""))
        assert sum(float(case.get("time", "")) for case in suite.findall("testcase")) == pytest.approx(
            float(suite.get("time", "")), abs=1e-3
        )


def test_json_holds_everything_but_arrays(nasty: Results) -> None:
    rows = json.loads(json.dumps(results_as_json(nasty)))["results"]
    for row, result in zip(rows, nasty.results, strict=True):
        for field in fields(Result):
            value = getattr(result, field.name)
            if field.name == "limits":
                assert row["limits"] == (None if value is None else vars(Limits()))
            elif field.name == "settings":
                assert row["settings"] == (json.loads(value) if value else None)
            else:
                assert row[field.name] == value
    assert [row["witness_class"] for row in rows] == [None, 7, 5, None, None]
    assert [row["state"] for row in rows] == ["robust", "violated", "misclassified", "unknown", "not yet asked"]


def test_csv_holds_the_same_values(nasty: Results) -> None:
    rows = records(nasty)
    assert len(rows) == len(nasty.results)
    assert not any(line.endswith("\n") for line in csv_lines(nasty))
    for row, result in zip(rows, nasty.results, strict=True):
        assert (row["model"], row["source"], row["reason"]) == (NASTY, NASTY, result.reason)
        assert (row["radius"], row["position"]) == ("1/255", str(result.position))
        assert row["seconds"] == str(result.seconds)
        assert row["settings"] == result.settings
        assert row["gap"] == ("" if result.gap is None else str(result.gap))
        assert row["limit_seconds"] == ("" if result.limits is None else "60.0")
        assert row["limit_cpu_seconds"] == ""


def test_junit_names_each_case_and_says_how_to_ask_again(nasty: Results) -> None:
    root = suites(nasty)
    cases = root.findall("testsuite/testcase")
    assert len({(case.get("classname"), case.get("name")) for case in cases}) == len(cases)
    held = NASTY.replace("\x01", "\ufffd").replace("\x1b", "\ufffd")
    assert cases[0].get("name") == f"{held}[0] radius 1/255"
    assert len(cases[0]) == 0
    found, wrong = (case.find("failure") for case in cases[1:3])
    assert found is not None
    assert wrong is not None
    assert (found.get("type"), wrong.get("type")) == ("violated", "misclassified")
    assert "label 3, predicted 7 within radius 1/255" in found.get("message", "")
    assert "--indices 1 --region floats --radius 1/255 --clip 0,1" in (found.text or "")
    skipped = [case.find("skipped") for case in cases[3:]]
    assert [one.get("message", "")[:7] for one in skipped if one is not None] == ["unknown", "not yet"]


def test_cases_that_differ_in_the_tie_rule_have_different_names(tmp_path: Path) -> None:
    row, image = subject("a.pt", "qnnpack/sse2"), np.zeros(4, dtype=np.uint8)
    ties = ("lowest-index", "any-tie-violates")
    path = fill(tmp_path / "t.db", row, [(item(row, 0, "1", image, tie=tie), robust()) for tie in ties])
    names = {case.get("name") for case in suites(read(path)).iter("testcase")}
    assert names == {f"images.npz[0] radius 1, tie {tie}" for tie in ties}


def test_an_empty_file_has_empty_forms(tmp_path: Path) -> None:
    Store(tmp_path / "empty.db").close()
    results = read(tmp_path / "empty.db")
    assert records(results) == []
    assert results_as_json(results)["summary"]["queries"] == 0
    root = suites(results)
    assert (len(root), root.get("tests")) == (0, "0")


def test_the_command_that_asks_again_is_one_of_ours(tmp_path: Path) -> None:
    import shlex

    import typer

    from bvverify.cli import commands
    from bvverify.report.words import ask_again

    row, image = subject("a.pt", "qnnpack/sse2"), np.zeros(4, dtype=np.uint8)
    path = fill(tmp_path / "t.db", row, [(item(row, 5, "2", image), violated(reals(image)))])
    words = shlex.split(ask_again(read(path).results[0]))
    assert words[:3] == ["bvverify", "verify", "a.pt"]
    known = {option for one in typer.main.get_command(commands.app).commands["verify"].params for option in one.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert "--clip" not in words
    assert "--patch" not in words
    patched = fill(
        tmp_path / "p.db",
        row,
        [(replace(item(row, 5, "2", image), region="floats patch 1,2,3,4"), violated(reals(image)))],
    )
    words = shlex.split(ask_again(read(patched).results[0]))
    assert words[words.index("--region") + 1] == "floats"
    assert words[words.index("--patch") + 1] == "1,2,3,4"
    assert "--clip" in words
