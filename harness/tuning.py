"""Changes a device's settings where that is allowed, and puts them back: at the end, on any fault, and at the next
connect."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.inventory import Device
from harness.native.transport import Native
from harness.places import lab_folder
from harness.plan import NATIVE, RuntimeName
from harness.protocol import Conversation, Tuned
from harness.refusals import settings_untold, still_tuned, tuned_by_another, tuning_refused, tuning_unknown
from ofa import console
from ofa.errors import FileInvalid, OfaError, UsageInvalid
from ofa.files import MEBIBYTE, canonical_json, read_json, write_atomic
from ofa.lock import alone

# Each of a few tools of the device may take 20 s.
PATIENCE_S = 120.0
Observed = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What is to be changed: the governor to "performance"; ``lock``, every cluster held at the most its limits allow;
    Jetson's clocks at their most; its power mode, by name; Android's fixed performance mode."""

    performance: bool = False
    lock: bool = False
    jetson_clocks: bool = False
    power_mode: str | None = None
    fixed_performance: bool = False

    def wants(self) -> dict[str, object]:
        """Return what the agent is asked for."""
        wanted = {
            "governor": "performance" if self.performance else None,
            "lock": self.lock,
            "jetson_clocks": self.jetson_clocks,
            "power_mode": self.power_mode,
            "fixed_performance": self.fixed_performance,
        }
        return {name: value for name, value in wanted.items() if value}


# What a command line may ask for by one word; a power mode has a name besides.
WORDS = {
    "performance": "performance",
    "lock": "lock",
    "jetson-clocks": "jetson_clocks",
    "fixed-performance": "fixed_performance",
}
MODE = "power-mode="


def of_words(words: Sequence[str]) -> Tuning | None:
    """Return what words of a command line ask for, None for no words; raises UsageInvalid for one that is unknown."""
    asked: dict[str, Any] = {}
    for word in words:
        if word in WORDS:
            asked[WORDS[word]] = True
        elif word.startswith(MODE) and re.fullmatch(r"[A-Za-z0-9_]{1,40}", word.removeprefix(MODE)):
            asked["power_mode"] = word.removeprefix(MODE)
        else:
            raise tuning_unknown(word, [*WORDS, f"{MODE}NAME"])
    return Tuning(**asked) if asked else None


@contextmanager
def prepared(device: Device, tuning: Tuning | None, runtime: RuntimeName) -> Iterator[Device]:
    """Yield a device as it is to be measured: tuned where that is asked for, and then it says so in its environment.

    What an earlier run has left changed is put back first, with a message, and what is changed now at the end.
    Programs beside a device (`plan.NATIVE`) change nothing and leave nothing; where it has an agent, too, that puts
    back what was left. Raises as `tuned`, and MeasurementRefused where another process of this computer has tuned the
    device.
    """
    if runtime in NATIVE and tuning is not None:
        raise tuning_refused(device.name, f"'{runtime}' runs networks there, and changes nothing")
    record, way = lab_folder() / "tuned" / f"{device.name}.json", device.transport
    agent = way.agent_there if isinstance(way, Native) else way
    near = None if agent is None else replace(device, transport=agent)
    if near is None or (tuning is None and not is_left(near, record)):
        yield device
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(record.parent, record.name))
        except UsageInvalid as fault:
            raise tuned_by_another(device.name) from fault
        observed = stack.enter_context(tuned(near, tuning, record))
        if tuning is None:
            yield device
        else:
            yield replace(device, tuned={"asked": tuning.wants(), "observed": observed})


@contextmanager
def tuned(device: Device, tuning: Tuning | None, record: Path) -> Iterator[Observed]:
    """Hold a device tuned, and put everything back at the end; yields what was read back.

    Without a ``tuning`` nothing is changed. Either way, what an earlier run changed and could not put back is put back
    first. ``record`` is where this computer keeps what was before; the device keeps it, too. Whoever calls this holds
    the device: its agents are nobody else's. Raises MeasurementRefused where the device cannot be changed (then
    nothing was) or could not be put back, DeviceLost.
    """
    restore_left(device, record)
    if tuning is None or not tuning.wants():
        yield {}
        return
    request = {"want": tuning.wants(), "token": secrets.token_hex(8)}
    before = _ask(device, {"step": "look", **request})
    if before.refused:
        raise tuning_refused(device.name, before.refused)
    write_atomic(record, canonical_json(before.saved))
    try:
        now = _ask(device, {"step": "set", **request})
        if now.refused:
            raise tuning_refused(device.name, now.refused)
        yield now.observed
    except BaseException as fault:
        _put_back_after(fault, device, record)
        raise
    put_back(device, record)


def _put_back_after(fault: BaseException, device: Device, record: Path) -> None:
    """Put everything back after a fault; where that fails too, say both."""
    try:
        put_back(device, record)
    except OfaError as second:
        first = fault.what if isinstance(fault, OfaError) else type(fault).__name__
        raise still_tuned(device.name, f"{first}; then: {second.why or second.what}", record) from fault


def restore_left(device: Device, record: Path) -> bool:
    """Put back what an earlier run has left changed on a device, and say so; return whether there was anything.

    Raises MeasurementRefused where it cannot be put back, DeviceLost.
    """
    if not is_left(device, record):
        return False
    found = put_back(device, record)
    if found:
        said = ", ".join(f"{name.rpartition('/')[2]} {value}" for name, value in list(found.items())[:3])
        console.warn(f"put back what an earlier run had changed on device '{device.name}': {said}"[:400])
    return bool(found)


def is_left(device: Device, record: Path) -> bool:
    """Say whether a device is still changed by an earlier run, as far as it or this computer knows; raises
    DeviceLost."""
    channel = device.transport.open()
    try:
        left = Conversation(channel, device.name).greet().state.get("tuned_by", "unreadable")
    finally:
        channel.close()
    return left != "unreadable" or record.exists()


def put_back(device: Device, record: Path) -> Observed:
    """Put back what a device has on record, or this computer where the device has lost its own; return what is read
    back. Raises MeasurementRefused where not all could be put back, DeviceLost."""
    done = _ask(device, {"step": "restore", "saved": _saved(record)})
    if done.refused:
        raise still_tuned(device.name, done.refused, record)
    record.unlink(missing_ok=True)
    return done.observed


def _saved(record: Path) -> Any:
    """Return this computer's record, None where there is none or it is damaged: the device has its own."""
    try:
        return read_json(record, max_bytes=MEBIBYTE, what="record of a device's settings") if record.exists() else None
    except FileInvalid:
        return None


def _ask(device: Device, request: dict[str, object]) -> Tuned:
    """Ask a process of its own, and end it."""
    channel = device.transport.open()
    try:
        for answer in Conversation(channel, device.name).ask({"do": "tune", **request}, patience_s=PATIENCE_S):
            if isinstance(answer, Tuned):
                channel.close()
                return answer
        raise settings_untold(device.name)
    except BaseException:
        channel.kill()
        raise
