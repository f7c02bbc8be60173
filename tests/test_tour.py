"""The tour that is a script runs from its first cell to its last, alike every time, and leaves nothing elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ofa.space as spaces

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "docs" / "tour.py"


def run(folder: Path, home: Path) -> str:
    """Run the tour into a folder, with a home and a place for temporary files of its own; return what it printed."""
    home.mkdir()
    place = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {name: value for name, value in os.environ.items() if name != "OFA_CACHE"}
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(TOUR), str(folder)],
        cwd=home,
        env=environment | place | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_tour_goes_from_a_space_to_a_page(tmp_path: Path) -> None:
    pytest.importorskip("xgboost", reason="the package 'xgboost' is not installed")
    pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
    pytest.importorskip("plotly", reason="the package 'plotly' is not installed")
    told = run(tmp_path / "tour", tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == [] and len(told.splitlines()) < 30
    # What 'ofa space facts' says of the corners: the least at the smallest resolution, the most at the largest.
    corners = spaces.facts(spaces.load("mobilenet_v3_tiny", channels=1, classes=10))["corners"]
    least, most = min(corners["min"]["macs"].values()), max(corners["max"]["macs"].values())
    assert f"from {least:,} to {most:,} MACs" in told
    page = (tmp_path / "tour" / "run" / "report.html").read_text(encoding="utf-8")
    assert "At least one input of this page comes from the simulated device" in page
    off, bound, best, predicted, measured = (
        float(found[1])
        for pattern in (
            r"off by ([\d.]+) % on \d+ networks held out \(simulated\)",
            r"no network within both is predicted above ([\d.]+) %",
            r"parameters: \w{12}, predicted ([\d.]+) %",
            r"the twin says ([\d.]+) ms",
            r"measured: ([\d.]+) ms \(simulated\)",
        )
        if (found := re.search(pattern, told))
    )
    assert 0 < off < 10 and best <= bound < best + 1 and predicted == pytest.approx(measured, rel=0.1)
    again = run(tmp_path / "again", tmp_path / "other")
    assert again.replace(str(tmp_path / "again"), "") == told.replace(str(tmp_path / "tour"), "")


def test_the_tour_is_cells_of_text_and_code() -> None:
    cells = re.split(r"^# %%", TOUR.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    texts = [cell for cell in cells if cell.startswith(" [markdown]\n")]
    assert len(texts) >= 9 and len(cells) == 2 * len(texts), "every text has its code"
    for text in texts:
        assert all(line.startswith("#") for line in text.splitlines()[1:] if line)
