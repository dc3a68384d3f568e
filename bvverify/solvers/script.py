"""Reading the outline of an SMT-LIB 2 script: which commands it holds, before any solver sees it.

The solvers' own parsers differ in what they skip, stop at or merely warn about. So the outline is read here, once for
all of them: it accepts a plain script of declarations, definitions and assertions with one `(check-sat)` behind them,
and refuses everything else. The terms themselves are read by the solver's parser alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bvverify.errors import UsageError

LOGICS = ("QF_BV", "QF_BVFP", "QF_FP")

_SUPPORTED = (
    "set-info, set-logic, set-option :produce-models, declare-const, declare-fun, define-fun, assert, check-sat, "
    "get-value, get-model, exit"
)
_OUTLINE = re.compile(r'\(|\)|;[^\n]*|"[^"]*"|\|[^|]*\||["|]')
_HEAD = re.compile(r"\(\s*([^\s()|\";]+)")
_TOKEN = re.compile(r'[()]|;[^\n]*|"[^"]*"|\|[^|]*\||[^\s()|";]+')
_CONSTANT = re.compile(
    r"\( declare-(?:const|fun) (\|[^|]*\||[^ ()]+) (?:\( \) )?(Bool|\( _ BitVec (\d+) \)|.+) \)", re.DOTALL
)
_DEFINITION = re.compile(r'\(\s*define-fun\s+(\|[^|]*\||[^\s()|";]+)')
_NOT_NEWLINE = re.compile(r"[^\n]")


@dataclass(frozen=True)
class Script:
    """A script whose outline is in order.

    `text` holds the logic, declarations, definitions and assertions only, each at its place in the original, so that
    the positions in a parser's messages are true. `assertions` counts them. `widths` maps each declared Boolean (0) or
    bit-vector (its width) to its width, by its name without bars.
    """

    text: str
    logic: str
    assertions: int
    widths: dict[str, int]


def plain_name(symbol: str) -> str:
    """Strip the bars that SMT-LIB may write around a symbol: `|x|` and `x` are the same symbol."""
    return symbol[1:-1] if len(symbol) > 1 and symbol[0] == symbol[-1] == "|" else symbol


def read_script(text: str) -> Script:
    """Read the outline of `text`. A script without `(set-logic ...)` is read as QF_BV.

    UsageError with the line for an unbalanced or unfinished command, a command that is not supported, a symbol declared
    twice, or a script that does not end in exactly one `(check-sat)` (with `get-value`, `get-model` and `exit` allowed
    behind it).
    """
    reader = _Reader(text)
    for start, end in _commands(text):
        reader.take(start, end)
    return reader.finish()


def _commands(text: str) -> list[tuple[int, int]]:
    """Find where each top-level command begins and ends."""
    spans: list[tuple[int, int]] = []
    depth = start = done = 0
    for match in _OUTLINE.finditer(text):
        kind = text[match.start()]
        if depth == 0:
            if text[done : match.start()].strip() or kind not in "(;":
                raise _stray(text, done)
            done = match.end()
        if kind == "(":
            if depth == 0:
                start = match.start()
            depth += 1
        elif kind == ")":
            depth -= 1
            if depth == 0:
                done = match.end()
                spans.append((start, done))
        elif match.end() - match.start() == 1 and kind in '"|':
            raise _error(text, match.start(), f"{kind} is never closed")
    if depth:
        raise _error(text, start, "the command is never closed")
    if text[done:].strip():
        raise _stray(text, done)
    return spans


def _stray(text: str, start: int) -> UsageError:
    while text[start].isspace():
        start += 1
    return _error(text, start, "expected a command in parentheses")


def _error(text: str, position: int, message: str) -> UsageError:
    return UsageError(f"SMT-LIB script, line {text.count(chr(10), 0, position) + 1}: {message}")


class _Reader:
    """Takes the commands one by one and keeps the state in which the next one must fit."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._kept: list[str] = []
        self._copied = 0
        self._logic: str | None = None
        self._started = self._checked = self._exited = False
        self._assertions = 0
        self._declared: set[str] = set()
        self._widths: dict[str, int] = {}

    def take(self, start: int, end: int) -> None:
        head = _HEAD.match(self._text, start, end)
        name = head[1] if head else ""
        if self._exited:
            raise _error(self._text, start, "nothing may follow (exit)")
        match name:
            case "set-logic":
                self._set_logic(start, end)
                self._keep(start, end)
            case "declare-const" | "declare-fun":
                self._problem(start, name)
                self._declare(start, end)
                self._keep(start, end)
            case "define-fun":
                self._problem(start, name)
                self._define(start, end)
                self._keep(start, end)
            case "assert":
                self._problem(start, name)
                self._assertions += 1
                self._keep(start, end)
            case "check-sat":
                self._problem(start, name)
                self._exactly(start, end, ["check-sat"])
                self._checked = True
            case "get-value" | "get-model":
                if not self._checked:
                    raise _error(self._text, start, f"{name} before (check-sat)")
            case "exit":
                self._exactly(start, end, ["exit"])
                self._exited = True
            case "set-option":
                self._set_option(start, end)
            case "set-info":
                pass
            case _:
                raise _error(self._text, start, f"command {name!r} is not supported; supported: {_SUPPORTED}")

    def finish(self) -> Script:
        if not self._checked:
            raise UsageError("SMT-LIB script: there is no (check-sat), so nothing shows that the script is complete")
        text = "".join(self._kept)
        if self._logic is None:
            text = "(set-logic QF_BV)" + text
        return Script(text, self._logic or "QF_BV", self._assertions, self._widths)

    def _keep(self, start: int, end: int) -> None:
        """Copy a command; what lies between the last copied one and it becomes white space."""
        self._kept.append(_NOT_NEWLINE.sub(" ", self._text[self._copied : start]))
        self._kept.append(self._text[start:end])
        self._copied = end

    def _problem(self, start: int, name: str) -> None:
        if self._checked:
            raise _error(self._text, start, f"{name} after (check-sat): only one question per script")
        self._started = True

    def _tokens(self, start: int, end: int) -> list[str]:
        return [token for token in _TOKEN.findall(self._text, start, end) if not token.startswith(";")]

    def _exactly(self, start: int, end: int, inside: list[str]) -> None:
        if self._tokens(start, end) != ["(", *inside, ")"]:
            raise _error(self._text, start, f"expected ({' '.join(inside)})")

    def _set_logic(self, start: int, end: int) -> None:
        tokens = self._tokens(start, end)
        if self._logic is not None or self._started:
            raise _error(self._text, start, "set-logic belongs at the start, once")
        if len(tokens) != 4 or tokens[2] not in LOGICS:
            raise _error(self._text, start, f"logic not supported; supported: {', '.join(LOGICS)}")
        self._logic = tokens[2]

    def _set_option(self, start: int, end: int) -> None:
        tokens = self._tokens(start, end)
        if len(tokens) != 5 or tokens[2] != ":produce-models":
            raise _error(self._text, start, "of the options only :produce-models may be set in a script")

    def _declare(self, start: int, end: int) -> None:
        match = _CONSTANT.fullmatch(" ".join(self._tokens(start, end)))
        if match is None:
            raise _error(self._text, start, "expected a declaration with a name and a sort")
        name = self._new_name(match[1], start)
        if match[2] == "Bool":
            self._widths[name] = 0
        elif match[3]:
            self._widths[name] = int(match[3])

    def _define(self, start: int, end: int) -> None:
        match = _DEFINITION.match(self._text, start, end)
        if match is None:
            raise _error(self._text, start, "expected a definition with a name")
        self._new_name(match[1], start)

    def _new_name(self, symbol: str, start: int) -> str:
        name = plain_name(symbol)
        if name in self._declared:
            raise _error(self._text, start, f"{name!r} is declared twice")
        self._declared.add(name)
        return name
