"""The page in a browser: offline, at the width of a desk and of a phone, in light and dark."""

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from bvverify.report.results import read_results
from bvverify.report.results_page import results_page
from bvverify.runs.store import Store
from tests.report.stores import fill, item, misclassified, realistic, reals, robust, subject, violated

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium")
WIDTHS = (1280, 390)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH")

_CONTRAST = """() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const luminance = rgb => {
        const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let one = element; one; one = one.parentElement) {
            const colour = channels(getComputedStyle(one).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
        }
        return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
    };
    const contrast = (a, b) => {
        const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
        return (high + 0.05) / (low + 0.05);
    };
    const worded = [...document.querySelectorAll("body *:not(style)")].filter(
        one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return Math.min(...worded.map(one => {
        const style = getComputedStyle(one);
        return contrast(channels(one.closest("svg") ? style.fill : style.color).slice(0, 3), ground(one));
    }));
}"""
_FILLS = """() => [...document.querySelectorAll("svg path, svg rect, svg use")].filter(
    one => !one.closest("clipPath, defs") || one.closest("pattern")).map(
    one => getComputedStyle(one).fill).filter(colour => colour.startsWith("rgb("))"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture(scope="module", params=["usual", "many", "odd", "empty"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "results.db"
    if request.param == "usual":
        realistic(path)
    elif request.param == "many":
        targets = ("fbgemm/avx2", "fbgemm/avx512_vnni", "onednn/avx2", "qnnpack/sse2")
        realistic(path, models=[f"net{number}.pt" for number in range(7)], targets=targets, inputs=6)
    elif request.param == "odd":
        _odd(path)
    with Store(path) as store:
        lines = results_page(read_results(store, file="<b>&\"' results " + "long" * 40), store.counterexample)
        path.with_name("index.html").write_text("\n".join(lines), encoding="utf-8")
    return path.with_name("index.html")


def _odd(path: Path) -> None:
    """Long names and inputs that are no square images."""
    for shape in [(30,), (3, 8, 8), (5, 4, 4), (1,), (200, 3), (64, 1, 2)]:
        row = subject(
            "m" * 90 + f"{shape}<i>", "target with $x$ and no end" * 4, digest=str(shape), replay_refusal="no " * 80
        )
        image = np.ones(shape, dtype=np.uint8)
        asked = [(item(row, place, f"{place + 1}/255", image), robust()) for place in range(2, 30)]
        asked += [(item(row, 0, "1/255", image, source="s" * 120), violated(reals(image * 2)))]
        asked += [(item(row, 1, "1/255", image, tie="any-tie-violates"), misclassified(reals(image)))]
        fill(path, row, asked)


@pytest.mark.parametrize(("width", "scheme"), list(product(WIDTHS, SCHEMES)))
def test_the_page_opens_by_itself(
    browser: "Browser", page_file: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, complaints, requests = context.new_page(), list[str](), list[str]()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url[:200]))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri())
    page.wait_for_load_state("networkidle")
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert page.evaluate("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [width, True]
    assert (
        page.evaluate("[...document.images].filter(image => !image.complete || image.naturalWidth === 0).length") == 0
    )
    assert page.evaluate(_CONTRAST) >= 4.5
    for colour in _fills(page):
        assert colour >= 3
    context.close()


def test_figures_are_legible_on_a_phone(browser: "Browser", tmp_path: Path) -> None:
    realistic(tmp_path / "results.db", inputs=4)
    with Store(tmp_path / "results.db") as store:
        lines = results_page(read_results(store, file="results.db"), store.counterexample)
        (tmp_path / "index.html").write_text("\n".join(lines), encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "index.html").as_uri())
    sizes = page.evaluate("[...document.querySelectorAll('svg text')].map(text => text.getBoundingClientRect().height)")
    assert len(sizes) > 50
    assert min(sizes) >= 9
    assert page.evaluate("[...document.querySelectorAll('.row img')].every(image => image.clientWidth >= 80)")
    page.close()


def _fills(page: "Page") -> list[float]:
    """Return the contrast of every fill against the page."""
    ground = (18, 18, 18) if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else (255, 255, 255)
    found = {tuple(int(part) for part in text[4:-1].split(",")) for text in page.evaluate(_FILLS)}
    return [_contrast(colour, ground) for colour in found]


def _contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: tuple[int, ...]) -> float:
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
