"""Subnets are found in whatever form a verb printed them."""

from __future__ import annotations

from typing import Any

import pytest

from ofa.space.listed import entries

ONE, TWO, THREE = ({"space": "s", "id": name} for name in "abc")


@pytest.mark.parametrize(
    ("content", "best", "every"),
    [
        (ONE, [ONE], [ONE]),
        ([ONE, TWO], [ONE, TWO], [ONE, TWO]),
        ([], [], []),
        ({"best": {"subnet": ONE}, "cpu_s": 1.0}, [ONE], [ONE]),
        ({"best": {"subnet": ONE}, "top": [{"subnet": ONE}, {"subnet": TWO}]}, [ONE], [ONE, TWO]),
        ({"front": [{"under": 1, "subnet": ONE}, {"under": 2, "subnet": TWO}]}, [ONE, TWO], [ONE, TWO]),
        ({"chosen": [{"subnet": ONE}], "points": [{"subnet": ONE}, {"subnet": THREE}]}, [ONE, THREE], [ONE, THREE]),
        (3, [3], [3]),
        ({"other": 1}, [{"other": 1}], [{"other": 1}]),
        ({"best": 3}, [{"best": 3}], [{"best": 3}]),
    ],
)
def test_subnets_are_found(content: Any, best: list[Any], every: list[Any]) -> None:
    assert entries(content) == best and entries(content, every=True) == every
