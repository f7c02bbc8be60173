"""A run's record adds up over sessions, and refuses another run's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.ledger import RUN, Ledger, at_work, versions
from ofa.errors import FileInvalid, UsageInvalid

FACTS = {"name": "demo", "seed": 0, "space": "mobilenet_v3_tiny-w1.0-c1-n10"}
RUN_OF = '{{"seed": 0, "space": "mobilenet_v3_tiny-w1.0-c1-n10", "stages_s": {}, "sessions": {}}}'


def test_time_adds_up_over_sessions_and_interrupts(tmp_path: Path) -> None:
    first = Ledger(tmp_path, FACTS)
    with pytest.raises(KeyboardInterrupt), first.stage("train", "training"):
        raise KeyboardInterrupt
    first.facts["stages_s"]["train"] = 10.0
    first.save()
    second = Ledger(tmp_path, FACTS)
    with second.stage("train", "training"):
        pass
    with second.stage("label", "labelling"):
        pass
    assert second.wall_s >= 10.0 and set(second.facts["stages_s"]) == {"train", "label"}
    stored = json.loads((tmp_path / RUN).read_text())
    assert stored["date"] == first.facts["date"] and stored["stages_s"] == second.facts["stages_s"]


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", '{"stages_s": 3}', '{"stages_s": {"train": -1}}', '{"stages_s": {"train": NaN}}'),
        *(RUN_OF.format(f'{{"train": {seconds}}}', "[]") for seconds in ("1e999", f"1{400 * '0'}")),
        *(RUN_OF.format("{}", sessions) for sessions in ("5", "[3]", '{"a": 1}', '[{"machine": "\\ud800"}]')),
    ],
)
def test_a_damaged_record_is_refused_and_left(content: str, tmp_path: Path) -> None:
    (tmp_path / RUN).write_text(content)
    with pytest.raises(FileInvalid) as caught:
        Ledger(tmp_path, FACTS)
    assert RUN in caught.value.what and caught.value.hints
    assert (tmp_path / RUN).read_text() == content


def test_another_run_does_not_continue_here(tmp_path: Path) -> None:
    Ledger(tmp_path, FACTS)
    with pytest.raises(FileInvalid) as caught:
        Ledger(tmp_path, FACTS | {"seed": 1})
    assert "seed is 0" in caught.value.why and "is 1" in caught.value.why


def test_a_run_under_luts_is_refused_before_anything_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid, match="no place for a run") as caught, at_work(tmp_path / "luts" / "pixel-8"):
        pass
    assert caught.value.why and caught.value.hints and list(tmp_path.iterdir()) == []


def test_a_run_is_one_process_at_a_time(tmp_path: Path) -> None:
    with at_work(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()


def test_versions_name_what_is_not_there() -> None:
    found = versions("numpy", "no-such-package")
    assert found["no-such-package"] == "not installed" and found["numpy"][0].isdigit()
