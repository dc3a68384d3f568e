"""The report as a web page that needs nothing but itself."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from bvverify.report.page import page_head
from harness.conform.certificate import Conformance, cpu_model, versions
from harness.conform.plots import layer_plot
from harness.conform.records import LayerReport


def report_page(outcome: Conformance, *, folder: Path) -> Iterator[str]:
    """Yield the lines of the page for one model on one target; `folder` holds the outcome's case files."""
    title = f"{outcome.subject.deployed.name} on {outcome.subject.target}"
    yield from page_head(title)
    yield f"<h1>{escape(title)}</h1>"
    yield from _verdict(outcome)
    for name in outcome.case_files:
        yield f"<h2>Reproducer: <code>{escape(name)}</code></h2>"
        if name.endswith(".json"):
            yield f"<pre>{escape((folder / name).read_text(encoding='utf-8'))}</pre>"
    yield "<h2>Layers</h2>"
    yield from _layer_table(outcome)
    for layer in outcome.layers:
        yield f"<h2>{escape(layer.name)}: {escape(layer.kind)}</h2>"
        yield f"<p>{escape(layer_line(layer))}</p>"
        if layer.alone.compared:
            yield f"<figure>{layer_plot(layer)}</figure>"
    yield from _facts(outcome)
    yield "</body></html>"


def index_page(outcomes: Sequence[Conformance], refusals: dict[str, str], folders: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the page that leads to several targets' reports, which lie in `folders`."""
    title = outcomes[0].subject.deployed.name if outcomes else "no target"
    yield from page_head(title)
    yield f"<h1>{escape(title)}</h1>"
    yield '<div class="wide"><table><tr><th>target</th><th>verdict</th><th>bytes compared</th><th>different</th>'
    yield "<th>sides met</th></tr>"
    for outcome in outcomes:
        target, total = str(outcome.subject.target), outcome.compared
        yield f'<tr><td><a href="{escape(folders[target])}/index.html">{escape(target)}</a></td>'
        yield f"<td>{_mark(outcome)}</td><td>{total.compared:,}</td><td>{total.different:,}</td>"
        yield f"<td>{percent(outcome.coverage.fraction)}</td></tr>"
    for target, reason in refusals.items():
        yield f'<tr><td>{escape(target)}</td><td class="text" colspan="4">not run: {escape(reason)}</td></tr>'
    yield "</table></div></body></html>"


def percent(fraction: float) -> str:
    """Return a percentage that says 100 only for everything."""
    return "100 %" if fraction == 1 else f"{min(fraction * 100, 99.99):.2f} %"


def layer_line(layer: LayerReport) -> str:
    """Return what was found about a layer, in words."""
    parts = [f"{layer.whole.compared:,} bytes within the script, {layer.whole.different:,} different."]
    if layer.not_alone is not None:
        parts.append(f"Not run alone: {layer.not_alone}.")
    elif layer.rejected is not None:
        parts.append(f"Alone, the kernel rejected an input: {layer.rejected}.")
    else:
        parts.append(f"{layer.alone.compared:,} bytes alone, {layer.alone.different:,} different.")
    if (count := layer.coverage) is not None:
        parts.append(
            f"Thresholds: {count.hit:,} of {count.reachable:,} reachable sides met ({percent(count.fraction)}), "
            f"{count.missed:,} missed, {count.unreachable:,} proved unreachable."
        )
    return " ".join(parts)


def verdict_line(outcome: Conformance) -> str:
    """Return PASS or FAIL with the first differing byte."""
    total = outcome.compared
    if outcome.passed:
        return f"PASS: {total.compared:,} bytes, all as predicted; {percent(outcome.coverage.fraction)} of sides met"
    difference = outcome.first_difference
    if difference is None:
        layer = next(layer for layer in outcome.layers if layer.rejected)
        return f"FAIL: layer {layer.name}: the kernel gave no bytes: {layer.rejected}"
    where = "alone" if difference.alone else "within the script"
    place = ", ".join(str(index) for index in difference.position)
    return (
        f"FAIL: {total.different:,} of {total.compared:,} bytes differ; first: layer {difference.layer} ({where}), "
        f"position ({place}), predicted {difference.predicted}, kernel {difference.kernel}"
    )


def _verdict(outcome: Conformance) -> Iterator[str]:
    kind = "pass" if outcome.passed else "fail"
    yield f'<p class="verdict {kind}">{escape(verdict_line(outcome))}</p>'


def _mark(outcome: Conformance) -> str:
    return '<span class="pass">PASS</span>' if outcome.passed else '<span class="fail">FAIL</span>'


def _layer_table(outcome: Conformance) -> Iterator[str]:
    yield '<div class="wide"><table><tr><th>layer</th><th>bytes in script</th><th>bytes alone</th><th>different</th>'
    yield "<th>sides met</th><th>of reachable</th><th>missed</th><th>unreachable</th></tr>"
    for layer in outcome.layers:
        sides = "<td></td>" * 4
        if (count := layer.coverage) is not None:
            numbers = (count.hit, count.reachable, count.missed, count.unreachable)
            sides = "".join(f"<td>{number:,}</td>" for number in numbers)
        yield f"<tr><td>{escape(layer.name)}</td><td>{layer.whole.compared:,}</td><td>{layer.alone.compared:,}</td>"
        yield f"<td>{layer.whole.different + layer.alone.different:,}</td>{sides}</tr>"
    yield "</table></div>"


def _facts(outcome: Conformance) -> Iterator[str]:
    deployed, target = outcome.subject.deployed, outcome.subject.target
    forced = " ".join(f"{name}={value}" for name, value in target.environment().items())
    facts = {
        "model, SHA-256": deployed.digest,
        **({"expected, SHA-256": outcome.expected.digest} if outcome.expected else {}),
        "target": f"{target}, {target.runtime}",
        "environment": forced or "nothing to force",
        "CPU": cpu_model(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "seed": str(outcome.settings.seed),
        "inputs": _inputs(outcome),
        "seconds": f"{outcome.seconds:.1f}",
    }
    yield "<h2>How this was made</h2><dl>"
    for name, value in facts.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"


def _inputs(outcome: Conformance) -> str:
    settings = outcome.settings
    real = f", {settings.inputs_count:,} from {settings.inputs}" if settings.inputs else ""
    return (
        f"{settings.samples:,} random and extreme ones{real}; for each layer alone, ones constructed for its thresholds"
    )
