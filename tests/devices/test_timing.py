"""Clocks, order statistics and the two states, under every Python the agent must run under."""

from collections.abc import Callable
from typing import Any

Inside = Callable[[str], Any]


def test_clocks_are_whole_nanoseconds_that_move(inside: Inside) -> None:
    snippet = """
import timing, time
clocks = timing.clocks(1)
a, b = clocks.wall(), clocks.cpu()
end = time.time() + 0.05
while time.time() < end or clocks.cpu() - b < 20000000: pass
print(json.dumps([type(a).__name__, clocks.wall() - a, clocks.cpu() - b, clocks.wall_cost_ns, clocks.cpu_name]))
"""
    kind, wall_ns, cpu_ns, cost_ns, name = inside(snippet)
    assert kind == "int" and name == "thread"
    assert wall_ns > 45e6 and 20e6 <= cpu_ns <= wall_ns * 1.05 and 0 < cost_ns < 100_000


def test_a_process_clock_is_used_where_a_runtime_has_threads(inside: Inside) -> None:
    assert inside("import timing; print(json.dumps(timing.clocks(2).cpu_name))") == "process"


def test_a_clock_of_scheduler_ticks_is_not_used(inside: Inside) -> None:
    snippet = """
import timing, time
time.clock_getres = lambda clock: 0.004
clocks = timing.clocks(1)
timed = timing.Timed(clocks)
timed.call(lambda: None)
print(json.dumps([clocks.cpu_name, timed.summary()["cpu_min_ns"]]))
"""
    assert inside(snippet) == ["unreadable", None]


def test_summary_subtracts_the_cost_of_timing_and_never_reaches_zero(inside: Inside) -> None:
    snippet = """
import timing
timed = timing.Timed(timing.Clocks(None, None, "w", "c", 100, 30))
timed.walls, timed.cpus = [300, 150, 1100, 90, 200, 210, 220, 230, 240, 250, 260], [500, 20, 130]
print(json.dumps(timed.summary()))
"""
    summary = inside(snippet)
    assert summary == {
        "calls": 11, "wall_min_ns": 1, "wall_p10_ns": 50, "wall_p20_ns": 100, "wall_median_ns": 130,
        "wall_p95_ns": 200, "cpu_min_ns": 1, "cpu_p10_ns": 1,
    }  # fmt: skip


STATES = """
import timing
calls = []
def item(name): return timing.Item(0, lambda: calls.append(name), timing.Timed(timing.clocks(1)))
items = [item(name) for name in "abcdef"]
reference = item("R")
parameters = dict(warm_calls=2, cold_cycles=4, hot_bursts=3, burst_least=2, burst_most=2, burst_us=1)
parameters.update(reference_every=3, seed=1)
"""


def test_cold_calls_every_item_once_a_cycle_in_changing_order(inside: Inside) -> None:
    snippet = (
        STATES + "timing.cold(items, reference, parameters, lambda share: None); print(json.dumps(''.join(calls)))"
    )
    calls = inside(snippet)
    cycles = [calls[start : start + 8] for start in range(0, 32, 8)]
    assert len(calls) == 32 and all(cycle[0] == cycle[4] == "R" for cycle in cycles)
    assert all(sorted(cycle.replace("R", "")) == list("abcdef") for cycle in cycles)
    assert len(set(cycles)) > 1


def test_hot_warms_before_each_burst(inside: Inside) -> None:
    snippet = (
        STATES
        + "timing.hot(items[:1], reference, parameters, lambda share: None)\n"
        + "print(json.dumps([''.join(calls), len(items[0].timed.walls)]))"
    )
    assert inside(snippet) == ["RRRRaaaa" * 3, 6]
