"""Write the tables that `docs/training.md` shows of the supernets trained on CIFAR-10, from their result files.

python benchmarks/supernet_table.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ofa.space as spaces
from ofa.files import write_atomic
from ofa.lut.markdown import table

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "training.md"
BEGIN, END = "<!-- supernets: benchmarks/supernet_table.py writes what stands from here -->", "<!-- to here -->"
ARMS = ("plain", "sandwich", "shrinking", "shrinking_frozen")
# The variant of the ablation that the others stand beside.
FIRST = "kernel-depth-expand"
Result = Mapping[str, Any]

ALONE = (
    "The first of these subnets trained alone, from random weights, for as many epochs as `sandwich` has, and what "
    "they reach as subnets (seed 0):"
)
ABLATION = (
    "Order of shrinking, importance of channels, and two other ways to sample, each at a fifth of that size (7.2 T), "
    "50 subnets on every\nsecond test image. How many subnets a step has belongs to the kind that opens, not to its "
    "place, as in the paper's schedule: with kernels last\nthe whole space has one a step."
)


def results(name: str) -> dict[tuple[str, int], Result]:
    """Return what each training of a benchmark came to, by arm or variant and seed."""
    found = {}
    for path in sorted((RESULTS / name).glob("*.json")):
        arm, _, seed = path.stem.rpartition("-")
        found[arm, int(seed)] = json.loads(path.read_text())["result"]
    return found


def gains(found: Mapping[tuple[str, int], Result]) -> str:
    """Return the accuracies of the tested subnets by arm and seed, and the mean gain over the same seed of `plain`."""
    columns = (
        *("arm", "seed", "min", "median", "mean", "max", "smallest", "largest"),
        *("gain in the mean", "CPU min", "images x subnets"),
    )
    return "\n".join(table(columns, _lines(found), right=columns[1:]))


def _lines(found: Mapping[tuple[str, int], Result]) -> Iterator[Sequence[str]]:
    """Yield a line for each training that has many subnets, arms in order."""
    space = spaces.load("mobilenet_v3_tiny", channels=3, classes=10)
    for arm, seed in sorted((key for key in found if key[0] in ARMS), key=lambda key: (ARMS.index(key[0]), key[1])):
        result = found[arm, seed]
        smallest, largest = (result["top1"][space.corner(name).id] for name in ("min", "max"))
        plain = found.get(("plain", seed))
        gain = "" if plain is None or arm == "plain" else f"{result['mean'] - plain['mean']:+.2f}"
        numbers = [f"{result[name]:.2f}" for name in ("min", "median", "mean", "max")]
        images = f"{result['subnet_images'] / 1e6:.2f} M"
        yield (
            f"`{arm}`",
            f"{seed}",
            *numbers,
            f"{smallest:.2f}",
            f"{largest:.2f}",
            gain,
            f"{result['cpu_s'] / 60:.0f}",
            images,
        )


def alone(found: Mapping[tuple[str, int], Result]) -> str:
    """Return how often five architectures are right, trained alone and as subnets of each supernet of seed 0."""
    arms = [arm for arm in ARMS if (arm, 0) in found]
    lines = []
    for (arm, _), result in sorted(found.items()):
        if not arm.startswith("alone-"):
            continue
        [(identity, top1)] = result["top1"].items()
        lines.append([f"`{identity}`", f"{top1:.2f}", *(f"{found[name, 0]['top1'][identity]:.2f}" for name in arms)])
    columns = ("subnet", "alone", *(f"`{arm}`" for arm in arms))
    return "\n".join(table(columns, lines, right=columns[1:]))


def variants(found: Mapping[tuple[str, int], Result]) -> str:
    """Return what each training of the ablation came to, and its mean beside that of the paper's order, same seed.

    No error stands beside a difference: all subnets of a supernet share the luck of its training, so how far they
    spread tells nothing of another seed.
    """
    lines = []
    for (name, seed), result in sorted(found.items(), key=lambda item: -item[1]["mean"]):
        first = found.get((FIRST, seed))
        beside = "" if first is None or name == FIRST else f"{result['mean'] - first['mean']:+.2f}"
        lines.append([f"`{name}`", f"{seed}", *(f"{result[part]:.2f}" for part in ("min", "mean", "max")), beside])
    columns = ("variant", "seed", "min", "mean", "max", "beside the paper's order")
    return "\n".join(table(columns, lines, right=columns[1:]))


def page() -> str:
    """Return what stands on the page: the tables of what has been run."""
    found = results("supernet_cifar10")
    parts = [gains(found)]
    if any(arm.startswith("alone-") for arm, _ in found):
        parts += [ALONE, alone(found)]
    if ablation := results("supernet_ablation"):
        parts += [ABLATION, variants(ablation)]
    return "\n\n".join(parts)


def main() -> None:
    """Write the tables into the page, between its marks."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} lacks the marks {BEGIN} and {END}")
    write_atomic(PAGE, f"{before}{BEGIN}\n\n{page()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
