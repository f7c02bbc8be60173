"""A table of which most rows say little is told of, in every place where somebody might take it for a good one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ofa.lut import index, noise
from ofa.lut.format import Lut
from ofa.lut.write import write

from .test_heldout import additive

Run = Callable[..., tuple[int, str, str]]
FLAGS = ("cpu", "drift", "loaded")


def spoilt(lut: Lut, share: float = 1.0, flags: tuple[str, ...] = FLAGS) -> Lut:
    """Return a table with this share of its rows noisy, each known to 25 %."""
    wide = [
        row._replace(status="noisy", lo=(row.ns or 0) * 3 // 4, hi=(row.ns or 0) * 5 // 4, flags=flags)
        for row in lut.rows[: round(share * len(lut.rows))]
    ]
    return dataclasses.replace(lut, rows=(*wide, *lut.rows[len(wide) :]))


def test_a_table_of_noisy_rows_is_told_of_with_the_cause_and_stays_valid(run: Run, table: Lut, tmp_path: Path) -> None:
    bare = dataclasses.replace(spoilt(additive(table)), networks=())
    write(bare, tmp_path / "luts" / str(bare.header.place))
    (tmp_path / "luts" / "README.md").write_text(f"{index.BEGIN}\n{index.END}\n")
    code, _, err = run("lut", "check", str(tmp_path / "luts"))
    assert code == 0 and f"all {len(bare.rows)} rows are noisy (± 25.0 % in the median)" in err
    assert "the device did other work, speed drifted between rounds;" in err and "no held-out networks say" in err
    index.write(tmp_path / "luts")
    assert "| ± 25.0 %<br>100 % noisy<br>**loaded** |" in (tmp_path / "luts" / "README.md").read_text()


@pytest.mark.parametrize(
    ("off", "share", "words"),
    [
        (1.0, 1.0, None),
        (1.25, 0.4, None),
        (1.25, 1.0, "its sums are off by"),
    ],
)
def test_noise_is_no_warning_where_sums_are_known_to_be_good_or_few_rows_have_it(
    run: Run, table: Lut, tmp_path: Path, off: float, share: float, words: str | None
) -> None:
    lut = spoilt(additive(table, holdout_off=off), share)
    write(lut, tmp_path / "table")
    code, _, err = run("lut", "check", str(tmp_path / "table"))
    assert code == 0 and ("rows are noisy" in err) == (words is not None) and (words or "") in err


def test_networks_alone_are_counted_where_there_is_no_op(table: Lut) -> None:
    networks = tuple(row._replace(status="noisy", flags=("moved",)) for row in additive(table).networks)
    found: dict[str, Any] = noise.facts(dataclasses.replace(table, rows=(), networks=networks))
    assert (found["measured"], found["noisy"]) == (len(networks), len(networks)) == (30, 30)
    assert noise.disturbed(found) == ["moved"] and found["flags"] == {"loaded": 0, "drift": 0, "moved": 30}
