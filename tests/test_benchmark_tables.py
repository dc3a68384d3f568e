"""The tables of the EQV benchmark say what the answers say."""

import json
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.eqv import table
from benchmarks.eqv.agreement import variants
from bvverify.search import Stage
from bvverify.solvers import installed

ANSWERS = [
    table.Answer("FC1-100", "3", 0, "robust", "branch", 0.5),
    table.Answer("FC1-100", "3", 1, "robust", "intervals", 0.1),
    table.Answer("FC1-100", "3", 2, "violated", "attack", 0.3),
    table.Answer("FC1-100", "3", 3, "violated", "misclassified", 0.0),
    table.Answer("FC1-100", "3", 4, "unknown", "ilp", 60.0),
    table.Answer("CNN1", "12", 0, "robust", "ilp", 4.0),
]


def test_cells_count_answers() -> None:
    rows = list(table.cells(ANSWERS))[2:]
    assert rows == [
        "| FC1-100 | 3 (of 5) | 1 | 0 | 1 | 0 | 0 | 1 | 1 | 1 | 0 | 0.30 | 0.5 |",
        "| CNN1 | 12 (of 1) | 0 | 0 | 0 | 1 | 0 | 0 | 0 | 0 | 10 | 4.00 | 4.0 |",
        "| all 6 | | | | | | | | | 1 | 10 | | |",
    ]


def test_medians_are_of_decided_queries() -> None:
    assert list(table.medians(ANSWERS))[2:] == ["| 3 | 4 | 0.200 | 0.50 |", "| 12 | 1 | 4.000 | 4.00 |"]


def test_a_baseline_is_compared_where_both_decide(tmp_path: Path) -> None:
    said = [
        (0, "robust according to floats", "highs", 5.0),
        (1, "robust", "intervals", 0.2),
        (2, "robust", "bounds", 0.3),
        (3, "misclassified", "input", 0.0),
        (4, "violated", "attack", 1.0),
    ]
    lines = [
        {
            "network": "FC1-100",
            "image": image,
            "radius": 3,
            "limit": 60.0,
            "outcome": outcome,
            "stage": stage,
            "seconds": s,
        }
        for image, outcome, stage, s in said
    ]
    path = tmp_path / "baseline.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = "\n".join(table.compared(ANSWERS, list(table.read_baseline(path))))
    assert "on 4 queries" in text
    assert "| both | 3 | 0.300 | 0.300 | 2.0 | 1 |" in text
    assert "| both, EQV-style by integer programs | 1 | 0.500 | 5.000 | 10.0 | 0 |" in text
    assert "| EQV-style alone | 1 |" in text


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("no database")
    app = table.typer.Typer()
    app.command()(table.main)
    result = CliRunner().invoke(app, [str(path)])
    assert result.exit_code == 2
    assert result.output.startswith("error: ")


def test_every_stage_and_every_backend_is_asked_alone() -> None:
    asked = variants("FC1-100", 5.0)
    alone = {stage for variant in asked for stage in variant.plan.stages}
    assert alone == set(Stage)
    assert all(len(variant.plan.stages) == 1 for variant in asked)
    assert {variant.plan.solver for variant in asked} == set(installed())
