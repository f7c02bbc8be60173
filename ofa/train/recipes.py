"""How a supernet is trained: one frozen recipe holds every choice, and its JSON is kept beside what it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ofa.space as S
from ofa.files import canonical_json, sha256_bytes
from ofa.space.core import SearchSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to train a supernet by the sandwich rule (BigNAS, arXiv 2003.11142): max, min and random subnets a step.

    ``student_weight`` is the weight of the mean loss of all subnets but the largest, whose own weight is 1.
    """

    name: str
    space: str
    width: float
    channels: int
    classes: int
    steps: int
    batch: int
    random_subnets: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    label_smoothing: float
    student_weight: float
    seed: int
    log_steps: int
    corner_steps: int
    checkpoint_steps: int
    checkpoint_s: float

    def search_space(self) -> SearchSpace:
        """Return the space this recipe trains."""
        return S.load(self.space, width=self.width, channels=self.channels, classes=self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return every choice as JSON; ``Recipe(**facts)`` inverts it."""
        return asdict(self)

    @property
    def id(self) -> str:
        """Return 12 hex digits over all that changes the trained weights; how often files are written does not."""
        unimportant = {"log_steps", "corner_steps", "checkpoint_steps", "checkpoint_s"}
        facts = {key: value for key, value in asdict(self).items() if key not in unimportant}
        return sha256_bytes(canonical_json(facts).encode())[:12]


def demo() -> Recipe:
    """Train the small MobileNetV3 space on cluttered digits: minutes on two cores."""
    return Recipe(
        name="demo",
        space="mobilenet_v3_tiny",
        width=1.0,
        channels=1,
        classes=10,
        steps=450,
        batch=64,
        random_subnets=2,
        learning_rate=1e-2,
        warmup_steps=40,
        weight_decay=0.02,
        clip_norm=2.0,
        label_smoothing=0.05,
        student_weight=1.5,
        seed=0,
        log_steps=10,
        corner_steps=150,
        checkpoint_steps=100,
        checkpoint_s=20.0,
    )


RECIPES: Mapping[str, Any] = {"demo": demo}
