"""How long tables of finished runs took to build: rounds, the second measurement, memory; model files not counted.

What is known of other tables is kept, each with its own date: they need not be built on one day.

    python benchmarks/build.py --run RUN --run RUN
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from record import known, record

from harness import journal as journals
from harness.tables import AGAIN_JOURNAL, JOURNAL, TABLE
from ofa.lut import format


def of_run(folder: Path) -> dict[str, Any]:
    """Return how long one run took, and how much memory its agents held."""
    times: list[datetime] = []
    facts: dict[str, Any] = {}
    for name in (JOURNAL, AGAIN_JOURNAL):
        with journals.open_journal(folder / name) as journal:
            rows = journal.database.execute("SELECT started_utc FROM attempts UNION ALL SELECT ended_utc FROM ends")
            times += [datetime.fromisoformat(text) for (text,) in rows]
            batches = [facts for *_, facts in journal.batches()]
            if name == JOURNAL:
                facts |= {
                    "device": journal.plan.device,
                    "runtime": journal.plan.runtime,
                    "precision": journal.plan.way.precision,
                    "items": len(journal.plan.items),
                    "rounds": len(journal.complete_rounds()),
                    "batches": len(batches),
                    "batches_redone": sum(int(one["redone"]) for one in batches),
                    "agent_peak_mib": max(float(one["state"].get("peak_rss_mib", 0)) for one in batches),
                }
    # The plan is written when all model files are there: these are built once for all runs, and are in no figure. The
    # memory of networks is measured after the last round.
    plan, last = folder / "plan.json", folder / "lut" / "lut.json"
    facts["minutes_of_rounds"] = round((max(times) - min(times)).total_seconds() / 60, 1)
    facts["minutes_in_all"] = round((last.stat().st_mtime - plan.stat().st_mtime) / 60, 1)
    facts["date"] = f"{max(times):%Y-%m-%d}"
    return facts


def main() -> None:
    """Read every run, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, action="append", required=True, help="folder of a finished 'ofa bench'")
    given = parser.parse_args()
    found = known("build") | {format.read(folder / TABLE).name: of_run(folder) for folder in given.run}
    record("build", "how long whole tables took to build, networks included", found, "--run FOLDER …")


if __name__ == "__main__":
    main()
