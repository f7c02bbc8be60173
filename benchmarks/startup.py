"""How long `ofa --help` takes, beside a Python process that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from record import record

REPEATS = 11


def main() -> None:
    """Measure both in turn, and write the result."""
    commands = {"help": ["-m", "harness.cli", "--help"], "empty": ["-c", "pass"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            taken[name].append(time.perf_counter() - began)
    help_s, empty_s = median(taken["help"]), median(taken["empty"])
    found = {"help_s": round(help_s, 3), "empty_s": round(empty_s, 3), "ratio": round(help_s / empty_s, 1)}
    record("startup", "wall time of 'ofa --help' beside an empty Python process, medians", found)


if __name__ == "__main__":
    main()
