"""The command `ofa`: what it prints where, and with which exit code it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from harness import cli
from ofa import errors

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return a function that makes 'ofa space list' fail in a given way."""

    def install(fault: BaseException) -> None:
        def raise_it() -> None:
            raise fault

        monkeypatch.setattr("ofa.space.names", raise_it)

    return install


def test_help_names_every_exit_code(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    codes = {fault.exit_code for fault in cli._tree(errors.OfaError)} | {0, 1}
    shown = " ".join(out.split())
    assert {int(number) for number in re.findall(r"(?:codes:|·) (\d+) ", shown)} == codes
    assert "6 no subnet of the space meets the limits" in shown


def test_every_verb_has_help(run: Run) -> None:
    code, out, _ = run("space", "--help")
    assert code == 0 and {"list", "facts", "sample"} <= set(out.split())


def test_a_wrong_command_is_usage(run: Run) -> None:
    sample = ("space", "sample", "mobilenet_v3", "--count")
    for arguments in (("nonsense",), ("space", "facts"), (*sample, "0"), (*sample, "10001")):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and err


@pytest.mark.parametrize("fault", list(cli._tree(errors.OfaError)), ids=lambda fault: fault.__name__)
def test_each_error_ends_with_its_code_and_its_three_parts(
    fault: type[errors.OfaError], run: Run, failing: Callable[[BaseException], None]
) -> None:
    failing(fault("a 'thing' happened", why="because", hint=("one", "two")))
    code, out, err = run("space", "list")
    assert (code, out) == (fault.exit_code, "")
    assert err == "error: a 'thing' happened\n  why: because\n  try: one\n       two\n"


def test_a_bug_is_ours_and_kept_in_a_log(run: Run, failing: Callable[[BaseException], None], tmp_path: Path) -> None:
    failing(ZeroDivisionError("no such ratio"))
    code, out, err = run("space", "list")
    assert (code, out) == (1, "") and "Traceback" not in err
    assert "bug of ours" in err and "ZeroDivisionError: no such ratio" in err
    log = Path(re.findall(r"'([^']+\.txt)'", err)[0]).read_text()
    assert "Traceback" in log and "raise fault" in log


def test_a_bug_whose_log_cannot_be_written_is_told_all_the_same(
    run: Run, failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("OFA_CACHE", str(tmp_path / "file"))
    failing(ZeroDivisionError("no such ratio"))
    code, out, err = run("space", "list")
    assert (code, out) == (1, "") and "Traceback" not in err
    assert "ZeroDivisionError: no such ratio" in err and "no log could be written: Not a directory" in err


def test_a_path_the_system_refuses_is_no_bug_of_ours(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, out, err = run("demo", "--out", str(tmp_path / "file"))
    assert (code, out) == (3, "") and str(tmp_path / "file") in err and "try:" in err and "Traceback" not in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_no_bug_of_ours(run: Run, failing: Callable[[BaseException], None]) -> None:
    failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    code, out, err = run("space", "list")
    assert (code, out) == (3, "") and "No space left" in err and "bug of ours" not in err


def test_debug_prints_the_traceback(run: Run, failing: Callable[[BaseException], None]) -> None:
    failing(errors.FileInvalid("a table is wrong"))
    code, _, err = run("--debug", "space", "list")
    assert code == 3 and "Traceback" in err and err.endswith("error: a table is wrong\n")


def test_a_missing_package_is_named_with_its_extra(run: Run, failing: Callable[[BaseException], None]) -> None:
    failing(ModuleNotFoundError("No module named 'xgboost'", name="xgboost"))
    code, _, err = run("space", "list")
    assert code == 8 and "'xgboost' is not installed" in err and f"try: {errors.install('search')}" in err


def test_an_extra_is_installed_from_a_checkout_since_nothing_was_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "ofa" / "errors.py"
    monkeypatch.setattr(errors, "__file__", str(copy))
    assert errors.install("search").startswith("pip install '.[search]' in the checkout")
    (tmp_path / "pyproject.toml").touch()
    assert errors.install("search") == f"pip install -e '{tmp_path}[search]'"


def test_an_interrupt_says_how_to_go_on(run: Run, failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    code, out, err = run("space", "list")
    assert (code, out) == (130, "") and err.startswith("error: interrupted\n  try: run the same command again")


def test_version(run: Run) -> None:
    try:
        installed = metadata.version("ofa-lab")
    except metadata.PackageNotFoundError:
        pytest.skip("the package 'ofa-lab' is not installed: this is a bare checkout")
    assert run("--version")[:2] == (0, f"ofa-lab {installed}\n")


def test_space_list(run: Run) -> None:
    code, out, _ = run("space", "list", "--json")
    assert code == 0
    found = {row["name"] for row in json.loads(out)}
    mobile = {"mobilenet_v3", "mobilenet_v3_lite", "mobilenet_v3_tiny", "mobilenet_v3_tiny_lite"}
    assert found == mobile | {"proxyless", "resnet50"}
    code, out, _ = run("space", "list")
    assert code == 0 and "mobilenet_v3_tiny" in out


@pytest.mark.parametrize(
    "arguments", [("mobilenet_v3", "--width", "1.2"), ("mobilenet_v3_tiny", "--channels", "1", "--classes", "10")]
)
def test_space_facts(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run("space", "facts", *arguments, "--json")
    assert (code, err) == (0, "") and "max" in out and isinstance(json.loads(out), dict)
    facts = json.loads(out)
    code, out, err = run("space", "facts", *arguments)
    assert (code, err) == (0, "") and "macs" in out.lower() and "{" not in out
    rows = [line.split() for line in out.splitlines()]
    for name in ("macs", "peak_activation_bytes"):
        by_px = facts["corners"]["max"][name]
        assert list(by_px) in rows and ["max", *(f"{value:,}" for value in by_px.values())] in rows


def test_space_sample_depends_on_its_seed_alone(run: Run) -> None:
    command = ("space", "sample", "mobilenet_v3_tiny", "-n", "3", "--json", "--seed")
    first, again, other = (run(*command, seed)[1] for seed in ("1", "1", "2"))
    assert first == again != other
    subnets = json.loads(first)
    assert len({subnet["id"] for subnet in subnets}) == 3 and all("depths" in subnet for subnet in subnets)
    assert run("space", "sample", "mobilenet_v3_tiny")[0] == 0


def test_an_unknown_space_names_the_known(run: Run) -> None:
    code, out, err = run("space", "facts", "mobilenet_v33")
    assert code in {2, 3} and out == "" and "'mobilenet_v33'" in err and "mobilenet_v3" in err and "try:" in err


def test_lut_verbs_and_report_refuse_what_is_not_theirs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    for arguments in (
        ("lut", "check", str(tmp_path)),
        ("lut", "show", str(tmp_path / "absent")),
        ("report", str(tmp_path)),
        ("report", str(tmp_path / "absent")),
        ("report", "compare", str(tmp_path / "absent"), str(tmp_path / "run.json")),
        ("estimate", "--lut", str(tmp_path), "--subnets", str(tmp_path / "run.json")),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (3, "") and "why:" in err and "try:" in err and "Traceback" not in err, arguments


def test_a_report_is_of_one_run_or_of_two(run: Run, tmp_path: Path) -> None:
    told = {"compare a": "of two runs, tables or searches; 1 was given", "a b": "of one folder; 2 were given"}
    for paths in (("a", "b"), ("compare", "a"), ("with", "a", "b"), ("compare", "a", "b", "c")):
        code, out, err = run("report", *paths)
        assert told.get(" ".join(paths), "") in err
        assert (code, out) == (2, "") and "ofa report compare runs/first runs/second" in err and "Traceback" not in err


def test_ops_are_listed_by_key(run: Run) -> None:
    code, out, _ = run("space", "ops", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10", "--json")
    found = json.loads(out)
    assert code == 0 and len(found) == 260 and all(op["macs"] > 0 and op["key"].endswith(".n1") for op in found)


@pytest.mark.slow
@pytest.mark.parametrize("lean", [True, False])
def test_trees_begin_without_scikit_learn_which_others_still_get(lean: bool) -> None:
    begun = "from harness.cli import Lean; sys.meta_path.insert(0, Lean()); " if lean else ""
    code = f"import sys; {begun}import xgboost; print('sklearn' in sys.modules); import sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(not lean)
