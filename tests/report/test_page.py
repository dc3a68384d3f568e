"""The page says what the results file says, whatever that is."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bvverify.report.results import Results, read_results
from bvverify.report.results_page import results_page
from bvverify.runs.job import Limits
from bvverify.runs.store import Store
from tests.report.stores import fill, item, misclassified, realistic, reals, robust, subject, unknown, violated

NASTY = "<b>&\"'</title><script>alert(1)</script>$x$ $\\frac{"
VOID = {"meta", "img", "br", "path", "use", "rect", "stop"}


class Reader(HTMLParser):
    """Collects what a page is made of; fails where a tag is closed that was not opened last."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self.open):
            self.words.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def read(path: Path, *, file: str = "results.db") -> tuple[Reader, Results]:
    with Store(path, create=False) as store:
        results = read_results(store, file=file)
        return Reader("\n".join(results_page(results, store.counterexample))), results


def rows(page: Reader, heading: str) -> str:
    """Return the text of the section with this heading."""
    start = page.text.index(heading)
    following = [page.text.find(other, start + 1) for other in HEADINGS if other != heading]
    return page.text[start : min([place for place in following if place > 0], default=None)]


HEADINGS = (
    "Verdicts by radius",
    "Time per query",
    "Deciding stages",
    "Counterexamples",
    "Misclassified inputs",
    "How this was made",
)


def test_the_page_has_the_right_numbers(tmp_path: Path) -> None:
    made = realistic(tmp_path / "results.db", inputs=10)
    page, results = read(made.path)
    counts = results.counts
    assert (
        f"{made.robust} robust {made.violated} violated {made.unknown} unknown {made.unasked} not yet asked"
        in page.text
    )
    assert f"{counts.misclassified} of the {made.violated} violated queries" in page.text
    assert "3: CNN1.pt, FC1-100.pt, FC2-256.pt" in page.text
    for series in results.series():
        for radius, group in series.by_radius():
            numbers = [sum(one.outcome == name for one in group) for name in ("robust",)]
            expected = f"{series.subject.model} {series.subject.target} {radius} {numbers[0]} "
            assert expected in rows(page, "Verdicts by radius")
    searched = made.violated - counts.misclassified
    assert f"24 of {searched} counterexamples, chosen evenly" in page.text
    assert f"make {counts.misclassified} queries violated" in page.text
    stages = rows(page, "Deciding stages")
    by_intervals = sum(one.stage == "intervals" for one in results.results)
    assert f"intervals none {by_intervals} 0 0" in stages
    searched_robust = sum(one.stage == "bitvector" and one.outcome == "robust" for one in results.results)
    assert f"bitvector bitwuzla 0.9.0 {searched_robust} {searched} 0" in stages


def test_structure_and_names_for_readers_who_cannot_see(tmp_path: Path) -> None:
    page, _ = read(realistic(tmp_path / "results.db", inputs=10).path)
    assert page.count("h1") == page.count("main") == 1
    assert page.count("script") == 0
    assert ("html", {"lang": "en"}) in page.tags
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
    assert sum(bool(attributes.get("aria-label")) for tag, attributes in page.tags if tag == "svg") == 8
    values = [value or "" for _, attributes in page.tags for value in attributes.values()]
    outside = {value for value in values if "//" in value and not value.startswith("data:")}
    assert outside == {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    links = {value[1:] for _, attributes in page.tags if (value := attributes.get("xlink:href"))}
    assert links | set(re.findall(r"url\(#([^)]*)\)", " ".join(values))) == set(identifiers)


def test_many_lines_fall_back_on_a_figure_per_model(tmp_path: Path) -> None:
    targets = ("fbgemm/avx2", "fbgemm/avx512", "onednn/avx2", "qnnpack/sse2")
    models = [f"net{number}.pt" for number in range(7)]
    page, _ = read(realistic(tmp_path / "many.db", models=models, targets=targets, radii=(1, 4), inputs=4).path)
    labels = [attributes.get("aria-label") or "" for tag, attributes in page.tags if tag == "svg"]
    assert sum("a line per target" in label for label in labels) == 7
    assert sum(label.startswith("Verdicts by radius") for label in labels) == 28


def test_everything_from_the_store_is_escaped(tmp_path: Path) -> None:
    row = subject(NASTY, NASTY, runtime=NASTY, model_sha256=NASTY, replay_refusal=NASTY)
    image = np.zeros((8, 8), dtype=np.uint8)
    verdicts = [
        robust(stage=NASTY, solver=NASTY),
        violated(reals(image + 1)),
        misclassified(reals(image)),
        unknown(reason=NASTY),
        None,
    ]
    other = [item(row, place + 9, "2", image, source=NASTY, tie=NASTY, region=NASTY, clip=NASTY) for place in range(5)]
    asked = [(item(row, place, "1", image, source=NASTY), verdict) for place, verdict in enumerate(verdicts)]
    path = tmp_path / "results.db"
    fill(path, row, [*asked, *zip(other, verdicts, strict=True)])
    with Store(path) as store:
        store.add(asked[-1][0].query, NASTY, robust(), Limits())
    page, results = read(path, file=NASTY)
    assert page.count("b") == 4
    assert page.count("script") == 0
    assert page.text.count(NASTY) > 30
    with Store(path) as store:
        lines = "\n".join(results_page(results, store.counterexample))
    assert "<script" not in lines


@pytest.mark.parametrize("queries", [0, 3])
def test_a_store_without_verdicts(tmp_path: Path, queries: int) -> None:
    row = subject("a.pt", "qnnpack/sse2")
    image = np.zeros(784, dtype=np.uint8)
    path = fill(tmp_path / "results.db", row, [(item(row, place, "1", image), None) for place in range(queries)])
    page, _ = read(path)
    assert ("No queries yet" in page.text) == (queries == 0)
    assert (f"{queries} not yet asked" in page.text) == (queries > 0)
    assert "Counterexamples" not in page.text


def test_only_robust_verdicts(tmp_path: Path) -> None:
    row = subject("a.pt", "qnnpack/sse2")
    image = np.zeros(784, dtype=np.uint8)
    page, _ = read(fill(tmp_path / "r.db", row, [(item(row, place, "1", image), robust()) for place in range(3)]))
    assert "3 robust 0 violated 0 unknown 0 not yet asked" in page.text
    assert "Every query that was asked is decided." in page.text
    assert "No search found a counterexample." in page.text
    assert "Misclassified" not in page.text


@pytest.mark.parametrize("shape", [(), (1,), (0,), (30,), (1, 28, 28), (3, 8, 8), (5, 4, 4), (200, 3), (2, 2, 2, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_counterexamples_of_any_shape(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    row, image = subject("a.pt", "qnnpack/sse2"), np.ones(shape, dtype=dtype)
    asked = [(item(row, 0, "1", image), violated(np.zeros(shape, dtype=np.float32), witness_class=8))]
    asked += [(item(row, 1, "1", image), misclassified(np.ones(shape, dtype=np.float32)))]
    page, _ = read(fill(tmp_path / "r.db", row, asked))
    assert page.count("img") == (4 if image.size else 0)
    assert "original: 3" in page.text
    assert "perturbed: 8" in page.text
    assert f"difference: ±{(0 if not image.size else 1)}" in page.text


def test_unknowns_are_limited_and_the_nearest_come_first(tmp_path: Path) -> None:
    row, image = subject("a.pt", "qnnpack/sse2"), np.zeros(4, dtype=np.uint8)
    gaps = [*range(1000, 940, -1), None]
    asked = [(item(row, place, "1", image), unknown(gap=gap, closest=0.25)) for place, gap in enumerate(gaps)]
    page, _ = read(fill(tmp_path / "r.db", row, asked))
    section = page.text[page.text.index("50 of 61 unknown queries, the smallest gaps first") :]
    found = re.findall(r"images\.npz\[\d+\] 3 1 (\d*,?\d*) 0\.25 time: 60 s", section)
    assert found == [f"{gap:,}" for gap in range(941, 991)]


def test_many_radii_are_legible(tmp_path: Path) -> None:
    row, image = subject("a.pt", "qnnpack/sse2"), np.zeros(4, dtype=np.uint8)
    radii = [f"{number}/255" for number in range(1, 41)]
    asked = [(item(row, 0, radius, image), robust()) for radius in radii]
    path = fill(tmp_path / "r.db", row, asked)
    with Store(path) as store:
        lines = "\n".join(results_page(read_results(store, file="r.db"), store.counterexample))
    (bars,) = re.findall(r"<svg[^>]*Verdicts by radius.*?</svg>", lines, flags=re.DOTALL)
    drawn = re.findall(r">(\d+(?:/255)?)</text>", bars)
    assert [text for text in drawn if text in radii] == radii[::4]
