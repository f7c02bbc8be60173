"""Subnets are found in whatever form a verb printed them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa.space import sample
from ofa.space.listed import entries, picked

ONE, TWO, THREE = ({"space": "s", "id": name} for name in "abc")


@pytest.mark.parametrize(
    ("content", "best", "every"),
    [
        (ONE, [ONE], [ONE]),
        ([ONE, TWO], [ONE, TWO], [ONE, TWO]),
        ([], [], []),
        ({"best": {"subnet": ONE}, "cpu_s": 1.0}, [ONE], [ONE]),
        ({"best": {"subnet": ONE}, "top": [{"subnet": ONE}, {"subnet": TWO}]}, [ONE], [ONE, TWO]),
        ([{"under": 1, "subnet": ONE}, {"under": 2, "subnet": TWO}], [ONE, TWO], [ONE, TWO]),
        ({"chosen": [{"subnet": ONE}], "points": [{"subnet": ONE}, {"subnet": THREE}]}, [ONE, THREE], [ONE, THREE]),
        (
            {"chosen": "b", "networks": [{"id": "a", "subnet": ONE}, {"id": "b", "subnet": TWO}]},
            [ONE, TWO],
            [ONE, TWO],
        ),
        (3, [3], [3]),
        ({"other": 1}, [{"other": 1}], [{"other": 1}]),
        ({"best": 3}, [{"best": 3}], [{"best": 3}]),
    ],
)
def test_subnets_are_found(content: Any, best: list[Any], every: list[Any]) -> None:
    assert entries(content) == best and entries(content, every=True) == every


def test_the_choice_of_a_file_is_meant_where_one_subnet_is(tmp_path: Path) -> None:
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    one, two, three = (space.subnet(genome) for genome in sample.random(space, 3, np.random.default_rng(0)))
    entry = [{"id": subnet.id, "subnet": subnet.to_json()} for subnet in (one, two, three)]
    path = tmp_path / "answer.json"
    forms: list[dict[str, Any]] = [
        {"chosen": [entry[1]], "points": entry, "top": [entry[1], entry[0]]},
        {"chosen": two.id, "networks": entry},
    ]
    for content in forms:
        path.write_text(json.dumps(content))
        assert [subnet.id for subnet in picked(path, None)] == [two.id]
        assert [subnet.id for subnet in picked(path, three.id)] == [three.id]
    for several in ({"chosen": entry[:2], "points": entry}, {"points": entry}, {"chosen": "?", "networks": entry}):
        path.write_text(json.dumps(several))
        assert [subnet.id for subnet in picked(path, None)] != [two.id] and len(picked(path, None)) > 1


def test_a_file_of_several_subnets_is_refused_before_its_run_is_opened(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    space = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
    drawn = [space.subnet(genome) for genome in sample.random(space, 2, np.random.default_rng(0))]
    path = tmp_path / "several.json"
    path.write_text(json.dumps([subnet.to_json() for subnet in drawn]))
    rest = ("--data", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    for name, told in ((str(path), "holds 2 subnets"), ("front.json", "there is no subnet 'front.json'")):
        code, _, err = run("export", str(tmp_path / "no-run"), "--subnet", name, *rest)
        assert code == 2 and told in err
