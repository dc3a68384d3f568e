"""A mutant: one mistake, as replacements of text in one source file."""

import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bvverify.errors import InputError
from harness.records import checked_object, from_json

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Edit:
    """One replacement: `old` occurs exactly once in the file."""

    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    name: str
    group: str
    """The table that it comes from."""
    file: str
    """Path of the mutated source, relative to the repository."""
    description: str
    """What the mistake is, in one line."""
    edits: tuple[Edit, ...]

    @property
    def module(self) -> str:
        """Dotted name of the mutated module."""
        return ".".join(Path(self.file).with_suffix("").parts).removesuffix(".__init__")

    def source(self, root: Path = ROOT) -> str:
        """Return the mutated source.  Raises `InputError` if a snippet does not occur exactly once."""
        path = root / self.file
        if not path.is_file():
            raise InputError(f"mutant {self.name}: {self.file} does not exist")
        text = path.read_text(encoding="utf-8")
        for edit in self.edits:
            if (count := text.count(edit.old)) != 1:
                first = edit.old.strip().splitlines()[0]
                raise InputError(f"mutant {self.name}: '{first}' occurs {count} times in {self.file}, expected once")
            text = text.replace(edit.old, edit.new)
        return text


def load_mutants(folder: Path = TABLES) -> list[Mutant]:
    """Return the mutants of all tables, in the order of files and entries."""
    mutants = [mutant for path in sorted(folder.glob("*.toml")) for mutant in _table(path)]
    repeated = [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1]
    if repeated:
        raise InputError(f"{folder}: mutant '{repeated[0]}' is there twice; names must differ")
    return mutants


def _table(path: Path) -> list[Mutant]:
    """Read `[[mutant]]` entries with either `old` and `new`, or several `[[mutant.edit]]`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {error}") from error
    return [_mutant(entry, path.stem, f"{path}: mutant[{index}]") for index, entry in enumerate(document["mutant"])]


def _mutant(entry: object, group: str, where: str) -> Mutant:
    required = {"name", "file", "description"}
    given = checked_object(entry, where, required=required, optional={"old", "new", "edit"})  # type: ignore[arg-type]  # TOML's values are JSON's
    edits = given.get("edit", [{"old": given.get("old"), "new": given.get("new")}])
    return Mutant(
        name=from_json(str, given["name"], f"{where}.name"),
        group=group,
        file=from_json(str, given["file"], f"{where}.file"),
        description=from_json(str, given["description"], f"{where}.description"),
        edits=from_json(tuple[Edit, ...], edits, f"{where}.edit"),
    )
