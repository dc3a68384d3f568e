"""Web pages that need nothing but themselves: they open offline, in light and dark, at any width, without scripts."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from html import escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing is fetched and nothing is executed, whatever a page's texts hold."""
Row = Sequence[str | int]
_CSS = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; --pass: #005b8f; --fail: #a63f00; }
@media (prefers-color-scheme: dark) { :root { --line: #484848; --soft: #242424; --pass: #6cc2f5; --fail: #ff9d5c; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; overflow-wrap: anywhere; }
.verdict { font-size: 1.25rem; font-weight: 700; padding: .6rem .8rem;
  border-left: .4rem solid; background: var(--soft); }
.pass { color: var(--pass); } .fail { color: var(--fail); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
figure { margin: .5rem 0; } svg { width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .875rem; }
dd { margin: 0; overflow-wrap: anywhere; } pre { overflow-x: auto; background: var(--soft); padding: .6rem; }
"""


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def page_head(title: str, *, css: str = "") -> Iterator[str]:
    """Yield the lines of a page up to its opened body; `css` is added to what all pages have."""
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_CSS}{css}</style></head><body>"


def table(
    headings: Sequence[str], rows: Iterable[Row], *, texts: Collection[str], without: Collection[str] = ()
) -> Iterator[str]:
    """Yield a table that scrolls within the page; the first cell of a row is its heading.

    Columns of words, named in `texts`, stand left; all others hold numbers and stand right.  Columns named in
    `without` are left out.
    """
    kept = [place for place, heading in enumerate(headings) if heading not in without]
    headings = [headings[place] for place in kept]
    kinds = [' class="text"' if heading in texts else "" for heading in headings]
    yield '<div class="wide" tabindex="0"><table><thead><tr>'
    for heading, kind in zip(headings, kinds, strict=True):
        yield f'<th scope="col"{kind}>{escape(heading)}</th>'
    yield "</tr></thead><tbody>"
    for row in rows:
        values = [row[place] for place in kept]
        first, *others = (f"{value:,}" if isinstance(value, int) else html(value) for value in values)
        cells = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds[1:], others, strict=True))
        yield f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def facts(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a list of names and what belongs to them."""
    yield "<dl>"
    for name, value in entries:
        yield f"<dt>{escape(name)}</dt><dd>{html(value)}</dd>"
    yield "</dl>"


def html(text: str) -> str:
    """Return a text as HTML."""
    return text if isinstance(text, Markup) else escape(text)
