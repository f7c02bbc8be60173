"""What a round says while it goes on, and while it waits: what for, and how long at most."""

from __future__ import annotations

from collections.abc import Callable

from harness.gate import LOAD_PATIENCE_S

# What a text begins with where a device is only waited for: until it is cool, or until other work on it has ended.
COOLING, WAITING = "cooling", "waiting: "


def is_wait(text: str) -> bool:
    """Say whether a device is only waited for, by what is told of its progress: such a text, behind others."""
    return any(part == COOLING or part.startswith(WAITING) for part in text.split(", "))


def part(on_share: Callable[[str, float], None], place: int, batches: int, said: str, share: float) -> None:
    """Turn a share of a batch into a share of its round, beside what the batch before it said of the device."""
    on_share(said, (place + share) / batches)


def bringing(on_share: Callable[[str, float], None], done: int, total: int) -> None:
    """Say that files are brought to the device."""
    on_share(f"bringing files, {done >> 20} of {total >> 20} MiB", 0.0)


def resting(on_share: Callable[[str, float], None], share: float, hottest_c: float | None) -> None:
    """Say that the device rests."""
    on_share(COOLING if hottest_c is None else f"{COOLING}, {hottest_c:.0f} °C", share)


def working(on_share: Callable[[str, float], None], limit: float, cores: float) -> None:
    """Say that other work keeps the device busy, how much of it would not matter, and how long that is waited for."""
    on_share(
        f"{WAITING}other work keeps {cores:.2f} cores busy, {limit:g} are allowed "
        f"(for at most {LOAD_PATIENCE_S / 60:g} minutes; --allow-load measures anyway)",
        0.0,
    )
