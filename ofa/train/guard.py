"""What happens when the loss of a supernet jumps: a step is skipped, and where that does not help, training goes back.

Supernets collapse in mid-training where their subnets' gradients conflict; what is lost then is hours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Verdict = Literal["go", "skip", "roll_back"]
_WINDOW, _LEAST, _ROLL_BACKS = 101, 20, 5


@dataclass(slots=True, kw_only=True)
class Guard:
    """The losses of late, and how many in a row were too high.

    A loss that is not finite, or more than ``factor`` times the median of the last 101, is too high; after every
    ``steps`` of them in a row the verdict is ``roll_back``, and until step ``slow_until`` the learning rate is half.
    """

    factor: float
    steps: int
    recent: list[float] = field(default_factory=list)
    in_a_row: int = 0
    slow_until: int = 0

    def judge(self, loss: float) -> Verdict:
        """Say what to do with a step of this loss, which must be the same on every process."""
        known = len(self.recent) >= _LEAST
        if math.isfinite(loss) and not (known and loss > self.factor * median(self.recent)):
            self.recent = [*self.recent, loss][-_WINDOW:]
            self.in_a_row = 0
            return "go"
        self.in_a_row += 1
        return "skip" if self.in_a_row % self.steps else "roll_back"

    @property
    def helpless(self) -> bool:
        """Say whether going back has not led to one good step, time after time."""
        return self.in_a_row >= _ROLL_BACKS * self.steps

    def reset(self) -> None:
        """Forget the losses: those of another phase are no measure."""
        self.recent, self.in_a_row = [], 0

    def to_json(self) -> dict[str, Any]:
        """Return what a resumed training must know."""
        return {"recent": list(self.recent), "in_a_row": self.in_a_row, "slow_until": self.slow_until}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Take up what ``to_json`` gave."""
        self.recent = [float(loss) for loss in facts["recent"]]
        self.in_a_row, self.slow_until = int(facts["in_a_row"]), int(facts["slow_until"])
