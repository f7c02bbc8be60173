"""What is trained when: phases of a training, which of them a step belongs to, and its learning rate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

Teacher = Literal["none", "in_place", "frozen"]
Coupling = Literal["free", "compound", "slimmable"]
Kind = Literal["kernel", "depth", "expand"]

ORDER: tuple[Kind, ...] = ("kernel", "depth", "expand")
NOTHING_OPEN: Mapping[str, int] = {"kernel": 1, "depth": 1, "expand": 1, "width": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training over one part of the space.

    ``choices`` says how many of the largest choices of each kind of gene are sampled; a kind that is absent is open in
    full. A step trains the largest subnet, the smallest and ``random`` random ones of that part, as far as asked.
    ``teacher``: none; the largest subnet's own output of the step; or the frozen network of the first phase.
    ``coupling``: every gene free; depth and expand ratio of a stage rise together (CompOFA, ICLR 2021); one expand
    ratio for the whole network (slimmable networks, arXiv 1903.05134). ``sort``: channels are sorted by importance as
    the phase begins.
    """

    name: str
    epochs: float
    learning_rate: float
    warmup_epochs: float = 0.0
    choices: Mapping[str, int] = field(default_factory=dict)
    largest: bool = False
    smallest: bool = False
    random: int = 0
    teacher: Teacher = "none"
    coupling: Coupling = "free"
    sort: bool = False

    @property
    def subnets(self) -> int:
        """Return the subnets trained in one step."""
        return self.largest + self.smallest + self.random


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Phases with the step each begins at; ``starts`` has one more entry, the number of all steps."""

    phases: tuple[Phase, ...]
    starts: tuple[int, ...]
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Return the number of steps."""
        return self.starts[-1]

    def at(self, step: int) -> int:
        """Return the number of the phase that step ``step`` (from 0) belongs to; the last one from its end on."""
        return min(bisect_right(self.starts, step), len(self.phases)) - 1

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: linear warm-up, then half a cosine to 0, within its phase."""
        number = self.at(step)
        phase, start, end = self.phases[number], self.starts[number], self.starts[number + 1]
        warmup = min(round(phase.warmup_epochs * self.steps_per_epoch), end - start)
        done = step - start
        if done < warmup:
            return phase.learning_rate * (done + 1) / warmup
        gone = (done - warmup) / max(1, end - start - warmup)
        return phase.learning_rate * (1 + math.cos(math.pi * gone)) / 2


def scheduled(phases: Sequence[Phase], steps_per_epoch: int) -> Schedule:
    """Lay phases out one after another; each has at least one step."""
    lengths = [max(1, round(phase.epochs * steps_per_epoch)) for phase in phases]
    return Schedule(phases=tuple(phases), starts=(0, *accumulate(lengths)), steps_per_epoch=steps_per_epoch)


def scaled(phases: Sequence[Phase], factor: float) -> tuple[Phase, ...]:
    """Make every phase and its warm-up ``factor`` times as long."""
    return tuple(
        replace(phase, epochs=phase.epochs * factor, warmup_epochs=phase.warmup_epochs * factor) for phase in phases
    )


def progressive_shrinking(order: Sequence[Kind] = ORDER) -> tuple[Phase, ...]:
    """Return the phases of Once-for-All (arXiv 1908.09791, section 3.3), the largest network's own training included.

    Epochs, warm-up and learning rates are those of the reference code on 32 GPUs (a batch of 2,048): 180 epochs for
    the largest network; then kernels, 2 of 3 depths, all depths, 2 of 3 widths, all widths, with 1, 2, 2, 4 and 4
    random subnets a step that learn from the largest network, frozen. Where a space has elastic stage widths they open
    with the expand ratios. ``order`` is the order in which kernel, depth and expand ratio open.
    """
    phases = [Phase(name="largest", epochs=180, learning_rate=2.6, warmup_epochs=5, largest=True, choices=NOTHING_OPEN)]
    opened = dict(NOTHING_OPEN)
    for kind in order:
        count = {"kernel": 1, "depth": 2, "expand": 4}[kind]
        for number, part in enumerate((2, None), 1):
            if kind == "kernel" and part is not None:
                continue
            for name in ("expand", "width") if kind == "expand" else (kind,):
                if part is None:
                    opened.pop(name)
                else:
                    opened[name] = part
            short = part is not None
            long_rate = 0.96 if kind == "kernel" else 0.24
            phases.append(
                Phase(
                    name=kind if kind == "kernel" else f"{kind}-{number}",
                    epochs=25 if short else 125,
                    warmup_epochs=0 if short else 5,
                    learning_rate=0.08 if short else long_rate,
                    choices=dict(opened),
                    random=count,
                    teacher="frozen",
                    sort=kind == "expand",
                )
            )
    return tuple(phases)


def single_path(*, epochs: float, learning_rate: float, warmup_epochs: float) -> tuple[Phase, ...]:
    """Return one random subnet a step on true labels (Guo et al., arXiv 1904.00420): no teacher, no order."""
    return (
        Phase(
            name="single_path",
            epochs=epochs,
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            random=1,
        ),
    )


def named(name: str, *, epochs: float, learning_rate: float, warmup_epochs: float) -> tuple[Phase, ...]:
    """Return the phases of a preset, ``epochs`` long in all, with ``learning_rate`` as the highest.

    ``compound`` and ``slimmable`` are the sandwich rule with that coupling. KeyError for a name not in ``PRESETS``.
    """
    if name == "progressive_shrinking":
        whole = progressive_shrinking()
        shorter = scaled(whole, epochs / sum(phase.epochs for phase in whole))
        highest = max(phase.learning_rate for phase in whole)
        return tuple(replace(phase, learning_rate=phase.learning_rate / highest * learning_rate) for phase in shorter)
    if name == "single_path":
        return single_path(epochs=epochs, learning_rate=learning_rate, warmup_epochs=warmup_epochs)
    coupling = PRESETS[name]
    (phase,) = sandwich(epochs=epochs, learning_rate=learning_rate, warmup_epochs=warmup_epochs)
    return (replace(phase, name=name, coupling=coupling),)


# Presets by name, with the coupling of those that are a sandwich.
PRESETS: Mapping[str, Coupling] = {
    "progressive_shrinking": "free",
    "sandwich": "free",
    "compound": "compound",
    "slimmable": "slimmable",
    "single_path": "free",
}


def sandwich(*, epochs: float, learning_rate: float, warmup_epochs: float, random: int = 2) -> tuple[Phase, ...]:
    """Return the sandwich rule with in-place distillation as one phase (BigNAS, arXiv 2003.11142, section 3)."""
    return (
        Phase(
            name="sandwich",
            epochs=epochs,
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            largest=True,
            smallest=True,
            random=random,
            teacher="in_place",
        ),
    )
