"""The report on results as a web page that needs nothing but itself."""

from collections.abc import Callable, Iterator
from html import escape

from bvverify.report import charts
from bvverify.report.evidence_sections import counterexamples, misclassified, unknowns
from bvverify.report.page import Markup, Row, facts, page_head, table
from bvverify.report.results import Counts, Results, State, Subject, stages
from bvverify.report.settings_section import how_this_was_made
from bvverify.report.words import common_columns, duration, moment, region_name, series_name
from bvverify.runs.store import Counterexample, Result

_TOGETHER = 6
"""So many lines or fewer share one figure."""
_CSS = """
body { max-width: 72rem; } h2 { font-size: 1.3rem; border-top: 1px solid var(--line); padding-top: 1.2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
p { max-width: 44rem; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem; padding: 0;
  margin: 1rem 0; list-style: none; }
.tiles li { background: var(--soft); padding: .6rem .8rem; border-radius: .3rem; }
.tiles b { display: block; font-size: 1.7rem; line-height: 1.2; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; margin: .6rem 0; list-style: none;
  font-size: .875rem; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: 1.8rem; margin-right: .4rem; vertical-align: -.15rem; }
.swatch svg { display: block; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1rem 1.5rem; }
.panels figure { max-width: 26rem; margin: 0; }
figure.single { max-width: 30rem; }
figcaption { font-size: .875rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.card { background: var(--soft); padding: .8rem; border-radius: .3rem; font-size: .875rem; min-width: 0; }
.card h3 { margin: 0 0 .5rem; font-size: .875rem; } .card p { margin: .5rem 0 0; }
.row { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5rem; align-items: start; }
.row figure { margin: 0; } .row figcaption { font-size: .75rem; }
img { image-rendering: pixelated; object-fit: contain; border: 1px solid var(--line); box-sizing: border-box; }
.row img { width: 100%; height: auto; max-height: 14rem; } td img { width: 2.5rem; height: auto; max-height: 5rem;
  vertical-align: middle; }
summary { cursor: pointer; } details pre { margin: .4rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { margin: .8rem 0; } .card pre { background: none; padding: 0; }
"""


def results_page(results: Results, arrays: Callable[[Result], Counterexample]) -> Iterator[str]:
    """Yield the lines of the page; `arrays` returns the counterexample of a violated query."""
    title = f"Verdicts in {results.file}"
    yield from page_head(title, css=_CSS)
    yield f"<main><h1>{escape(title)}</h1>"
    yield from _summary(results)
    if results.results:
        yield from _by_radius(results)
    if results.answered():
        yield from _times(results)
        yield from _stages(results)
        yield from unknowns(results)
        yield from counterexamples(results, arrays)
        yield from misclassified(results, arrays)
    if results.results:
        yield from how_this_was_made(results)
    yield "</main></body></html>"


def _summary(results: Results) -> Iterator[str]:
    counts = results.counts
    if not results.results:
        yield "<p>No queries yet: <code>bvverify run</code> asks them and keeps the verdicts in this file.</p>"
        return
    yield '<ul class="tiles">'
    for state, count in (
        (State.ROBUST, counts.robust),
        (State.VIOLATED, counts.violated),
        (State.UNKNOWN, counts.unknown),
        (State.UNASKED, counts.unasked),
    ):
        yield f"<li><b>{count:,}</b>{_legend_entry(charts.state_swatch(state, name='tile'), state)}</li>"
    yield "</ul>"
    subjects = results.subjects()
    entries = [
        ("queries", f"{counts.total:,}"),
        ("models", _listed({subject.model for subject in subjects})),
        ("targets", _listed({subject.target for subject in subjects})),
        ("regions", _listed({region_name(result.region, result.clip) for result in results.results})),
        ("tie rules", _listed({result.tie for result in results.results})),
        ("time", f"{duration(results.seconds)} of wall-clock time, all queries together"),
    ]
    if (finished := results.finished()) is not None:
        entries += [("first verdict", moment(finished[0])), ("last verdict", moment(finished[1]))]
    if counts.misclassified:
        remark = (
            f"{counts.misclassified:,} of the {counts.violated:,} violated queries: the input itself is misclassified"
        )
        entries.insert(1, ("misclassified", remark))
    yield from facts(entries)


def _by_radius(results: Results) -> Iterator[str]:
    yield "<h2>Verdicts by radius</h2>"
    series = results.series()
    counts, varying = results.counts, results.varying()
    present = [state for state in charts.STACK if counts.state(state)]
    yield from _legend([(charts.state_swatch(state, name="legend"), str(state)) for state in present])
    yield '<div class="panels">'
    for number, one in enumerate(series):
        groups = [(radius, Counts.of(group)) for radius, group in one.by_radius()]
        name = series_name(one, varying=varying)
        bars = charts.verdict_bars(groups, name=f"bars {number}", label=f"Verdicts by radius: {name}; numbers below")
        yield f"<figure><figcaption>{escape(name)}</figcaption>{bars}</figure>"
    yield "</div>"
    headings = ("model", "target", "tie rule", "region", "radius", *(str(state) for state in State), "time")
    rows: list[Row] = []
    for one in series:
        region = region_name(one.region, one.clip)
        for radius, group in one.by_radius():
            numbers = [Counts.of(group).state(state) for state in State]
            seconds = sum(result.seconds for result in group)
            rows.append([one.subject.model, one.subject.target, one.tie, region, radius, *numbers, duration(seconds)])
    texts = ("model", "target", "tie rule", "region")
    yield from table(headings, rows, texts=texts, without=common_columns(varying))


def _times(results: Results) -> Iterator[str]:
    yield "<h2>Time per query</h2>"
    yield "<p>How many queries were decided in at most the time below, each by itself: the higher, the better. "
    yield "Queries that took less than 1 ms are drawn at 1 ms.</p>"
    end = charts.longest(results.results)
    subjects = results.subjects()
    if len(subjects) <= _TOGETHER:
        styles = {subject: charts.LineStyle(number) for number, subject in enumerate(subjects)}
        yield from _legend([(charts.line_swatch(style), str(subject)) for subject, style in styles.items()])
        lines = [(styles[subject], group) for subject, group in subjects.items()]
        plot = charts.cactus(
            lines, end=end, name="cactus", label="Queries decided by time, a line per model and target"
        )
        yield f'<figure class="single">{plot}</figure>'
        return
    yield from _times_by_model(subjects, end)


def _times_by_model(subjects: dict[Subject, tuple[Result, ...]], end: float) -> Iterator[str]:
    """Yield one figure per model, in which each target has the same line."""
    targets = list(dict.fromkeys(subject.target for subject in subjects))
    styles = {target: charts.LineStyle(number) for number, target in enumerate(targets)}
    yield from _legend([(charts.line_swatch(style), target) for target, style in styles.items()])
    yield '<div class="panels">'
    for number, model in enumerate(dict.fromkeys(subject.model for subject in subjects)):
        lines = [(styles[subject.target], group) for subject, group in subjects.items() if subject.model == model]
        label = f"Queries of {model} decided by time, a line per target"
        plot = charts.cactus(lines, end=end, name=f"cactus {number}", label=label)
        yield f"<figure><figcaption>{escape(model)}</figcaption>{plot}</figure>"
    yield "</div>"


def _stages(results: Results) -> Iterator[str]:
    yield "<h2>Deciding stages</h2>"
    yield "<p>The stage that decided, or the last one that was tried. <i>intervals</i> needs no solver.</p>"
    rows: list[Row] = []
    for (stage, solver), group in stages(results.answered()).items():
        counts, seconds = Counts.of(group), sorted(result.seconds for result in group)
        middle, total = seconds[len(seconds) // 2], sum(seconds)
        times = (duration(middle), duration(seconds[-1]), duration(total))
        rows.append([stage, solver or "none", counts.robust, counts.violated, counts.unknown, *times])
    headings = ("stage", "solver", "robust", "violated", "unknown", "median time", "longest", "all together")
    yield from table(headings, rows, texts=("stage", "solver"))


def _legend(entries: list[tuple[Markup, str]]) -> Iterator[str]:
    yield '<ul class="legend">'
    for sample, text in entries:
        yield f"<li>{_legend_entry(sample, text)}</li>"
    yield "</ul>"


def _legend_entry(sample: Markup, text: str) -> str:
    return f'<span class="swatch" aria-hidden="true">{sample}</span>{escape(text)}'


def _listed(names: set[str]) -> str:
    listed = ", ".join(sorted(names))
    return f"{len(names):,}: {listed}" if len(names) > 1 else listed
