"""A meter beside the device: a run leaves pulses, its networks are found together in the meter's file, and the table
says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from harness import journal as journals
from harness.bench import Scope, bench
from harness.inventory import simulated
from harness.journal import Windows
from harness.meter import Meter, all_metered
from harness.protocol import Energy, Window
from harness.simulation.machine import Machine
from harness.simulation.rail import SOURCE, call_joules
from harness.simulation.truth import work_of
from harness.tables import JOURNAL, build, missing_in, unknown_in
from harness.windows import Energies
from ofa.errors import FileInvalid, UsageInvalid
from ofa.lut.check import checked
from ofa.space.ops import ops_of

PATTERN = "1111100110101"
CHIP_S = 0.4
CALL_S = 0.01
IDLE_W = 3.0
SPACE = spaces.load("mobilenet_v3", width=1.2)
DRAWN = tuple(SPACE.subnet(genome) for genome in spaces.sample.random(SPACE, 4, np.random.default_rng(2)))
SCOPE = Scope(
    fit=0, holdout=0, rounds=1, rounds_most=1, seed=0, again=False, memory=False, ops=False, subnets=DRAWN,
    energy=Energies(networks=3, pulses=True),
)  # fmt: skip


def answer_at(start_s: float, *, windows: int = 2, source: str | None = None) -> Energy:
    """Return what a device would say of a network that it began with then, on a clock of its own."""
    pulses, spans = [], []
    now_s = start_s
    edges = [now_s + place * CHIP_S for place in range(len(PATTERN) + 1)]
    pulses.append([round(edge * 1e9) for edge in edges])
    now_s = edges[-1]
    for place in range(2 * windows + 1):
        seconds = 10.0 if place % 2 else 3.0
        kind: Any = ("idle", "busy")[place % 2]
        calls = round(seconds / CALL_S) if place % 2 else 0
        spans.append(
            Window(
                kind=kind, start_ns=round(now_s * 1e9), end_ns=round((now_s + seconds) * 1e9), calls=calls,
                watts=None, samples=0,
            )
        )  # fmt: skip
        now_s += seconds
    pulses.append([round((now_s + place * CHIP_S) * 1e9) for place in range(len(PATTERN) + 1)])
    return Energy(
        id=0, ev="energy", source=source, averaging_s="unreadable", reason=None, pattern=PATTERN, windows=spans,
        pulses=pulses,
    )  # fmt: skip


def readings(answers: dict[str, Energy], watts: dict[str, float], *, ahead_s: float = 0.0, drift: float = 0.0) -> str:
    """Return a meter's file of ten readings a second while networks worked; ``watts`` is what each draws beside idling
    while it makes a hundred calls a second."""
    spans: list[tuple[float, float, float]] = []
    for name, answer in answers.items():
        for pulse in answer.pulses:
            for place, chip in enumerate(answer.pattern):
                spans += [(pulse[place] * 1e-9, pulse[place + 1] * 1e-9, watts[name])] if chip == "1" else []
        busy = [window for window in answer.windows if window.calls]
        spans += [
            (window.start_ns * 1e-9, window.end_ns * 1e-9, watts[name] * CALL_S * window.calls / window.seconds)
            for window in busy
        ]
    first_s, last_s = min(span[0] for span in spans) - 15, max(span[1] for span in spans) + 15
    fine_s = np.arange(first_s - 1, last_s, 0.005)
    power = np.full(len(fine_s), IDLE_W)
    for start_s, stop_s, extra_w in spans:
        power[(fine_s >= start_s) & (fine_s < stop_s)] += extra_w
    drawn = np.concatenate([[0.0], np.cumsum(power * 0.005)])[:-1]
    at_s = np.arange(first_s, last_s, 0.1)
    read = (np.interp(at_s, fine_s, drawn) - np.interp(at_s - 0.1, fine_s, drawn)) / 0.1
    read += 0.02 * np.random.default_rng(5).standard_normal(len(read))
    clock = at_s + ahead_s + drift * (at_s - first_s)
    return "time_s,watts\n" + "".join(f"{t:.4f},{value:.4f}\n" for t, value in zip(clock, read, strict=True))


def put(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def spaced(starts_s: list[float], sessions: str = "") -> tuple[dict[str, Energy], dict[str, Windows]]:
    """Return networks that began at times of the device's clock, each in the session of its letter."""
    answers = {f"n{number}": answer_at(start_s) for number, start_s in enumerate(starts_s)}
    letters = sessions or "a" * len(starts_s)
    return answers, {name: Windows(session=letters[n], answer=answers[name]) for n, name in enumerate(answers)}


def power_of(answer: Energy) -> float:
    busy = [window.watts for window in answer.windows if window.calls]
    idle = [window.watts for window in answer.windows if not window.calls]
    assert None not in busy and None not in idle
    return float(np.mean(busy)) - float(np.mean(idle))  # type: ignore[arg-type]


@pytest.mark.parametrize("drift", [0.0, 3e-4])
@pytest.mark.parametrize("gap_s", [0.0, 1.7])
def test_networks_of_equal_length_are_told_apart_together(gap_s: float, drift: float, tmp_path: Path) -> None:
    """One after another, each is like the next: alone none of them could be found."""
    answers, found = spaced([100.0 + number * (40.0 + gap_s) for number in range(8)])
    watts = {name: 1.0 + number / 10 for number, name in enumerate(answers)}
    path = put(tmp_path, "meter.csv", readings(answers, watts, ahead_s=5000.0, drift=drift))
    metered = all_metered(found, Meter(paths=(path,)))
    assert {name: power_of(one) for name, one in metered.items()} == pytest.approx(watts, rel=0.02)
    assert all(one.source == "meter" and one.averaging_s == pytest.approx(0.1, abs=0.01) for one in metered.values())
    with pytest.raises(FileInvalid) as caught:
        all_metered({"n1": found["n1"]}, Meter(paths=(path,)))
    assert "two places" in caught.value.why


@pytest.mark.slow
def test_sessions_with_a_file_each_are_found_in_their_own(tmp_path: Path) -> None:
    answers, found = spaced([100.0, 140.0, 300.0, 340.0], "aabb")
    watts = {"n0": 1.0, "n1": 1.3, "n2": 0.7, "n3": 2.0}
    first, second = ({name: answers[name] for name in names} for names in (("n0", "n1"), ("n2", "n3")))
    files = (
        put(tmp_path, "a.csv", readings(first, watts, ahead_s=-90.0)),
        put(tmp_path, "b.csv", readings(second, watts, ahead_s=9e3)),
    )
    for paths in (files, files[::-1]):
        metered = all_metered(found, Meter(paths=paths, averaging_s=0.1))
        assert {name: power_of(one) for name, one in metered.items()} == pytest.approx(watts, rel=0.02)
    with pytest.raises(FileInvalid):
        all_metered(found, Meter(paths=files[:1]))
    with pytest.raises(FileInvalid) as caught:
        all_metered(found, Meter(paths=(files[0], files[0])))
    assert "not all after those of" in caught.value.why


def test_sessions_that_look_alike_are_told_apart_by_their_order(tmp_path: Path) -> None:
    """Some were interrupted after their first network: all networks are equally long, and equally far apart."""
    answers, found = spaced([100.0 + 40 * number for number in range(5)], "abbbc")
    watts = {name: 1.0 + number / 10 for number, name in enumerate(answers)}
    path = put(tmp_path, "meter.csv", readings(answers, watts))
    metered = all_metered(found, Meter(paths=(path,)))
    assert {name: power_of(one) for name, one in metered.items()} == pytest.approx(watts, rel=0.02)
    more, _ = spaced([100.0 + 40 * number for number in range(6)])
    path = put(tmp_path, "more.csv", readings(more, dict.fromkeys(more, 1.0)))
    with pytest.raises(FileInvalid) as caught:
        all_metered(found, Meter(paths=(path,)))
    assert "two places" in caught.value.why


def test_a_device_that_began_anew_has_another_clock(tmp_path: Path) -> None:
    answers, found = spaced([900.0, 940.0, 30.0], "aab")
    watts = dict.fromkeys(answers, 1.0)
    before = readings({name: answers[name] for name in ("n0", "n1")}, watts)
    after = readings({"n2": answers["n2"]}, watts, ahead_s=5000.0)
    files = (put(tmp_path, "a.csv", before), put(tmp_path, "b.csv", after))
    assert set(all_metered(found, Meter(paths=files[::-1]))) == set(answers)


def test_what_made_no_pulses_is_left_as_it_is(tmp_path: Path) -> None:
    answers, found = spaced([100.0])
    silent = answers["n0"].model_copy(update={"pulses": [], "windows": [], "reason": "it failed"})
    path = put(tmp_path, "meter.csv", readings(answers, {"n0": 1.0}))
    assert set(all_metered({**found, "x": Windows(session="a", answer=silent)}, Meter(paths=(path,)))) == {"n0"}


@pytest.mark.slow
def test_a_run_leaves_pulses_and_a_meters_file_makes_them_energy(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    device = simulated(tmp_path / "files", machine=Machine(seed=4), own_process=False)
    lut = bench(SPACE, device=device, runtime="simulated", folder=folder, scope=SCOPE)
    assert lut.energy_sources == (SOURCE,), "the device has a rail of its own, too"
    with journals.open_journal(folder / JOURNAL) as journal:
        answers = {file: one.answer for file, one in journal.windows().items()}
        by_file = {item.file: item.key.rpartition(":")[2] for item in journal.plan.items}
    truth = {by_id.id: call_joules(work_of(Machine(), [op.key for op in ops_of(by_id)])) for by_id in DRAWN}
    watts = {file: truth[by_file[file]] / CALL_S for file in answers}
    path = put(tmp_path, "meter.csv", readings(answers, watts, ahead_s=1e4, drift=1e-4))
    line = ["lut", "build", str(folder), "--into", str(tmp_path / "tables"), "--allow-simulated", "--json"]
    code, out, err = run(*line, "--meter", str(path))
    assert code == 0, err
    facts = json.loads(out)
    assert facts["energies"] == 3 and facts["missing"] == [] and facts["energy_unknown"] == []
    built = checked(Path(facts["table"]))
    assert built.energy_sources == ("meter",) and built.simulated
    known = {row.id: row.energy_uj for row in built.networks if row.energy_uj is not None}
    assert known == {name: pytest.approx(truth[name] * 1e6, rel=0.02) for name in known} and len(known) == 3
    flat = "time_s,watts\n" + "".join(f"{place / 10},3.0\n" for place in range(6000))
    code, _, err = run(*line, "--meter", str(put(tmp_path, "flat.csv", flat)), "--replace")
    assert code == 3 and "resembles the device's pulses" in " ".join(err.split()) and "Traceback" not in err
    assert checked(Path(facts["table"])).energy_sources == ("meter",)


@pytest.mark.slow
def test_a_run_whose_device_says_nothing_waits_for_the_meters_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = iter([100.0, 150.0, 195.0])
    monkeypatch.setattr("harness.energy.ask", lambda *_, **__: answer_at(next(starts)))
    folder = tmp_path / "run"
    device = simulated(tmp_path / "files", own_process=False)
    lut = bench(SPACE, device=device, runtime="simulated", folder=folder, scope=SCOPE)
    assert not lut.energy_sources and unknown_in(folder) == []
    waiting = ["what the meter read while 3 networks worked: give its file with '--meter'"]
    assert list(missing_in(folder)) == waiting
    with journals.open_journal(folder / JOURNAL) as journal:
        answers = {file: one.answer for file, one in journal.windows().items()}
    path = put(tmp_path, "meter.csv", readings(answers, dict.fromkeys(answers, 0.9)))
    facts = build(folder, tmp_path / "tables", allow_simulated=True, meter=Meter(paths=(path,)))
    assert facts["energies"] == 3 and not any("--meter" in line for line in facts["missing"])


@pytest.mark.slow
def test_a_meter_beside_a_run_without_pulses_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    device = simulated(tmp_path / "files", own_process=False)
    bench(SPACE, device=device, runtime="simulated", folder=folder, scope=replace(SCOPE, energy=None))
    path = put(tmp_path, "meter.csv", readings({"a": answer_at(1.0)}, {"a": 1.0}))
    with pytest.raises(UsageInvalid, match="made no pulses for a meter"):
        build(folder, tmp_path / "tables", allow_simulated=True, meter=Meter(paths=(path,)))
