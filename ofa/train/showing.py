"""What a training shows while it goes on: its progress, and lines of its log for another program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ofa import console

if TYPE_CHECKING:
    from ofa.train.loop import Progress


@contextmanager
def watching(what: str, steps: int, batch: int, first: bool) -> Iterator[Any]:
    """Show progress; on Ctrl-C say with which line to go on."""
    with console.progress(what, steps) if first else nullcontext(console.silent) as advance:
        before, began_s, corners = 0, 0.0, ""

        def tell(found: Progress) -> None:
            nonlocal before, began_s, corners
            now_s = time.monotonic()
            if found.corners is not None:
                corners = " · ".join(f"{name} {top1:.1f} %" for name, top1 in found.corners.items())
            first_loss, last_loss = found.facts["loss_first"], found.facts["loss_last"]
            rows = {
                "phase": found.phase,
                "epoch": f"{found.facts['epoch']:.2f}",
                "loss": f"{found.loss:.3f} (first subnet {first_loss:.3f}, last {last_loss:.3f})",
                "learning rate": f"{found.facts.get('lr', 0.0):.2e}",
                "images/s": f"{batch * (found.step - before) / (now_s - began_s):.0f}" if before else "",
                "corners": corners,
                "event": found.facts.get("event", ""),
            }
            done, earlier = since(before, found.step)
            advance(done, note=f"{found.phase} · loss {found.loss:.2f}", rows=rows, before=earlier)
            before, began_s = found.step, now_s

        with console.resumable("training interrupted; every finished step is safe"):
            yield tell


def since(before: int, step: int) -> tuple[int, int]:
    """Return how many steps are done since step ``before`` was told (0: none was), and how many were done at the start.

    The first one told is this process's own; those that an earlier process did took none of its time.
    """
    earlier = 0 if before else step - 1
    return step - before - earlier, earlier


@contextmanager
def tracked(wanted: bool, out: Path, first: bool) -> Iterator[Any]:
    """Yield what takes lines of the log, or None where it is not wanted or another process writes."""
    if not (wanted and first):
        yield None
        return
    from ofa.train.track import tensorboard

    with tensorboard(out) as log:
        yield log
