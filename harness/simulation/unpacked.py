"""The agent's archive as code: compiled once, so that a process of a simulated device begins in a moment."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The ``code`` of an archive's modules by their names; as one of ``sys.meta_path`` it lets them be imported."""

    code: Mapping[str, CodeType]
    packages: frozenset[str]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is made, None for one of others."""
        loader: Any = self
        return ModuleSpec(name, loader, is_package=name in self.packages) if name in self.code else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return None: modules are as usual."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code."""
        exec(self.code[module.__name__], module.__dict__)


@lru_cache(maxsize=4)
def unpacked(archive: Path) -> Unpacked:
    """Return the modules of an archive, whose name tells its content."""
    code, packages = {}, set()
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.namelist():
            name = entry.removesuffix(".py").replace("/", ".")
            if name.endswith(".__init__"):
                name = name.removesuffix(".__init__")
                packages.add(name)
            code[name] = compile(packed.read(entry), f"{archive}/{entry}", "exec", dont_inherit=True)
    return Unpacked(code=code, packages=frozenset(packages))
