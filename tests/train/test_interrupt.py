"""Ctrl-C and SIGTERM held back: one counts when the work inside is done, and a second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ofa.train import folder, lines, loop
from ofa.train.data import Data
from ofa.train.interrupt import terminable, unbroken
from ofa.train.recipes import Recipe


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """Have Python's own handler, whoever started the tests: a shell's background job ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_counts_when_the_work_is_done(number: signal.Signals) -> None:
    done = list[str]()
    with terminable(), pytest.raises(KeyboardInterrupt):
        with unbroken():
            signal.raise_signal(number)
            done.append("inside")
        done.append("behind")
    assert done == ["inside"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_counts_at_once() -> None:
    done = list[str]()
    with pytest.raises(KeyboardInterrupt), unbroken():
        signal.raise_signal(signal.SIGINT)
        done.append("once")
        signal.raise_signal(signal.SIGINT)
        done.append("twice")
    assert done == ["once"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_ctrl_c_nothing_happens_and_errors_pass() -> None:
    with unbroken():
        pass
    with pytest.raises(ZeroDivisionError), unbroken():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with unbroken():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)


def test_another_thread_is_left_alone() -> None:
    entered = list[Any]()

    def enter() -> None:
        with unbroken():
            entered.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.default_int_handler]


def test_sigterm_is_left_as_it_was() -> None:
    with terminable(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_where_sigterm_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with terminable(), unbroken():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_a_step_and_its_line_loses_neither(
    number: signal.Signals, recipe: Recipe, divided: Data, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the second step's line is being written: step, line and checkpoint must agree."""
    append = lines.append

    def signalled(path: Any, line: str) -> None:
        if '"step": 2' in line:
            signal.raise_signal(number)
        append(path, line)

    monkeypatch.setattr(lines, "append", signalled)
    with pytest.raises(KeyboardInterrupt):
        loop.train(recipe, divided, tmp_path)
    assert (tmp_path / folder.CHECKPOINT).exists()
    assert len(lines.whole(tmp_path / folder.METRICS)) == 2
    monkeypatch.setattr(lines, "append", append)
    loop.train(recipe, divided, tmp_path, stop_at=3)
    assert ['"step": 2' in line for line in lines.whole(tmp_path / folder.METRICS)] == [False, True, False]
