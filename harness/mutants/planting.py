"""Importing a mutated module in place of the one on disk, which stays as it is."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType


def plant(module: str, source: str) -> None:
    """Make later imports of `module` run `source`; the module must not have been imported yet."""
    if module in sys.modules:
        raise ImportError(f"{module} was imported before its mutant was planted")
    sys.meta_path.insert(0, _Finder(module, source))


class _Finder(MetaPathFinder):
    def __init__(self, module: str, source: str) -> None:
        self._module, self._source = module, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            raise ImportError(f"{fullname}: no such module to mutate")
        spec.loader = _Loader(fullname, spec.origin, self._source)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._mutated = source

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the mutated text; no compiled file is read or written."""
        return compile(self._mutated, self.get_filename(fullname), "exec", dont_inherit=True)
