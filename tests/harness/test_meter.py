"""A meter beside the device: when the device worked is found in its file by the pulses, however its clock stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import energy, meter, trace
from harness.protocol import Energy
from ofa.errors import FileInvalid

PATTERN = "1111100110101"
CHIP_S = 0.4
IDLE_W = 3.0
CALL_S = 0.02
DEVICE_START_S = 1000.0
AVERAGING_S = 0.1


def answer_of() -> tuple[Energy, list[tuple[float, float]]]:
    """Return what a device would say of 3 windows with pulses around them, and when it truly worked, s."""
    now_s = DEVICE_START_S
    work: list[tuple[float, float]] = []
    pulses: list[list[int]] = []
    windows: list[dict[str, Any]] = []

    def pulse() -> None:
        nonlocal now_s
        edges = [now_s + place * CHIP_S for place in range(len(PATTERN) + 1)]
        work.extend((edges[place], edges[place + 1]) for place, chip in enumerate(PATTERN) if chip == "1")
        pulses.append([round(edge * 1e9) for edge in edges])
        now_s = edges[-1]

    pulse()
    for place in range(7):
        seconds = 10.0 if place % 2 else 3.0
        if place % 2:
            work.append((now_s, now_s + seconds))
        windows.append(
            {
                "kind": ("idle", "busy")[place % 2], "start_ns": round(now_s * 1e9),
                "end_ns": round((now_s + seconds) * 1e9), "calls": round(seconds / CALL_S) if place % 2 else 0,
                "watts": None, "samples": 0,
            }
        )  # fmt: skip
        now_s += seconds
    pulse()
    said = Energy(
        id=1, ev="energy", source=None, averaging_s="unreadable", reason=None, pattern=PATTERN, windows=windows,  # type: ignore[arg-type]
        pulses=pulses,
    )  # fmt: skip
    return said, work


def readings(
    work: list[tuple[float, float]],
    joules: float,
    *,
    ahead_s: float,
    drift: float = 0.0,
    every_s: float = 0.1,
    before_s: float = 20.0,
    after_s: float = 20.0,
    seed: int = 0,
) -> str:
    """Return a meter's file: means of the last 100 ms, noisy, on a clock that is ahead and drifts."""
    luck = np.random.default_rng(seed)
    begin_s, end_s = DEVICE_START_S - before_s, max(end for _, end in work) + after_s
    fine_s = np.arange(begin_s - 1, end_s, 0.005)
    busy = np.zeros(len(fine_s))
    for start_s, stop_s in work:
        busy[(fine_s >= start_s) & (fine_s < stop_s)] = joules / CALL_S
    drawn = np.concatenate([[0.0], np.cumsum((IDLE_W + busy) * 0.005)])[:-1]
    times = np.arange(begin_s, end_s, every_s)
    watts = (np.interp(times, fine_s, drawn) - np.interp(times - AVERAGING_S, fine_s, drawn)) / AVERAGING_S
    watts += 0.02 * luck.standard_normal(len(times))
    clock = times + ahead_s + drift * (times - begin_s)
    return "time_s,watts\n" + "".join(f"{at:.4f},{value:.4f}\n" for at, value in zip(clock, watts, strict=True))


@pytest.mark.parametrize(
    ("ahead_s", "drift", "every_s"), [(0.0, 0.0, 0.1), (86_412.37, 1e-4, 0.1), (-990.0, -1e-4, 0.02), (7.0, 0.0, 0.2)]
)
def test_the_windows_are_found_and_their_energy_holds(
    ahead_s: float, drift: float, every_s: float, tmp_path: Path
) -> None:
    said, work = answer_of()
    joules = {}
    for seed, truth in enumerate((0.050, 0.062)):
        path = tmp_path / f"{truth}.csv"
        path.write_text(readings(work, truth, ahead_s=ahead_s, drift=drift, every_s=every_s, seed=seed))
        found = energy.of_networks("d", {"a": meter.metered(said, trace.read(path), AVERAGING_S)})["a"]
        assert isinstance(found, energy.Energy) and found.source == "meter" and found.averaging_s == AVERAGING_S
        assert found.joules.value == pytest.approx(truth, rel=0.01)
        joules[truth] = found.joules
    ratio = energy.ratio(joules[0.062], joules[0.050])
    assert ratio.lo <= 1.24 <= ratio.hi and ratio.half_width < 0.05


def test_a_file_that_ends_too_early_says_nothing_of_the_windows_it_lacks(tmp_path: Path) -> None:
    said, work = answer_of()
    path = tmp_path / "short.csv"
    path.write_text("\n".join(readings(work, 0.05, ahead_s=0.0).splitlines()[:400]) + "\n")
    with pytest.raises(FileInvalid, match="cannot be used") as caught:
        meter.metered(said, trace.read(path), AVERAGING_S)
    assert "shorter than the measurement" in caught.value.why


@pytest.mark.parametrize(("missing_s", "known"), [(0.5, True), (3.0, False)])
def test_a_window_in_which_the_meter_missed_a_while_has_no_power(missing_s: float, known: bool, tmp_path: Path) -> None:
    """As where one file ends and the next begins in the middle of it: what was drawn then is not made up."""
    said, work = answer_of()
    head, *lines = readings(work, 0.05, ahead_s=0.0).splitlines()
    window = said.windows[3]
    begin_s = window.start_ns * 1e-9 + 4.0
    kept = [line for line in lines if not begin_s < float(line.split(",")[0]) < begin_s + missing_s]
    path = tmp_path / "holes.csv"
    path.write_text("\n".join([head, *kept]) + "\n")
    found = meter.metered(said, trace.read(path), AVERAGING_S)
    assert [one.watts is not None for one in found.windows] == [True, True, True, known, True, True, True]
    one = energy.of_networks("d", {"a": found})["a"]
    assert (
        isinstance(one, energy.Energy) if known else isinstance(one, energy.NoSource) and "window 3 of 7" in one.reason
    )


def flat(text: str) -> str:
    return "".join(line.split(",")[0] + ",3.0\n" if "time" not in line else line + "\n" for line in text.splitlines())


def step(text: str) -> str:
    """Return a file of other work that begins once and goes on."""
    head, *lines = text.splitlines()
    half = len(lines) // 2
    changed = [f"{line.split(',')[0]},{3.0 + (place > half)}" for place, line in enumerate(lines)]
    return "\n".join([head, *changed]) + "\n"


@pytest.mark.parametrize("spoil", [flat, step])
def test_a_file_without_the_pulses_is_refused(spoil: Callable[[str], str], tmp_path: Path) -> None:
    said, work = answer_of()
    path = tmp_path / "other.csv"
    path.write_text(spoil(readings(work, 0.05, ahead_s=0.0, before_s=60, after_s=60)))
    with pytest.raises(FileInvalid) as caught:
        meter.metered(said, trace.read(path), AVERAGING_S)
    assert "nothing in it resembles" in caught.value.why


def test_two_runs_in_one_file_are_told_apart_or_refused(tmp_path: Path) -> None:
    said, work = answer_of()
    path = tmp_path / "twice.csv"
    again = [(start_s + 100, stop_s + 100) for start_s, stop_s in work]
    path.write_text(readings([*work, *again], 0.05, ahead_s=0.0))
    with pytest.raises(FileInvalid) as caught:
        meter.metered(said, trace.read(path), AVERAGING_S)
    assert "two places" in caught.value.why


def test_without_pulses_nothing_is_aligned(tmp_path: Path) -> None:
    said, work = answer_of()
    path = tmp_path / "some.csv"
    path.write_text(readings(work, 0.05, ahead_s=0.0))
    with pytest.raises(FileInvalid) as caught:
        meter.metered(said.model_copy(update={"pulses": []}), trace.read(path), AVERAGING_S)
    assert "made no pulses" in caught.value.why


GOOD = [f"{place / 10},1.5" for place in range(60)]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["t,w", *GOOD], "first line"),
        (["time_s,watts", *GOOD[:10]], "10 readings"),
        (["time_s,watts", *GOOD, "9.0,1.0,2.0"], "line 62"),
        (["time_s,watts", *GOOD, "9.0,lots"], "line 62"),
        (["time_s,watts", *GOOD, "9.0,nan"], "line 62"),
        (["time_s,watts", *GOOD, "inf,1.0"], "line 62"),
        (["time_s,watts", *GOOD, "3.0,1.0"], "not later"),
        ([], "first line"),
        (["time_s,watts", "\u00b5"], "ASCII"),
    ],
)
def test_a_damaged_file_is_refused_by_line(lines: list[str], why: str, tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(FileInvalid) as caught:
        trace.read(path)
    assert why in caught.value.why
