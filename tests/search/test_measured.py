"""The choice among what a search found, by measurement: predictions decide nothing where a device or images speak."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import ofa.space as spaces
from ofa.errors import NoSubnetFits
from ofa.search import Reading, settle
from ofa.search.finding import Candidate
from ofa.space.core import Subnet

SPACE = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)


def candidates(*ms: float, macs: float = 1.0) -> list[Candidate]:
    """Return corner networks predicted 90 %, 89 % and so on, at these latencies."""
    subnets = [SPACE.corner(name) for name in SPACE.corners()]
    return [
        Candidate(subnet=subnet, accuracy=90.0 - place, values={"latency": value, "MACs": macs})
        for place, (subnet, value) in enumerate(zip(subnets, ms, strict=False))
    ]


def reading(value: float | None) -> Reading | None:
    return None if value is None else Reading(value=value, lo=0.9 * value, hi=1.1 * value)


def settled(
    found: Sequence[Candidate], top1: Sequence[float], ms: Sequence[float | None], **at_most: float
) -> list[str]:
    """Return "place of the candidate:limits that it exceeds", the choice first."""
    asked: list[list[str]] = []

    def label(subnets: Sequence[Subnet]) -> Sequence[float]:
        asked.append([subnet.id for subnet in subnets])
        return top1

    tried = settle(found, at_most, label=label, measure=lambda subnets: {"latency": [reading(value) for value in ms]})
    assert asked == [[one.subnet.id for one in found]]
    ids = [one.subnet.id for one in found]
    return [f"{ids.index(one.candidate.subnet.id)}:{','.join(one.over)}" for one in tried]


def test_the_best_as_labelled_within_the_limit_as_measured_comes_first() -> None:
    found = candidates(4.0, 4.5, 4.8)
    # Predicted best and labelled best is too slow in truth; of the others labels decide, not predictions.
    assert settled(found, [80.0, 71.0, 72.0], [5.5, 4.4, 4.9], latency=5.0) == ["2:", "1:", "0:latency"]
    assert settled(found, [80.0, 71.0, 72.0], [4.9, 4.4, 4.9], latency=5.0) == ["0:", "2:", "1:"]


def test_what_nothing_measures_counts_as_predicted_and_what_could_not_be_measured_fits_nowhere() -> None:
    assert settled(candidates(4.0, 4.5), [70.0, 71.0], [4.0, None], latency=5.0, MACs=1.0) == ["0:", "1:latency"]
    with pytest.raises(NoSubnetFits, match="none of the 2 networks is within the limits as measured") as refusal:
        settled(candidates(4.0, 4.5, macs=2.0), [70.0, 71.0], [4.0, 4.5], latency=5.0, MACs=1.5)
    assert "2 of MACs, where 1.5 is the most" in refusal.value.why


def test_where_none_fits_the_nearest_is_named() -> None:
    found = candidates(4.0, 4.5)
    with pytest.raises(NoSubnetFits) as refusal:
        settled(found, [70.0, 71.0], [5.3, 5.1], latency=5.0)
    assert found[1].subnet.id in refusal.value.why and "5.1 of latency, where 5 is the most" in refusal.value.why
    with pytest.raises(NoSubnetFits, match="the one network is not") as refusal:
        settled(found[:1], [70.0], [None], latency=5.0)
    assert "no latency that could be measured" in refusal.value.why
