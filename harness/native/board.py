"""What a board over SSH says of itself by its agent, for a program that runs there without one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.protocol import Conversation, Hello
from harness.transport import android
from harness.transport.contract import Transport

Facts = dict[str, Any]
# What says how the agent runs, and nothing of the program.
OWN = ("python",)


@dataclass(slots=True, kw_only=True)
class Board:
    """A board with an agent, which is asked for what only that knows: power mode, held clocks, heat."""

    device: str
    transport: Transport
    found: Hello | None = None

    def _hello(self) -> Hello:
        """Greet the agent anew; raises DeviceLost."""
        channel = self.transport.open()
        try:
            self.found = Conversation(channel, self.device).greet()
            return self.found
        finally:
            channel.close()

    def environment(self, *, may_pin: bool) -> Facts:
        """Return what kind of board it is, and which of its cores are fast and which slow, where a program may be kept
        to some of them; raises DeviceLost."""
        left_out = OWN if may_pin else (*OWN, "tiers")
        return {name: value for name, value in self._hello().environment.items() if name not in left_out}

    def state(self, files: Facts) -> Facts:
        """Return how it is doing, as its agent says now; raises DeviceLost."""
        agents_own = ("pid", "pgid")
        return {**files, **{name: value for name, value in self._hello().state.items() if name not in agents_own}}

    def mask(self, threads: int, which: str) -> str | None:
        """Return the big or the little cores for a number of threads as a hex mask, None where nobody can tell."""
        said = (self.found or self._hello()).environment.get("tiers")
        tiers = [android.cores_in(part) for part in str(said).split()] if isinstance(said, str) else []
        mask = android.taskset_mask(android.cores_for(tiers, threads, which))
        return None if mask == android.UNREADABLE else str(mask)
