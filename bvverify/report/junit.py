"""Results as JUnit XML, which the test views of continuous integration read.

Each model and target is a test suite and each query a test case, named by input, radius and whatever else tells it
from others.  Robust is a pass.  Violated is a failure of type `violated` or `misclassified`, whose text holds the
command that asks again.  Unknown and not yet asked are skipped tests with the reason: nothing was found wrong, and a
step that wants them to fail has the exit code of `bvverify run`.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree import ElementTree

from bvverify.report.results import Counts, Results, State, Subject
from bvverify.report.words import ask_again, input_name, what_happened
from bvverify.runs.store import Result

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, not even escaped."""


def junit_lines(results: Results) -> Iterator[str]:
    """Yield the lines of the XML file."""
    root = ElementTree.Element("testsuites", {"name": _text(f"bvverify: {results.file}"), **_numbers(results.results)})
    varying = results.varying()
    for subject, group in results.subjects().items():
        suite = _suite(subject, group)
        suite.extend(_case(subject, result, results, varying) for result in group)
        root.append(suite)
    ElementTree.indent(root)
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield ElementTree.tostring(root, encoding="unicode")


def _suite(subject: Subject, group: tuple[Result, ...]) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _text(str(subject)), **_numbers(group)})
    times = [result.finished for result in group if result.finished is not None]
    if times:
        suite.set("timestamp", datetime.fromtimestamp(min(times), tz=UTC).isoformat(timespec="seconds"))
    properties = ElementTree.SubElement(suite, "properties")
    first = group[0]
    for name in ("model", "model_sha256", "target", "runtime"):
        ElementTree.SubElement(properties, "property", name=name, value=_text(vars(first)[name]))
    return suite


def _case(subject: Subject, result: Result, results: Results, varying: set[str]) -> ElementTree.Element:
    further = [f"{name} {vars(result)[name]}" for name in ("tie", "region", "clip") if name in varying]
    name = ", ".join([f"{input_name(result)} radius {result.radius}", *further])
    case = ElementTree.Element(
        "testcase", classname=_text(str(subject)), name=_text(name), time=f"{result.seconds:.6f}"
    )
    state, message = State.of(result), _text(what_happened(result, results))
    if state in (State.VIOLATED, State.MISCLASSIFIED):
        failure = ElementTree.SubElement(case, "failure", type=str(state), message=message)
        failure.text = _text(f"{message}\nAsk again, where the files are: {ask_again(result)}")
    elif state in (State.UNKNOWN, State.UNASKED):
        ElementTree.SubElement(case, "skipped", message=message)
    return case


def _numbers(group: tuple[Result, ...]) -> dict[str, str]:
    counts = Counts.of(group)
    return {
        "tests": str(counts.total),
        "failures": str(counts.violated),
        "errors": "0",
        "skipped": str(counts.unknown + counts.unasked),
        "time": f"{sum(result.seconds for result in group):.6f}",
    }


def _text(text: str) -> str:
    """Return a text with U+FFFD in place of characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
