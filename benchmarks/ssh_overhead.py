"""What a device over SSH costs beside the same agent here: for each op of a batch, and once for each round."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from record import record

from harness import journal as journals
from harness.inventory import AGENT_ENVIRONMENT, Device, this_computer
from harness.plan import EMPTY, Item, Plan, Reference, Rounds
from harness.session import run
from harness.transport.ssh import Ssh

TESTS = Path(__file__).resolve().parents[1] / "tests" / "harness"
FEW, MANY = 10, 2010
REPEATS = 7
RTTS_MS = {"ssh_0_ms": 0, "ssh_20_ms": 20}
# What is timed there is the same on all sides, and short: it is no part of the difference.
QUICK = Rounds(
    warm_calls=1, hot_bursts=1, burst_least=1, burst_most=1, canary_calls=1, canary_us=0, drift_most=10.0, rounds_most=1
)  # fmt: skip


def plan_of(count: int) -> Plan:
    """Return a plan of one round with so many ops, all of them the network that does nothing."""
    items = tuple(Item(key=f"op{number}.n1", kind="op", state="hot", file=EMPTY) for number in range(count))
    reference = Reference(key="reference", file=EMPTY)
    return Plan(
        device="this-computer",
        runtime="onnxruntime",
        rounds=1,
        seed=1,
        protocol=QUICK,
        reference=reference,
        items=items,
    )


@contextmanager
def over_ssh(here: Device, folder: Path, rtt_ms: int) -> Iterator[Device]:
    """Give this computer as a device behind an OpenSSH server, and a wire of its own where there is to be a delay."""
    from transport.lab import Link, Sshd
    from transport.wire import Wire

    with ExitStack() as stack:
        link = None
        if rtt_ms:
            link = Link(Wire(delay_ms=rtt_ms / 2))
            stack.callback(link.stop)
            link.start()
        sshd = Sshd(folder / "device", link=link)
        stack.callback(sshd.stop)
        sshd.start()
        ssh = Ssh(
            device="ssh", address=sshd.address, python=sys.executable, agent=here.transport.agent,
            files=here.transport.files, environment=AGENT_ENVIRONMENT, known_hosts=sshd.known_hosts,
        )  # fmt: skip
        stack.callback(ssh.end)
        yield replace(here, transport=ssh)


def seconds(device: Device, count: int, folder: Path) -> float:
    """Return how long a run of so many ops takes from its first word to its journal."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        journals.create(Path(place) / "journal.sqlite", plan_of(count)) as journal,
    ):
        began_s = time.perf_counter()
        run(journal.plan, device=device, journal=journal)
        taken_s = time.perf_counter() - began_s
        if len(journal.samples()) != count:
            raise SystemExit(f"{len(journal.samples())} samples of {count}")
    return taken_s


def found(taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Return medians over the repeats of what each way takes longer than the agent here, from (few, many) s."""
    result: dict[str, Any] = {"ops": [FEW, MANY], "repeats": REPEATS}
    result["here_s"] = [round(median(side), 3) for side in zip(*taken["here"], strict=True)]
    for name in RTTS_MS:
        pairs = list(zip(taken[name], taken["here"], strict=True))
        slopes = [((far[1] - far[0]) - (near[1] - near[0])) / (MANY - FEW) for far, near in pairs]
        result[name] = {
            "s": [round(median(side), 3) for side in zip(*taken[name], strict=True)],
            "more_per_op_ms": round(1e3 * median(slopes), 4),
            "more_per_op_ms_repeats": [round(1e3 * slope, 4) for slope in slopes],
            "more_per_round_s": round(median(far[0] - near[0] for far, near in pairs), 3),
            "more_per_op_with_all_ms": round(1e3 * median(far[1] - near[1] for far, near in pairs) / MANY, 4),
        }
    return result


def main() -> None:
    """Measure all ways in turn, and write the result; needs root for the wire that delays."""
    sys.path.insert(0, str(TESTS))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        here = this_computer(folder / "files")
        devices = {"here": here}
        for way, rtt_ms in RTTS_MS.items():
            devices[way] = stack.enter_context(over_ssh(here, folder / way, rtt_ms))
        for device in devices.values():
            seconds(device, FEW, folder)  # the agent is brought, the connection made
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in devices}
        for _ in range(REPEATS):
            for way, device in devices.items():
                taken[way].append((seconds(device, FEW, folder), seconds(device, MANY, folder)))
    what = (
        "wall time of a run over SSH beside the same agent here, in turn: what each op adds (the slope between few and "
        "many ops of one batch), what each run of one round adds, and both together for each of many ops; medians"
    )
    record("ssh_overhead", what, found(taken))


if __name__ == "__main__":
    main()
