"""A comparison as a web page that needs nothing but itself."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version

import numpy as np

from bvverify.compare import Comparison, VerdictPair
from bvverify.load.inputs import Images
from bvverify.network import IntArray
from bvverify.report import comparison_charts as charts
from bvverify.report.comparison_words import (
    Compared,
    accuracy,
    confirmation,
    headline,
    many,
    outcomes,
    right_and_wrong,
    share,
    side_names,
    title,
)
from bvverify.report.page import Markup, Row, facts, page_head, table
from bvverify.report.pictures import counterexample_pictures, input_picture
from bvverify.report.results import MISCLASSIFIED
from bvverify.runs.store import Counterexample
from bvverify.search import Outcome

_MOST_IMAGES = 24
_MOST_WITNESSES = 12
_MOST_VERDICTS = 50
_MOST_CLASSES = 12
"""Bars of more outputs than this are chosen: where bytes differ most, and where they are largest."""
_CSS = """
body { max-width: 72rem; } h2 { font-size: 1.3rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
p { max-width: 44rem; overflow-wrap: anywhere; } .verdict { max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; padding: 0;
  margin: 1rem 0; list-style: none; }
.tiles li { background: var(--soft); padding: .6rem .8rem; border-radius: .3rem; }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.2; }
.swatch { display: inline-block; width: 1.5rem; height: .8rem; margin-right: .4rem; vertical-align: -.05rem;
  border: 1px solid; box-sizing: border-box; background: #0072b2; }
.swatch.second { background: repeating-linear-gradient(135deg, currentColor 0 1px, #d55e00 1px 5px); }
figure.single { max-width: 30rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.card { background: var(--soft); padding: .8rem; border-radius: .3rem; font-size: .875rem; min-width: 0; }
.card h3 { margin: 0 0 .6rem; font-size: .875rem; overflow-wrap: anywhere; } .card figure { margin: .6rem 0 0; }
.card.other { outline: 2px solid var(--fail); }
.pair { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); gap: .8rem; align-items: center; }
.three { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5rem; align-items: start; }
.card .three figure { margin: 0; } .three figcaption { font-size: .75rem; overflow-wrap: anywhere; }
img { image-rendering: pixelated; object-fit: contain; border: 1px solid var(--line); box-sizing: border-box;
  width: 100%; height: auto; max-height: 10rem; display: block; }
.answers { list-style: none; margin: 0; padding: 0; overflow-wrap: anywhere; } .answers li + li { margin-top: .4rem; }
.three + .answers { display: flex; gap: 1.2rem; margin-top: .6rem; } .three + .answers li { margin: 0; flex: 1; }
.answers b { font-size: 1.25rem; }
.share { display: inline-block; width: 6rem; height: .7rem; background: var(--line); vertical-align: baseline; }
.share i { display: block; height: 100%; background: #0072b2; min-width: 1px; }
"""


def comparison_page(compared: Compared, images: Images) -> Iterator[str]:
    """Yield the lines of the page; `images` are those that were compared, as their file holds them."""
    comparison = compared.comparison
    heading = title(comparison)
    yield from page_head(heading, css=_CSS)
    yield f'<main><h1>{escape(heading)}</h1><p class="verdict {"fail" if compared.differs else "pass"}">'
    yield f"{escape(headline(compared))}</p>"
    yield from _tiles(compared)
    yield from _sides(comparison)
    yield from _layers(comparison)
    yield from _images(comparison, images)
    if compared.verdicts is not None:
        yield from _verdicts(compared, compared.verdicts, images)
    yield from _how_this_was_made(compared)
    yield "</main></body></html>"


def _tiles(compared: Compared) -> Iterator[str]:
    comparison = compared.comparison
    tiles = [(len(comparison.positions), "images")]
    if not comparison.incomparable:
        tiles.append((int((comparison.distances > 0).sum()), "with other output bytes"))
    tiles.append((int(comparison.predictions_differ.sum()), "with another prediction"))
    if compared.verdicts is not None:
        tiles += [(len(compared.verdicts_that_differ), "verdicts differ"), (compared.undecided, "questions undecided")]
    yield '<ul class="tiles">'
    for count, what in tiles:
        yield f"<li><b>{count:,}</b>{escape(what)}</li>"
    yield "</ul>"


def _sides(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Both sides</h2>"
    names, sides = side_names(comparison), (comparison.first, comparison.second)
    labelled = comparison.labels is not None
    headings = ("side", "model", "target", *(("labels predicted",) if labelled else ()), "kernel")
    rows: list[Row] = [
        [
            Markup(f"{_swatch(number)}{escape(name)}"),
            side.model,
            str(side.target),
            *((accuracy(side, comparison),) if labelled else ()),
            confirmation(side),
        ]
        for number, (name, side) in enumerate(zip(names, sides, strict=True))
    ]
    yield from table(headings, rows, texts=("side", "model", "target", "kernel"))
    if comparison.incomparable:
        yield f"<p>Not compared: {escape(comparison.incomparable)}.</p>"
    if comparison.predictions_differ.any() and labelled:
        parts = ", ".join(f"{what}: {count:,}" for what, count in right_and_wrong(comparison))
        yield f"<p>Of the images with another prediction, {escape(parts)}.</p>"
    yield from _distances(comparison)


def _distances(comparison: Comparison) -> Iterator[str]:
    """Yield how far the output bytes of an image differ: a figure, if there is more than one answer."""
    found = np.unique(comparison.distances[comparison.distances > 0])
    if len(found) == 1:
        yield f"<p>No output byte differs by more than {found[0]}.</p>"
    elif len(found):
        yield f'<figure class="single">{charts.distance_bars(comparison.distances, name="distances")}</figure>'


def _layers(comparison: Comparison) -> Iterator[str]:
    yield "<h2>Layers</h2>"
    count = len(comparison.positions)
    if comparison.layers:
        rows: list[Row] = []
        for layer in comparison.layers:
            bar = Markup(f'<span class="share"><i style="width:{layer.images / max(count, 1):.2%}"></i></span>')
            shown = bar if layer.images else ""
            example = "" if layer.example is None else f"image {layer.example}"
            images = (layer.images, share(layer.images, count), shown)
            byte_numbers = (layer.bytes, share(layer.bytes, layer.compared), layer.largest)
            rows.append([layer.name, layer.kind, str(layer.shape), *images, *byte_numbers, example])
        headings = ("layer", "type", "output", "images that differ", "of all", "", "bytes", "of all bytes", "largest")
        yield from table((*headings, "found in"), rows, texts=("layer", "type", "output", "", "found in"))
    else:
        yield "<p>No layer has the same name, type, size and quantization on both sides.</p>"
    if comparison.skipped:
        yield "<p>Layers that cannot be compared byte by byte:</p>"
        yield from table(
            ("layer", "why"), ([layer.name, layer.reason] for layer in comparison.skipped), texts=("layer", "why")
        )


def _images(comparison: Comparison, images: Images) -> Iterator[str]:
    yield "<h2>Images</h2>"
    ranked = comparison.ranked
    if not len(ranked):
        what = "get the same prediction" if comparison.incomparable else "give the same output bytes"
        yield f"<p>All {many(len(comparison.positions), 'image')} {what} on both sides.</p>"
        return
    yield f"<p>{escape(_choice(comparison))}</p>"
    yield '<div class="cards">'
    for row in ranked[:_MOST_IMAGES].tolist():
        yield from _image_card(comparison, row, images)
    yield "</div>"


def _choice(comparison: Comparison) -> str:
    """Return which images are shown, out of how many."""
    total = len(comparison.ranked)
    other = int(comparison.predictions_differ.sum())
    shown = min(total, _MOST_IMAGES)
    parts = []
    if other:
        parts.append(f"{_of(min(other, shown), other, 'image')} with another prediction")
    if total > other and shown > other:
        rest = f"{_of(shown - other, total - other, 'image')} with {'the same prediction and ' if other else ''}"
        parts.append(f"{rest}other bytes, the largest differences first")
    elif total > other:
        parts.append(f"none of the {many(total - other, 'image')} with other bytes only")
    beside = (
        "both bytes, which mean different numbers" if comparison.incomparable else "both bytes and their difference"
    )
    return f"{'; '.join(parts)}. The bars are the output bytes by class; beside them stand {beside}."


def _image_card(comparison: Comparison, row: int, images: Images) -> Iterator[str]:
    position, other = int(comparison.positions[row]), bool(comparison.predictions_differ[row])
    label = None if comparison.labels is None else int(comparison.labels[row])
    name = f"image {position}" + ("" if label is None else f", label {label}")
    outputs = comparison.first.outputs[row], comparison.second.outputs[row]
    yield f'<article class="card{" other" if other else ""}"><h3>{escape(name)}</h3>'
    yield f'<div class="pair">{input_picture(images.images[position], alt=name)}<ul class="answers">'
    predictions = [int(side.classes[row]) for side in (comparison.first, comparison.second)]
    marks = ["" if label is None else "right" if found == label else "wrong" for found in predictions]
    yield from _answers(comparison, predictions, marks)
    yield f"</ul></div>{_bars(comparison, outputs, f'image {row}')}</article>"


def _answers(comparison: Comparison, predictions: Sequence[int], marks: Sequence[str]) -> Iterator[str]:
    """Yield both sides' predictions, each with what is to be said of it."""
    for number, (side, prediction) in enumerate(zip(side_names(comparison), predictions, strict=True)):
        bad = ' class="fail"' if marks[number] in ("wrong", str(Outcome.VIOLATED)) else ""
        yield f"<li>{_swatch(number)}{escape(side)}<br><b>{prediction}</b> <span{bad}>{marks[number]}</span></li>"


def _bars(comparison: Comparison, outputs: tuple[IntArray, IntArray], name: str) -> str:
    classes = _shown_classes(*outputs)
    least = min(comparison.first.params.least, comparison.second.params.least)
    compared = comparison.incomparable is None
    bars = charts.output_bars(classes, *outputs, least=least, compared=compared, name=name)
    count = len(outputs[0])
    caption = "" if len(classes) == count else f"<figcaption>{len(classes)} of {count:,} outputs</figcaption>"
    return f"<figure>{bars}{caption}</figure>"


def _shown_classes(first: IntArray, second: IntArray) -> list[int]:
    """Return the classes to draw: all, or those with the largest bytes and the largest differences."""
    if len(first) <= _MOST_CLASSES:
        return list(range(len(first)))
    half = _MOST_CLASSES // 2
    largest = np.argsort(-np.maximum(first, second), kind="stable")[:half].tolist()
    others = [one for one in np.argsort(-np.abs(first - second), kind="stable").tolist() if one not in largest]
    return sorted(largest + others[: _MOST_CLASSES - half])


def _verdicts(compared: Compared, verdicts: tuple[VerdictPair, ...], images: Images) -> Iterator[str]:
    yield "<h2>Verdicts</h2>"
    names = side_names(compared.comparison)
    rows: list[Row] = [[*outcome, count] for outcome, count in outcomes(verdicts).items()]
    yield from table((*names, "questions"), rows, texts=names)
    differing = compared.verdicts_that_differ
    if not differing:
        yield "<p>No question is answered robust on one side and violated on the other.</p>"
        return
    shown = differing[:_MOST_VERDICTS]
    yield f"<h3>{_of(len(shown), len(differing), 'question')} with verdicts that differ</h3>"
    headings = ("image", "radius", "label", *names, "remark")
    rows = [
        [pair.position, str(pair.radius), pair.label, *_outcomes(pair), pair.first.reason or pair.second.reason]
        for pair in shown
    ]
    yield from table(headings, rows, texts=(*names, "remark"))
    found = [pair for pair in differing if MISCLASSIFIED not in (pair.first.stage, pair.second.stage)]
    if not found:
        return
    cards = found[:_MOST_WITNESSES]
    yield f"<h3>{_of(len(cards), len(found), 'counterexample')}</h3>"
    yield "<p>An input that violates the property on one side, given to both. "
    yield "In the difference, orange is more and blue is less.</p>"
    yield '<div class="cards">'
    for number, pair in enumerate(cards):
        yield from _witness_card(compared.comparison, pair, images, f"witness {number}")
    yield "</div>"


def _outcomes(pair: VerdictPair) -> tuple[str, str]:
    return str(pair.first.outcome), str(pair.second.outcome)


def _witness_card(comparison: Comparison, pair: VerdictPair, images: Images, name: str) -> Iterator[str]:
    assert pair.witness is not None
    outputs = pair.witness.outputs
    heading = f"image {pair.position}, label {pair.label}, radius {pair.radius}"
    shown = Counterexample(images.images[pair.position], pair.witness.real, outputs[0])
    pictures = counterexample_pictures(shown, alt=heading)
    captions = {
        "image": pictures.original,
        "counterexample": pictures.perturbed,
        f"difference: ±{pictures.largest}": pictures.difference,
    }
    yield f'<article class="card"><h3>{escape(heading)}</h3><div class="three">'
    for caption, picture in captions.items():
        yield f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"
    yield '</div><ul class="answers">'
    yield from _answers(comparison, [int(one.argmax()) for one in outputs], _outcomes(pair))
    yield f"</ul>{_bars(comparison, outputs, name)}</article>"


def _swatch(number: int) -> str:
    """Return a small sample of how bars show the first (0) or the second side (1)."""
    return f'<span class="swatch{" second" if number else ""}" aria-hidden="true"></span>'


def _how_this_was_made(compared: Compared) -> Iterator[str]:
    comparison = compared.comparison
    entries = [("inputs", comparison.inputs)]
    for name, side in (("first", comparison.first), ("second", comparison.second)):
        environment = " ".join(f"{key}={value}" for key, value in side.target.environment().items())
        entries += [
            (f"{name} model", f"{side.model}, SHA-256 {side.digest}"),
            (f"{name} target", f"{side.target}, {side.target.runtime}; {environment or 'nothing to force'}"),
        ]
    entries += list(compared.settings.items())
    yield "<h2>How this was made</h2>"
    yield from facts([*entries, ("report by", f"bvverify {version('bvverify')}")])


def _of(shown: int, total: int, what: str) -> str:
    return f"{shown:,} of {many(total, what)}" if shown < total else many(total, what)
