"""The page that tells what happens at each fault names a test for it, and that test is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "add-a-device.md"


def test_each_fault_names_tests_that_are_there() -> None:
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith("| ") and "::test_" in row]
    assert len(rows) > 10
    for row in rows:
        for path, name in re.findall(r"`([\w/]+\.py)::(test_\w+)`", row):
            assert f"def {name}(" in (HERE / path).read_text(), f"{path}::{name}"
