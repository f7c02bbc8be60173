"""Whether 90 % intervals of accuracy twins hold for networks that searches picked: supernets of several seeds.

Each is trained, labelled and learned from as the demo does it. Searches under forty limits, on the latency twins of a
finished demo, pick networks that have no label; they are labelled then, on the same images. Beside it, the same twin
without what was foretold in its rounds: cross-validated errors alone. The devices that a round makes up are the same
for all seeds. Folders of before are taken up.

    ofa demo --out FOLDER
    python benchmarks/picked.py --run FOLDER --out FOLDER
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from choices import Lab, held, opened, searched, tested
from record import record

from harness.demo import RUNTIMES, Place, Settings, accuracy_twin, settings, train
from harness.inventory import this_computer
from harness.learn import LABELS
from ofa.train import labelled
from ofa.twins import accuracy


def seeded(seed: int) -> Settings:
    """Return the demo's settings with another seed: other weights, other scenes, other labels."""
    chosen = settings()
    return dataclasses.replace(chosen, recipe=dataclasses.replace(chosen.recipe, seed=seed), seed=seed)


def lesson(demo: Lab, folder: Path, chosen: Settings) -> dict[str, Any]:
    """Train, label and learn in a folder, search on the tables of a demo; return how often intervals held."""
    space = demo.ms[RUNTIMES[0]].space
    place = Place(folder=folder, settings=chosen, space=space, device=this_computer(folder / ".files"))
    twin = accuracy_twin(place, train(place))
    genomes, top1 = labelled.read(folder / LABELS, space)
    lab = dataclasses.replace(demo, folder=folder, top1=twin, seen=genomes)
    picks = {one.id: one for runtime in RUNTIMES for pick in searched(lab, runtime) for one in pick.offered}
    found = tested(lab, list(picks.values()), chosen)
    actual = np.array([found[name] for name in picks])
    drawn = accuracy.fit(space, genomes, top1, seed=chosen.seed)
    return {
        "seed": chosen.seed,
        "foretold": twin.card["interval"]["foretold"],
        **held(twin, list(picks.values()), actual),
        "without_what_was_foretold": held(drawn, list(picks.values()), actual),
    }


def main() -> None:
    """Go through the seeds, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished demo")
    parser.add_argument("--out", type=Path, required=True, help="folder for the supernets")
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    demo = opened(given.run)
    rows = [lesson(demo, given.out / f"s{seed}", seeded(seed)) for seed in range(1, given.seeds + 1)]
    networks = np.array([row["networks"] for row in rows])
    found = {
        "networks": int(networks.sum()),
        "held_pct": shared(rows, networks),
        "held_without_what_was_foretold_pct": shared([row["without_what_was_foretold"] for row in rows], networks),
        "supernets": rows,
    }
    record("picked", "90 % intervals on networks that searches picked, by supernet", found, "--run FOLDER --out FOLDER")


def shared(rows: list[dict[str, Any]], networks: np.ndarray) -> float:
    """Return how many of all networks lay inside their interval, percent."""
    return round(float(np.average([row["held_pct"] for row in rows], weights=networks)), 1)


if __name__ == "__main__":
    main()
