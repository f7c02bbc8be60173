"""What was foretold stands beside the labels: kept, told from that of other labels, and refused where it is damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import ofa.space as spaces
from ofa.errors import FileInvalid
from ofa.twins import foretold

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
GENOMES = [bytes(TINY.corner(name).genome) for name in ("min", "max")]
SAID = {GENOMES[0]: 71.25, GENOMES[1]: math.nan}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("id,genome\none,0\ntwo,1\n")
    foretold.write(path, TINY, SAID)
    return path


def test_it_is_read_as_it_was_written_while_the_labels_grow(labels: Path) -> None:
    with labels.open("a") as file:
        file.write("three,2\n")
    found = foretold.read(labels, TINY)
    assert found.keys() == SAID.keys() and found[GENOMES[0]] == 71.25 and math.isnan(found[GENOMES[1]])


def test_of_other_labels_and_of_another_space_nothing_is_known(labels: Path) -> None:
    assert foretold.read(labels, spaces.load("mobilenet_v3_tiny", channels=3, classes=10)) == {}
    labels.write_text("id,genome\nother,0\n")
    assert foretold.read(labels, TINY) == {}
    assert foretold.read(labels.with_name("none.csv"), TINY) == {}


@pytest.mark.parametrize(
    "change",
    [{"said": None}, {"said": {"00": 1.0}}, {"said": {"zz": 1.0}}, {"said": {GENOMES[0].hex(): "much"}}, []],
    ids=["nothing", "no genome", "no hex", "no number", "a list"],
)
def test_what_is_damaged_is_refused_and_the_labels_are_left(labels: Path, change: object) -> None:
    path = labels.with_name("labels.csv.foretold.json")
    content = json.loads(path.read_text()) | change if isinstance(change, dict) else change
    path.write_text(json.dumps(content))
    with pytest.raises(FileInvalid, match="cannot be used") as refusal:
        foretold.read(labels, TINY)
    assert "remove it" in str(refusal.value)
