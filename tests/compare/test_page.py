"""The page of a comparison: what it shows, in which order, and that names cannot break it."""

import re
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bvverify.compare import Questions, compare_subjects, compare_verdicts
from bvverify.load.inputs import Images
from bvverify.queries import RegionKind
from bvverify.report.comparison import comparison_page
from bvverify.report.comparison_words import Compared, headline, share, side_names, title
from bvverify.verify import Verifier
from tests.compare.planted import HERE, compared, dense, deployed, inputs

pytestmark = pytest.mark.usefixtures("no_kernels")
CHROMIUM = Path("/usr/bin/chromium")
_VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """Checks that tags nest, and keeps their names and the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    assert tags.open == []
    return tags


def page_of(found: Compared, images: Images) -> str:
    return "\n".join(comparison_page(found, images))


def with_verdicts(names: tuple[str, str], images: Images, radius: str, count: int) -> Compared:
    with (
        Verifier(deployed(dense(changed=20), names[0]), target=HERE, seconds=20) as first,
        Verifier(deployed(dense(), names[1]), target=HERE, seconds=20) as second,
    ):
        comparison = compare_subjects(first, second, images, positions=range(count))
        questions = Questions((Fraction(radius),), RegionKind.FLOATS)
        verdicts = compare_verdicts(first, second, images, comparison, questions)
    return Compared(comparison, verdicts, {"solver": "bitwuzla"})


def test_names_are_escaped() -> None:
    bad = '<script>alert("1")</script>&amp;'
    images = replace(inputs(labels=True), name=f"{bad}.npz")
    found = with_verdicts((f"{bad}.pt", f"other {bad}.pt"), images, "1/50", 20)
    assert found.verdicts_that_differ
    page = page_of(found, images)
    tags = parsed(page)
    assert "script" not in tags.seen
    for name in (f"{bad}.pt", f"other {bad}.pt", f"{bad}.npz"):
        assert name in tags.text


def test_the_worst_images_are_shown_and_the_total_is_said() -> None:
    images = inputs(labels=True)
    comparison = compared(dense(), dense(changed=20), images)
    tags = parsed(page_of(Compared(comparison, None, {}), images))
    shown = [int(one) for one in re.findall(r"image (\d+), label", tags.text)]
    assert shown == comparison.positions[comparison.ranked[:24]].tolist()
    other = int(comparison.predictions_differ.sum())
    rest = len(comparison.ranked) - other
    assert 0 < other < 24 < rest
    assert (
        f"{other} images with another prediction; {24 - other} of {rest} images with the same prediction" in tags.text
    )
    assert headline(Compared(comparison, None, {})) in tags.text
    assert f"{images.name}" in tags.text
    row = int(comparison.ranked[0])
    pairs = zip(comparison.first.outputs[row].tolist(), comparison.second.outputs[row].tolist(), strict=True)
    label = ", ".join(f"{one}: {first} and {second}" for one, (first, second) in enumerate(pairs))
    assert f'aria-label="Output bytes by class: {label}"' in page_of(Compared(comparison, None, {}), images)


def test_a_page_without_differences_says_so() -> None:
    images = inputs()
    found = Compared(compared(dense(), dense(), images), None, {})
    tags = parsed(page_of(found, images))
    assert "All 120 images give the same output bytes on both sides." in tags.text
    assert "img" not in tags.seen
    assert "Verdicts" not in tags.text


def test_many_outputs_are_chosen_by_size_and_by_difference() -> None:
    images = inputs(count=5)
    comparison = compared(dense(outputs=30), dense(outputs=30, changed=-20), images)
    row = int(comparison.ranked[0])
    page = page_of(Compared(comparison, None, {}), images)
    assert "12 of 30 outputs" in page
    label = re.findall(r'aria-label="Output bytes by class: ([^"]*)"', page)[0]
    drawn = [int(one) for one in re.findall(r"(\d+): ", label)]
    assert len(drawn) == 12
    assert drawn == sorted(drawn)
    assert set(np.argsort(-comparison.first.outputs[row], kind="stable")[:3]) <= set(drawn)
    assert np.flatnonzero(comparison.first.outputs[row] != comparison.second.outputs[row]).tolist() == [1]
    assert 1 in drawn
    assert (comparison.first.outputs[row] > comparison.first.outputs[row, 1]).sum() >= 10


def test_verdicts_that_differ_come_with_their_counterexamples() -> None:
    images = inputs(labels=True)
    found = with_verdicts(("a.pt", "b.pt"), images, "1/50", 20)
    searched = [
        pair for pair in found.verdicts_that_differ if "misclassified" not in (pair.first.stage, pair.second.stage)
    ]
    page = page_of(found, images)
    assert len(searched) < len(found.verdicts_that_differ)
    assert re.findall(r"image (\d+), label \d+, radius 1/50</h3>", page) == [str(pair.position) for pair in searched]
    assert page.count("perturbed input:") == len(searched)
    assert parsed(page).text.count("the input itself is classified as") == len(found.verdicts_that_differ) - len(
        searched
    )


def test_sides_are_told_apart_by_what_differs() -> None:
    comparison = compared(dense(), dense(changed=20), inputs(count=3))
    assert side_names(comparison) == ("first.pt", "second.pt")
    assert title(comparison) == f"first.pt and second.pt on {HERE}"
    namesakes = replace(comparison, second=replace(comparison.second, model="first.pt"))
    digests = [side.digest[:8] for side in (comparison.first, comparison.second)]
    assert digests[0] != digests[1]
    assert side_names(namesakes) == tuple(f"first.pt ({digest})" for digest in digests)


def test_bytes_inside_are_named_where_they_are_all_that_differs() -> None:
    modules, images = (dense(), dense(bias=0.3, zero_point=121)), inputs()
    same = np.flatnonzero(~compared(*modules, images).predictions_differ).tolist()
    found = Compared(compared(*modules, images, positions=same), None, {})
    assert found.differs
    assert headline(found) == f"Of {len(same)} images, none gets another prediction; bytes inside differ, in layers 1."


def test_large_numbers_are_grouped() -> None:
    comparison = compared(dense(), dense(changed=20), inputs(count=1500))
    images = int((comparison.distances > 0).sum())
    assert images > 1000
    assert headline(Compared(comparison, None, {})).startswith(f"Of 1,500 images, {images:,} give other output bytes")


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0 %"), (1, "0.01 %"), (5000, "5.00 %"), (99999, "99.99 %"), (100000, "100 %")]
)
def test_shares_say_all_and_nothing_only_for_all_and_nothing(part: int, text: str) -> None:
    assert share(part, 100000) == text


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a browser")
def test_pages_fit_every_screen_and_load_nothing(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    images = replace(inputs(labels=True), name=f"{'images' * 30}.npz")
    found = with_verdicts((f"{'first' * 30}.pt", f"{'second' * 30}.pt"), images, "1/50", 20)
    path = tmp_path / "index.html"
    path.write_text(page_of(found, images), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True
                )
                page = context.new_page()
                requests: list[str] = []
                complaints: list[str] = []
                page.on("request", lambda request, seen=requests: seen.append(request.url))
                page.on("console", lambda message, seen=complaints: seen.append(message.text))
                page.goto(path.as_uri())
                assert page.evaluate("document.documentElement.scrollWidth") == width
                assert [one for one in requests if not one.startswith("data:")] == [path.as_uri()]
                assert complaints == []
                context.close()
        browser.close()
