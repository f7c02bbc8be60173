"""The page of a search tells why its choice is the choice, and how sure the predictions are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
pytest.importorskip("plotly", reason="the package 'plotly' is not installed")

from report_fixtures import stages
from report_fixtures.html import Page

from harness.report import figures, read, write
from harness.report.reasons import why
from ofa import files


def test_the_parts_of_the_choice_and_the_changes_turned_down_are_shown(tmp_path: Path) -> None:
    folder = stages.search(tmp_path / "search")
    opened = Page(write(folder).read_text(encoding="utf-8"))
    assert "Why this network" in opened.text
    assert "s2.b1.kernel : 3 to 5 +0.40 latency" in opened.text
    assert "s2.b1.kernel : 3 to 7 \N{MINUS SIGN}0.25 accuracy" in opened.text
    (drawn,) = figures.of(read.gather(folder))["why"]
    assert drawn.data[0]["x"] == ["stem", "s1.b0", "head"] and drawn.data[0]["y"] == pytest.approx([20, 50, 30])
    assert drawn.rows[1][:3] == ("latency", "s1.b0", 0.5)


def test_the_front_stands_in_the_interval_of_its_predictions(tmp_path: Path) -> None:
    folder = stages.search(tmp_path / "search")
    (drawn,) = figures.of(read.gather(folder))["front"]
    above = next(trace for trace in drawn.data if trace["name"] == "90 % interval")
    assert above["fill"] == "tonexty" and above["y"] == [71.0 + 5 * place for place in range(6)]
    assert "Around it the accuracy twin's 90 % interval." in drawn.note
    assert drawn.rows[0][7:9] == (69.0, 71.0)
    kept = json.loads((folder / "front.json").read_text())
    del kept["points"][2]["accuracy_lo"]
    files.write_atomic(folder / "front.json", json.dumps(kept))
    (without,) = figures.of(read.gather(folder))["front"]
    assert "interval" not in without.note and all(trace["name"] != "90 % interval" for trace in without.data)


def test_a_printed_front_is_read_as_a_kept_one(tmp_path: Path) -> None:
    folder = stages.search(tmp_path / "search")
    points = json.loads((folder / "front.json").read_text())["points"]
    files.write_atomic(folder / "front.json", json.dumps(points))
    assert "6 networks found from" in Page(write(folder).read_text(encoding="utf-8")).text


@pytest.mark.parametrize(
    "told", [None, 3, {}, {"costs": 3, "changes": 4}, {"costs": {"a": {"b": "x"}}, "changes": [1]}]
)
def test_what_cannot_be_read_is_no_reason(told: object) -> None:
    assert why(told) is None
