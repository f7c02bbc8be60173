"""The house rules that a tool can check; the import contracts stand in pyproject.toml and run as `lint-imports`."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
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


@cache
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


def is_too_long(path: Path) -> Iterator[str]:
    lines = path.read_text(encoding="utf-8").count("\n")
    if lines > MOST_FILE_LINES:
        yield f"{lines} lines; at most {MOST_FILE_LINES}"
    for function in functions_of(tree_of(path)):
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > MOST_FUNCTION_LINES:
            yield f"{function.name} has {length} lines; at most {MOST_FUNCTION_LINES}"


def has_no_noun_in_its_name(path: Path) -> Iterator[str]:
    for part in (*path.relative_to(ROOT).parts[:-1], path.stem):
        if NAMES_WITHOUT_A_NOUN & set(part.lower().split("_")):
            yield f"'{part}' says nothing about what is in it"


def builds_what_a_user_reads(path: Path) -> Iterator[str]:
    """Exceptions of ours are built in the errors of a room alone; to catch them, raise a given one or read an exit code
    is free."""
    tree = tree_of(path)
    imported = [name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names]
    alias = {name.asname or name.name for name in imported if name.name in EXCEPTIONS} | EXCEPTIONS
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
        if name in alias:
            yield f"line {call.lineno} builds {name}: give it a function in the errors of this room"


def does_not_say_what_it_is_for(path: Path) -> Iterator[str]:
    opening = (ast.get_docstring(tree_of(path)) or "").partition("\n\n")[0]
    if not opening.endswith((".", ":")):
        yield "the module does not open with a sentence" if opening else "the module has no docstring"


def names_one_machine(path: Path) -> Iterator[str]:
    if found := MACHINE_PATHS.search(path.read_text(encoding="utf-8")):
        yield f"'{found.group()}' is a path of one machine"


def does_not_stand_alone(path: Path) -> Iterator[str]:
    """The agent runs on whatever Python a board has, with nothing installed but the runtime it measures."""
    try:
        ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path), feature_version=(3, 6))
    except SyntaxError as fault:
        yield f"line {fault.lineno} is not Python 3.6: {fault.msg}"
    own = {entry.stem for entry in AGENT.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    allowed = (set(sys.stdlib_module_names) - NEWER_THAN_3_6 | own) - {"ofa", "harness"}
    yield from (f"it imports {name}" for name in sorted(imported_by(tree_of(path)) - allowed))


def imports_the_agent(path: Path) -> Iterator[str]:
    yield from (f"it imports {name}" for name in sorted({"devices", "agent"} & imported_by(tree_of(path))))


Rule = Callable[[Path], Iterator[str]]
RULES: dict[Rule, list[Path]] = {
    is_too_long: [*SOURCES, *TESTS],
    has_no_noun_in_its_name: [*SOURCES, *TESTS],
    builds_what_a_user_reads: [path for path in SOURCES if path.name not in MESSAGES],
    does_not_say_what_it_is_for: [*SOURCES, *TESTS],
    names_one_machine: [*TEXTS, *(path for path in TESTS if path != Path(__file__).resolve())],
    does_not_stand_alone: sorted(AGENT.rglob("*.py")),
    imports_the_agent: [path for path in SOURCES if AGENT not in path.parents],
}


@pytest.mark.parametrize("wrong", RULES, ids=lambda wrong: wrong.__name__)
def test_of_no_file_is_it_true_that_it(wrong: Rule) -> None:
    found = [f"{name_of(path)}: {why}" for path in RULES[wrong] for why in wrong(path)]
    assert not found, "\n".join(found)


@pytest.mark.slow
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
