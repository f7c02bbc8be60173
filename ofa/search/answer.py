"""What a search is asked to do with its request, and its answer as JSON: one network, or a front."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa.search.finding import Candidate, Found
    from ofa.search.request import Request
    from ofa.search.sweeps import Front

# What --thorough does: so many searches that know nothing of each other, then one from all they found. They are short,
# for where a search settles is decided early: a new start is worth more than going on.
THOROUGH: dict[str, Any] = {"islands": 16, "generations": 6, "rounds": 40}
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a request is searched: for a front of so many ``points`` where given, else for one network; ``top`` networks
    that differ are told."""

    seed: int
    points: int | None = None
    top: int = 1
    thorough: bool = False


def front(made: Request, how: How, *, on_point: Callable[[int], None] = lambda number: None) -> Front:
    """Return the front of a request along its first limit; raises NoSubnetFits."""
    from ofa.search.sweeps import sweep

    assert how.points is not None
    return sweep(
        made.part.space,
        made.accuracy,
        made.limits[0],
        made.limits[1:],
        seed=how.seed,
        points=how.points,
        above=made.above,
        named=made.part.subnet,
        on_point=on_point,
    )


def best(made: Request, how: How, *, state: Path | None = None) -> Found:
    """Return the best network of a request, and what was met beside it; raises NoSubnetFits."""
    from ofa.search.finding import find

    return find(
        made.part.space,
        made.accuracy,
        made.limits,
        seed=how.seed,
        above=made.above,
        state=state,
        named=made.part.subnet,
        **(THOROUGH if how.thorough else {}),
    )


def network(made: Request, candidate: Candidate) -> Facts:
    """Return one network with what is predicted of it; ``latency_ms`` is a number, or one for each device, and
    ``accuracy_lo`` to ``accuracy_hi`` the 90 % interval of a predictor that has one."""
    genome = candidate.genome[None]
    half = None if made.accuracy_half is None else float(made.accuracy_half(genome)[0])
    ends = {} if half is None else {"accuracy_lo": candidate.accuracy - half, "accuracy_hi": candidate.accuracy + half}
    latency_ms = {name: float(predict(genome)[0]) for name, predict in made.latency_ms.items()}
    return {
        "subnet": {"id": candidate.subnet.id} | candidate.subnet.to_json(),
        "accuracy": candidate.accuracy,
        **ends,
        "latency_ms": latency_ms if len(latency_ms) > 1 else next(iter(latency_ms.values())),
        "limits": candidate.values,
    }


def facts_of_best(made: Request, found: Found, how: How) -> Facts:
    """Return the answer of a search for one network as the interface promises it."""
    top = {"top": [network(made, candidate) for candidate in found.top[: how.top]]} if how.top > 1 else {}
    return {
        "best": network(made, found.best),
        "upper_bound": found.upper_bound,
        "bound_reason": found.bound_reason,
        "evaluations": found.evaluated,
        "precision": made.precision,
        "assumed": list(made.assumed),
        **top,
    }


def why(made: Request, candidate: Candidate) -> Facts:
    """Return why a network was chosen: what its parts cost of each limit that is a sum, and every change of a gene."""
    from ofa.search import why as reasons

    space, limits = made.part.space, made.limits
    chosen = made.part.narrowed(candidate.genome[None])[0]
    changes = reasons.changes(space, made.accuracy, limits, chosen)
    return {"costs": reasons.costs(space, limits, chosen), "changes": [asdict(change) for change in changes]}


def facts_of_front(made: Request, found: Front) -> list[Facts]:
    """Return a front as the interface promises it: the best network under each value of the first limit."""
    shared = {"bound_reason": found.bound_reason, "precision": made.precision, "assumed": list(made.assumed)}
    return [
        {"under": point.at_most, **network(made, point.best), "upper_bound": point.upper_bound, **shared}
        for point in found.points
    ]


def kept_of_front(made: Request, found: Front) -> Facts:
    """Return a front as a run folder keeps it.

    Its hypervolume has three digits after the point: it sums over everything scored, and of a float32 predictor
    another kind of CPU gives it other last ones.
    """
    return {
        "points": [
            _point({"under": point.at_most, **network(made, point.best), "upper_bound": rounded_up(point.upper_bound)})
            for point in found.points
        ],
        "hypervolume": round(found.hypervolume, 3),
        "bound_reason": found.bound_reason,
        "evaluations": found.evaluated,
        "precision": made.precision,
        "assumed": list(made.assumed),
    }


def kept_of_best(made: Request, found: Found, how: How) -> Facts:
    """Return the answer of a search for one network as a run folder keeps it: the front that it met, its choice, and
    why that is the choice."""
    facts = facts_of_best(made, found, how)
    limit = next((limit for limit in made.limits if limit.unit == "ms"), None)
    budget = {} if limit is None else {"budget_ms": limit.at_most}
    return {
        "points": [_point(network(made, candidate)) for candidate in found.front],
        "chosen": [_point(facts.pop("best")) | budget],
        **facts,
        "upper_bound": rounded_up(found.upper_bound),
        "why": why(made, found.best),
    }


def rounded_up(value: float | None) -> float | None:
    """Return what nothing exceeds to six digits after the point, rounded up: a solver's last ones depend on the CPU."""
    return None if value is None else ceil(value * 1e6) / 1e6


def _point(facts: Facts) -> Facts:
    """Return a network with its id beside it."""
    return {"id": facts["subnet"]["id"], **facts}
