"""The parts of a page that show single queries: unknown ones, counterexamples, misclassified inputs."""

from collections.abc import Callable, Iterator
from html import escape
from statistics import median

from bvverify.report import charts
from bvverify.report.page import Row, html, table
from bvverify.report.pictures import counterexample_pictures, input_picture
from bvverify.report.results import Results, State, nearest_first, obstacles, spread
from bvverify.report.words import REPLAYED, ask_again, common_columns, duration, input_name, replay_remark, violation
from bvverify.runs.store import Counterexample, Result

_MOST_UNKNOWNS = 50
_MOST_CARDS = 24
_MOST_MISCLASSIFIED = 24


def unknowns(results: Results) -> Iterator[str]:
    """Yield what is known about unknown queries: obstacles, gaps, and the queries nearest to a proof."""
    yield "<h2>Unknown</h2>"
    unknown = results.having(State.UNKNOWN)
    if not unknown:
        yield "<p>Every query that was asked is decided.</p>"
        return
    rows: list[Row] = []
    for obstacle, group in obstacles(unknown).items():
        gaps = [result.gap for result in group if result.gap is not None]
        least = [f"{min(gaps):,}", f"{median(gaps):,.0f}"] if gaps else ["", ""]
        rows.append([obstacle, len(group), *least, duration(sum(result.seconds for result in group))])
    yield from table(("obstacle", "queries", "least gap", "median gap", "time"), rows, texts=("obstacle",))
    gaps = [result.gap for result in unknown if result.gap is not None]
    yield "<p>The gap of a query is by how many output levels the bounds miss a proof: "
    yield "the smaller it is, the likelier better bounds or more time will prove it. "
    yield "The lead is the least one of the label that an attack met, in output levels: near 0, look for a "
    yield "counterexample.</p>"
    if gaps:
        label = f"Gaps of {len(gaps)} unknown queries, from {min(gaps)} to {max(gaps)}"
        yield f'<figure class="single">{charts.gap_bars(gaps, name="gaps", label=label)}</figure>'
    shown = nearest_first(unknown)[:_MOST_UNKNOWNS]
    yield f"<h3>{_of(len(shown), len(unknown), 'unknown queries')}, the smallest gaps first</h3>"
    named = "model, target, tie rule, input, label, radius, gap, missing, nodes, lead, reason, stage, time"
    headings = tuple(named.split(", "))
    yield from table(
        headings,
        (
            [
                (subject := results.subject(result)).model,
                subject.target,
                result.tie,
                input_name(result),
                result.label,
                result.radius,
                "" if result.gap is None else result.gap,
                "" if result.missing is None else f"{result.missing:.2f}",
                "" if result.nodes is None else result.nodes,
                "" if result.closest is None else f"{result.closest:.2f}",
                result.reason,
                result.stage,
                duration(result.seconds),
            ]
            for result in shown
        ),
        texts=("model", "target", "tie rule", "input", "reason", "stage"),
        without=common_columns(results.varying()),
    )


def counterexamples(results: Results, arrays: Callable[[Result], Counterexample]) -> Iterator[str]:
    """Yield pictures of counterexamples, chosen evenly over models, targets and radii."""
    yield "<h2>Counterexamples</h2>"
    found = results.having(State.VIOLATED)
    if not found:
        yield "<p>No search found a counterexample.</p>"
        return
    groups = [
        [result for result in group if State.of(result) is State.VIOLATED]
        for series in results.series()
        for _, group in series.by_radius()
    ]
    shown = spread([group for group in groups if group], _MOST_CARDS)
    how = ", chosen evenly over models, targets and radii" if len(shown) < len(found) else ""
    yield f"<p>{_of(len(shown), len(found), 'counterexamples')}{how}. Below each input is the class predicted for it. "
    yield "In the difference, orange is more and blue is less; the largest change has the full colour.</p>"
    yield '<div class="cards">'
    for result in shown:
        yield from _card(result, results, arrays(result))
    yield "</div>"


def misclassified(results: Results, arrays: Callable[[Result], Counterexample]) -> Iterator[str]:
    """Yield the inputs that are misclassified as they are, which no search found."""
    found = results.having(State.MISCLASSIFIED)
    if not found:
        return
    by_input: dict[tuple[str, ...], list[Result]] = {}
    for result in found:
        subject = results.subject(result)
        key = (subject.model, subject.target, result.tie, input_name(result), result.input, str(result.label))
        by_input.setdefault(key, []).append(result)
    shown = spread([group[:1] for group in by_input.values()], _MOST_MISCLASSIFIED)
    yield "<h2>Misclassified inputs</h2>"
    yield f"<p>{_of(len(shown), len(by_input), 'inputs')} that violate their property without any perturbation, "
    yield f"and so make {len(found):,} queries violated, whatever their radius.</p>"
    rows: list[Row] = []
    for result in shown:
        picture = input_picture(arrays(result).original, alt=f"{input_name(result)}, label {result.label}")
        subject, remark = results.subject(result), replay_remark(result)
        names = (input_name(result), picture, result.label, result.prediction)
        rows.append([*names, subject.model, subject.target, result.tie, remark])
    headings = ("input", "picture", "label", "predicted", "model", "target", "tie rule", "replay")
    texts = ("input", "picture", "model", "target", "tie rule", "replay")
    yield from table(headings, rows, texts=texts, without=common_columns(results.varying()))


def _card(result: Result, results: Results, shown: Counterexample) -> Iterator[str]:
    subject, name = results.subject(result), input_name(result)
    pictures = counterexample_pictures(shown, alt=f"{name}, {subject}, radius {result.radius}")
    captions = {
        f"original: {result.prediction}": pictures.original,
        f"perturbed: {results.witness_classes[result.query]}": pictures.perturbed,
        f"difference: ±{pictures.largest}": pictures.difference,
    }
    yield f'<article class="card"><h3>{escape(str(subject))}, radius {escape(result.radius)}</h3><div class="row">'
    for caption, picture in captions.items():
        yield f"<figure>{html(picture)}<figcaption>{escape(caption)}</figcaption></figure>"
    tie = f", {result.tie}" if "tie" in results.varying() else ""
    yield f"</div><p>{escape(name)}{escape(tie)}: {escape(violation(result, results))}</p>"
    kind = ' class="pass"' if result.replay == REPLAYED else ""
    yield f"<p{kind}>{escape(replay_remark(result))}</p>"
    yield f"<details><summary>ask again</summary><pre>{escape(ask_again(result))}</pre></details></article>"


def _of(shown: int, total: int, what: str) -> str:
    return f"{shown:,} of {total:,} {what}" if shown < total else f"{total:,} {what}"
