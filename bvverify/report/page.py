"""Web pages that need nothing but themselves: they open offline, in light and dark, at any width."""

from collections.abc import Iterator
from html import escape

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
th:first-child, td:first-child, td.text { text-align: left; }
figure { margin: .5rem 0; } svg { width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .875rem; }
dd { margin: 0; overflow-wrap: anywhere; } pre { overflow-x: auto; background: var(--soft); padding: .6rem; }
"""


def page_head(title: str) -> Iterator[str]:
    """Yield the lines of a page up to its opened body."""
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{_CSS}</style></head><body>"
