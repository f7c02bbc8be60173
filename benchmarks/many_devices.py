"""Twenty devices over SSH at once: how long until all have said hello, and what a campaign costs the bench host.

Each is an OpenSSH server of its own on loopback, so host and devices share this computer's cores. The host's part is a
process of its own, which tells its CPU time and the most memory it held.

    python benchmarks/many_devices.py
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import loopback
from record import record

DEVICES, LIMIT_S = 20, 10.0
SPACE = ["--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10"]
# No op and one network: what the host does for each device, not what devices do.
SMALL = ["--no-ops", "--fit", "1", "--holdout", "1", "--rounds", "1", "--rounds-most", "1", "--no-again"]


def main() -> None:
    """Start the devices, and let a host greet them and measure on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--inside", choices=["hello", "campaign"], help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        found = greeted(given.names) if given.inside == "hello" else measured(given.names)
        print(json.dumps(found | cost()))
        return
    with tempfile.TemporaryDirectory() as folder, loopback.servers(Path(folder), given.devices) as servers:
        listed = {f"board-{number}": (server, 'runtime = "onnxruntime"') for number, server in enumerate(servers)}
        own, names = loopback.host(Path(folder) / "host", listed), list(listed)
        found = {
            "devices": given.devices,
            "nothing": loopback.inside(own, __file__, "--inside", "hello"),
            "agents_brought": loopback.inside(own, __file__, "--inside", "hello", *names),
            "agents_there": loopback.inside(own, __file__, "--inside", "hello", *names),
            "campaign_of_one": loopback.inside(own, __file__, "--inside", "campaign", names[0]),
            "campaign": loopback.inside(own, __file__, "--inside", "campaign", *names),
        }
    slowest_s = max(found["agents_brought"]["all_s"], found["agents_there"]["all_s"])
    found |= {"limit_s": LIMIT_S, "kept": slowest_s <= LIMIT_S}
    what = "devices over SSH, on loopback: seconds until all are connected and have said hello, and the host's own cost"
    record("many_devices", what, found, "" if given.devices == DEVICES else f"--devices {given.devices}")


def greeted(names: list[str]) -> dict[str, Any]:
    """Connect to all devices at once and ask each what it is."""
    from harness.fleet import together
    from harness.inventory import device_named
    from harness.session import greet
    from harness.verbs import files

    devices = {name: device_named(name, files()) for name in names}
    began_s = time.monotonic()

    def one(name: str, _: Any) -> dict[str, Any]:
        greet(devices[name])
        return {"s": time.monotonic() - began_s}

    found = [outcome.facts or {} for outcome in together(names, one)]
    taken = sorted(float(facts["s"]) for facts in found)
    return {"all_s": round(max(taken, default=0.0), 2), "first_s": round(min(taken, default=0.0), 2)}


def measured(names: list[str]) -> dict[str, Any]:
    """Run a small campaign on all devices, of which every one must succeed."""
    from harness.cli import main as ofa

    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words = [word for name in names for word in ("--device", name)]
        try:
            ofa(["bench", *SPACE, *SMALL, "--allow-load", *words, "--out", f"{folder}/run"])
        except SystemExit as ending:
            if ending.code:
                raise
    return {"wall_s": round(time.monotonic() - began_s, 1)}


def cost() -> dict[str, Any]:
    """Return what this process has computed, and the most it has held."""
    held = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"cpu_s": round(time.process_time(), 2), "peak_mib": round(int(held.group(1)) / 1024) if held else None}


if __name__ == "__main__":
    main()
