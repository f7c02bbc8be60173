"""Measures what some whole networks of a plan draw, each in a process of its own, once, after the rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from harness import energy
from harness.discreet import public
from harness.gate import cool
from harness.inventory import Device
from harness.journal import Journal, Windows
from harness.link import Link
from harness.plan import EMPTY, NATIVE, Item, Plan, RuntimeName
from harness.protocol import At
from harness.protocol import Energy as Answer
from harness.refusals import energy_unknown
from harness.session import (
    ATTEMPTS_PER_SESSION,
    OnProgress,
    begin_session,
    greet,
    quiet,
    ready_runtime,
    run_of,
)
from harness.stats import spread
from ofa.errors import DeviceBarred, DeviceLost
from ofa.files import canonical_json, sha256_bytes
from ofa.space import by_id
from ofa.space.facts import macs

NETWORKS = 12
PULSES_S = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """How many whole networks of a plan the energy of is measured, and whether with pulses for a meter beside the
    device: each takes more than a minute, so that all would take hours."""

    networks: int = NETWORKS
    pulses: bool = False

    @property
    def seconds_each(self) -> int:
        """Return how long one network takes, s, without starting and cooling."""
        windows_s = energy.WINDOWS * (energy.WINDOW_S + energy.IDLE_S) + energy.IDLE_S
        return windows_s + (PULSES_S if self.pulses else 0)

    def facts(self, plan: Plan) -> dict[str, Any]:
        """Return what is measured of a plan, and how long it takes."""
        count = len(chosen(plan, self))
        return {
            "networks": count,
            "windows": energy.WINDOWS,
            "window_s": energy.WINDOW_S,
            "seconds_each": self.seconds_each,
            "minutes": round(count * self.seconds_each / 60, 2),
        }


def chosen(plan: Plan, asked: Energies) -> list[str]:
    """Return the files of the networks whose energy is measured: spread evenly over those of a plan by MACs."""
    networks = sorted((item for item in plan.items if item.kind == "network"), key=_work)
    files = list(dict.fromkeys(item.file for item in networks))
    return [files[place] for place in spread(len(files), asked.networks)] if files else []


def _work(item: Item) -> tuple[int, str]:
    """Return what networks are ordered by."""
    subnet = by_id(item.space or "").subnet(bytes.fromhex(item.genome or ""))
    return macs(subnet), item.key


def refuse_without_source(device: Device, runtime: RuntimeName, asked: Energies) -> None:
    """Raise MeasurementRefused, with the reason, where nothing could say what a device draws; DeviceLost.

    With pulses a meter beside the device will say it; a program that runs one network can make none.
    """
    if runtime in NATIVE:
        raise energy_unknown(device.name, f"'{runtime}' says nothing of it, and makes no pulses", pulses=False)
    if asked.pulses or greet(device).state.get("energy_source", "unreadable") != "unreadable":
        return
    if reason := energy.ask(device, runtime, EMPTY).reason:
        raise energy_unknown(device.name, reason)


def lacking(plan: Plan, journal: Journal, asked: Energies) -> list[str]:
    """Return the files that are still to be measured, in order; what failed in the rounds has its reason and is not
    tried."""
    known, failed = journal.windows(), {plan.items[index].file for index in journal.failures()}
    return [file for file in chosen(plan, asked) if file not in known and file not in failed]


def run(
    plan: Plan,
    asked: Energies,
    *,
    device: Device,
    journal: Journal,
    session: str | None = None,
    on_progress: OnProgress = quiet,
) -> None:
    """Measure the windows of the networks asked for, as far as the journal lacks them.

    ``session`` is the one they are measured in; without one, a session is begun where anything is lacking. Where the
    rounds are measured cool, so are they. Raises DeviceLost, MeasurementRefused; whatever was measured by then stays in
    the journal.
    """
    wanted = lacking(plan, journal, asked)
    if not wanted:
        return
    total = len(wanted) * asked.seconds_each
    on_progress(0, total, f"energy, greeting {device.name}")
    if session is None:
        session = begin_session(plan, device, journal, *ready_runtime(device, plan.runtime))
    for number, file in enumerate(wanted):
        tell = partial(_tell, on_progress, number, len(wanted), asked)
        answer = _of_file(plan, asked, file, device, journal, tell)
        if answer.reason:
            answer = answer.model_copy(update={"reason": public(device, answer.reason)})
        journal.add_windows(file, Windows(session=session, answer=answer))
        tell(1.0)


def _of_file(
    plan: Plan,
    asked: Energies,
    file: str,
    device: Device,
    journal: Journal,
    on_share: Callable[[float], None],
) -> Answer:
    """Return the windows of one file; a process that breaks off is begun anew twice."""
    job = sha256_bytes(canonical_json([run_of(journal), plan.hash, "energy", file, asked.pulses]).encode())[:32]
    # Where all rounds, those of the second measurement too, have left the device.
    at = (2 * plan.rounds_most, 0, chosen(plan, asked).index(file))
    left = ATTEMPTS_PER_SESSION
    while True:
        try:
            return energy.ask(
                device,
                plan.runtime,
                file,
                way=plan.way,
                pulses=asked.pulses,
                at=at,
                job=job,
                before=partial(_rested, plan, at, device, on_share),
                on_share=on_share,
            )
        except DeviceLost as fault:
            left -= 1
            if not left or isinstance(fault, DeviceBarred):
                raise


def _rested(plan: Plan, at: At, device: Device, on_share: Callable[[float], None], link: Link) -> None:
    """Let a device cool as it did before each batch of the rounds."""
    state = link.greet(at=at).state
    if plan.protocol.regime == "burst":
        cool(device, link.conversation, state, at, on_rest=lambda hottest_c: on_share(0.0))


def _tell(on_progress: OnProgress, number: int, count: int, asked: Energies, share: float) -> None:
    """Turn a share of one network into seconds done of all."""
    each = asked.seconds_each
    on_progress(int((number + share) * each), count * each, f"energy of network {number + 1} of {count}")
