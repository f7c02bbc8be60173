"""The house rules that a tool can check; the import contracts stand in pyproject.toml and run as `lint-imports`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ofa import errors

ROOT = Path(__file__).resolve().parents[1]
AGENT = ROOT / "devices" / "agent"
SOURCES = sorted(path for room in ("ofa", "harness", "devices", "benchmarks") for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "*.toml",
        "*.ini",
        "*.txt",
        "ofa/**/*",
        "harness/**/*",
        "devices/**/*",
        "docs/**/*",
        "benchmarks/**/*",
        "luts/**/*",
    )
    for path in ROOT.glob(pattern)
    if path.suffix in {".py", ".md", ".toml", ".ini", ".txt", ".html", ".css", ".js", ".json", ".csv", ".jinja"}
)

MOST_FILE_LINES = 400
MOST_FUNCTION_LINES = 50
NAMES_WITHOUT_A_NOUN = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}
# Modules of the standard library that Python 3.6 does not have.
NEWER_THAN_3_6 = {"contextvars", "dataclasses", "graphlib", "tomllib", "zoneinfo"}
MACHINE_PATHS = re.compile(r"/(?:home/\w|root/|work/|Users/\w)|\bshared/(?:data|design)")

# The rooms of sentences; every other module calls their functions.
MESSAGES = {"errors.py", "refusals.py"}
EXCEPTIONS = {name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def functions_of(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported_by(tree: ast.Module) -> set[str]:
    """Return the first names of all modules a file imports anywhere."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 40 and len(TEXTS) > len(SOURCES) and AGENT / "__main__.py" in SOURCES


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_files_and_functions_stay_short(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_FILE_LINES, f"{lines} lines; at most {MOST_FILE_LINES}"
    for function in functions_of(tree_of(path)):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= MOST_FUNCTION_LINES, f"{function.name} has {length} lines; at most {MOST_FUNCTION_LINES}"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_rooms_have_nouns(path: Path) -> None:
    for part in (*path.relative_to(ROOT).parts[:-1], path.stem):
        assert not NAMES_WITHOUT_A_NOUN & set(part.lower().split("_")), f"'{part}' says nothing about what is in it"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name not in MESSAGES], ids=name_of)
def test_what_a_user_reads_stands_in_the_errors_of_its_room(path: Path) -> None:
    """Exceptions of ours are built there alone; to catch them, raise a given one or read an exit code is free."""
    tree = tree_of(path)
    imported = [name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names]
    alias = {name.asname or name.name for name in imported if name.name in EXCEPTIONS} | EXCEPTIONS
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
        assert name not in alias, f"line {call.lineno} builds {name}: give it a function in the errors of this room"


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_modules_say_what_they_are_for(path: Path) -> None:
    opening = (ast.get_docstring(tree_of(path)) or "").partition("\n\n")[0]
    assert opening, "the module has no docstring"
    assert opening.endswith((".", ":")), "the module does not open with a sentence"


@pytest.mark.parametrize("path", [*TEXTS, *(path for path in TESTS if path != Path(__file__).resolve())], ids=name_of)
def test_no_path_of_one_machine(path: Path) -> None:
    found = MACHINE_PATHS.search(path.read_text(encoding="utf-8"))
    assert not found, f"'{found.group() if found else ''}' is a path of one machine"


@pytest.mark.parametrize("path", sorted(AGENT.rglob("*.py")), ids=lambda path: path.relative_to(AGENT).as_posix())
def test_the_agent_stands_alone(path: Path) -> None:
    """It runs on whatever Python a board has, with nothing installed but the runtime it measures."""
    text = path.read_text(encoding="utf-8")
    ast.parse(text, filename=name_of(path), feature_version=(3, 6))
    own = {entry.stem for entry in AGENT.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    allowed = (set(sys.stdlib_module_names) - NEWER_THAN_3_6 | own) - {"ofa", "harness"}
    assert imported_by(tree_of(path)) <= allowed


@pytest.mark.parametrize("path", [path for path in SOURCES if AGENT not in path.parents], ids=name_of)
def test_nobody_imports_the_agent(path: Path) -> None:
    assert not {"devices", "agent"} & imported_by(tree_of(path))


@pytest.mark.parametrize("room", ["space", "lut", "estimate", "twins", "search"])
def test_rooms_beside_the_network_load_without_torch(room: str) -> None:
    assert "torch" not in modules_after(f"import pkgutil, importlib, ofa.{room} as room\n" + LOAD_ALL)


def test_the_bench_host_loads_without_torch() -> None:
    assert "torch" not in modules_after("import pkgutil, importlib, harness as room\n" + LOAD_ALL)


def test_help_loads_nothing_heavy() -> None:
    loaded = modules_after("from harness.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert {"typer", "harness", "ofa"} <= loaded
    assert not loaded & {"torch", "xgboost", "numpy", "scipy", "sklearn", "onnx", "onnxruntime", "pydantic", "plotly"}


LOAD_ALL = """
for found in pkgutil.walk_packages(getattr(room, "__path__", []), room.__name__ + "."):
    importlib.import_module(found.name)
"""


def modules_after(code: str) -> set[str]:
    """Return the first names of all modules loaded after some code ran in a fresh interpreter."""
    tail = "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())
