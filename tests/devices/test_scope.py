"""Where logging out would end a worker it is given to the user's own service manager; stand-ins for systemd's programs.

They are test code: the one for `systemd-run` writes down how it was called and becomes the command, as `--scope` does.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

JOB = "0123456789abcdef" * 2
QUICK = {"do": "footprint", "runtime": "bogus", "file": "empty", "threads": 1, "kernels": "default"}
KILLS = 'b true\nas 0\nas 1 "somebody-else"'
RUNS = """printf '%s\\n' "$@" >> {called}; echo >> {called}
while [ "$1" != "--" ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def system(tmp_path: Path) -> Callable[[str, str], tuple[Path, Path]]:
    """Return a maker of a system's programs: what logind says of itself, and what `systemd-run` does."""

    def make(logind: str, runs: str = RUNS) -> tuple[Path, Path]:
        root, called = tmp_path / "system", tmp_path / "called"
        (root / "usr/bin").mkdir(parents=True)
        for name, text in (
            ("busctl", f"cat <<'END'\n{logind}\nEND\n"),
            ("systemd-run", runs.format(called=called)),
        ):
            (root / "usr/bin" / name).write_text(f"#!/bin/sh\n{text}")
            (root / "usr/bin" / name).chmod(0o700)
        return root, called

    return make


@pytest.fixture
def agent(python: str, agent_archive: Path, tmp_path: Path) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Return a function that asks a fresh agent, which is in a login session, for some things."""
    files = tmp_path / "device" / "files"
    files.mkdir(parents=True)
    started: list[subprocess.Popen[bytes]] = []

    def ask(root: Path, requests: list[dict[str, Any]], **environment: str) -> list[dict[str, Any]]:
        variables = {"OFA_AGENT_ROOT": str(root), "PATH": "/usr/bin:/bin", "XDG_SESSION_ID": "7", **environment}
        process = subprocess.Popen(
            [python, str(agent_archive), "--files", str(files)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables,
        )  # fmt: skip
        started.append(process)
        assert process.stdin is not None and process.stdout is not None
        found = []
        for number, request in enumerate(requests):
            process.stdin.write(json.dumps({"id": number, **request}).encode() + b"\n")
            process.stdin.flush()
            found.append(json.loads(process.stdout.readline()))
        return found

    yield ask
    for process in started:
        process.kill()
        process.wait()


def begin(number: int) -> dict[str, Any]:
    return {"do": "start", "job": f"{number:032x}", "work": QUICK, "cap_s": 60}


def journal(tmp_path: Path, number: int) -> list[str]:
    """Return the kinds of records of a job, once it has ended."""
    path = tmp_path / "device" / "jobs" / f"{number:032x}" / "journal.jsonl"
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        kinds = [json.loads(line)["ev"] for line in path.read_text().splitlines()]
        if kinds[-1:] == ["error"]:
            return kinds
        time.sleep(0.05)
    raise AssertionError("the worker did not end")


@pytest.mark.slow
def test_a_worker_that_logging_out_would_end_is_in_a_scope_of_its_user(
    system: Callable[..., tuple[Path, Path]], agent: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    root, called = system(KILLS)
    started = agent(root, [begin(1), begin(2)])
    assert [one["ev"] for one in started] == ["started", "started"] and started[0]["pid"]
    assert journal(tmp_path, 1) == journal(tmp_path, 2) == ["begin", "error"]
    calls = [call.split("\n") for call in called.read_text().strip().split("\n\n")]
    # Tried once on a program that does nothing, then for each worker.
    assert calls[0] == ["--user", "--scope", "--quiet", "--", "true"] and len(calls) == 3
    for number, call in enumerate(calls[1:], start=1):
        assert call[:4] == ["--user", "--scope", "--quiet", "--"] and call[-3:-1] == [
            "--work", str(tmp_path / "device" / "jobs" / f"{number:032x}")
        ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("logind", "runs", "session"),
    [
        ("b false\nas 0\nas 0", RUNS, "7"),
        ("b true\nas 0\nas 0", RUNS, ""),
        ("b true\nas 1 \"somebody-else\"\nas 0", RUNS, "7"),
        ("Failed to get property", RUNS, "7"),
        (KILLS, "exit 1", "7"),
        # It works for the program that does nothing, and for no worker.
        (KILLS, '[ "$5" = true ] || exit 1', "7"),
    ],
    ids=["lives on", "no session", "another user", "no logind", "no manager", "fails later"],
)  # fmt: skip
def test_else_it_starts_as_it_is(
    logind: str, runs: str, session: str, system: Callable[..., tuple[Path, Path]],
    agent: Callable[..., list[dict[str, Any]]], tmp_path: Path,
) -> None:  # fmt: skip
    root, called = system(logind, runs)
    assert agent(root, [begin(1)], XDG_SESSION_ID=session)[0]["ev"] == "started"
    assert journal(tmp_path, 1) == ["begin", "error"] and not called.exists()


def test_who_is_spared_is_left_alone(inside: Callable[[str], Any], tmp_path: Path) -> None:
    code = """
import os, commands, scope
os.environ["XDG_SESSION_ID"] = "7"
name, said = scope._user(), []
spared, only = 'b true\\nas 0\\nas 2 "root" "%s"' % name, 'b true\\nas 1 "%s"\\nas 0' % name
for text in ('b true\\nas 0\\nas 0', spared, only, 'b true'):
    commands.ask = lambda *given: commands.Said(0, text)
    said.append(scope.ends_with_session("/"))
print(json.dumps(said))
"""
    assert inside(code) == [True, False, True, False]
