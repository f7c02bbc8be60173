"""The verb that searches, by `ofa.cli`'s convention: heavy imports in its body, ``--json`` for facts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ofa import completing
from ofa.options import TINY, Channels, Classes, Json, MaybeOut, Seed, SpaceName, Width, example, load_space

if TYPE_CHECKING:
    from ofa.search.answer import How
    from ofa.search.request import Request, Target

POINTS = 20
SHOWN_CHANGES = 12
# A latency model has one beside its parts, below zero where they add up to too much.
CONSTANT = "none of them: the model's constant"

Spec = Annotated[
    str,
    typer.Option(
        "--accuracy", metavar="SPEC", help="Folder of a saved twin, or ofa-mlp:FILE.npz, the published predictor."
    ),
]
Tables = Annotated[
    list[Path] | None,
    typer.Option(
        "--lut",
        metavar="PATH",
        help="A table, ours or a published file; several are parts of one.",
        autocompletion=completing.tables,
    ),
]
Under = Annotated[str | None, typer.Option("--under", metavar="25ms", help="Most latency, with --lut.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME=PATH[,PATH...]:25ms", help="A device and its limit; one for each."),
]
Energy = Annotated[str | None, typer.Option("--under-energy", metavar="8mJ", help="Most energy of one call.")]
Activation = Annotated[
    str | None, typer.Option("--under-activation", metavar="4MB", help="Most bytes of activations, fp32.")
]
Resident = Annotated[
    str | None, typer.Option("--under-rss", metavar="60MB", help="Most resident memory, by a fitted model.")
]
Params = Annotated[str | None, typer.Option("--under-params", metavar="6M", help="Most parameters.")]
Macs = Annotated[str | None, typer.Option("--under-macs", metavar="400M", help="Most MACs.")]
Size = Annotated[str | None, typer.Option("--under-size", metavar="20MB", help="Most bytes of weights, fp32.")]
Thorough = Annotated[bool, typer.Option("--thorough", help="Search about 15 times as long.")]
AsFront = Annotated[bool, typer.Option("--front", help="Subnets along the first limit, up to it, not one.")]
Points = Annotated[int, typer.Option("--points", metavar="N", min=1, max=200, help="How many subnets along a front.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Also tell what the parts cost and what each single change would do.")
]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, max=16, help="How many subnets that differ to print.")]
State = Annotated[
    Path | None, typer.Option("--state", metavar="FILE.npz", help="Write the search here; go on from it.")
]

app = typer.Typer()


@app.command(
    "search",
    epilog=example(
        f"ofa search --space {TINY} --lut runs/table/lut \\",
        "  --accuracy runs/mine/accuracy --under 5ms --seed 0",
    ),
)
def search(
    space: SpaceName,
    accuracy: Spec,
    lut: Tables = None,
    under: Under = None,
    target: Targets = None,
    under_energy: Energy = None,
    under_activation: Activation = None,
    under_rss: Resident = None,
    under_params: Params = None,
    under_macs: Macs = None,
    under_size: Size = None,
    thorough: Thorough = False,
    front: AsFront = False,
    points: Points = POINTS,
    top: Top = 1,
    explain: Explain = False,
    state: State = None,
    out: MaybeOut = None,
    width: Width = None,
    channels: Channels = None,
    classes: Classes = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Find the most accurate subnet within limits.

    The answer says how near that is to the best. Exit code 6 where no subnet fits: the message names the nearest limit
    that one meets.
    """
    from ofa import console
    from ofa.search import errors
    from ofa.search import request as requests
    from ofa.search.answer import How

    alone = {"--thorough": thorough, "--top": top > 1, "--explain": explain, "--state": state is not None}
    if front and any(alone.values()):
        raise errors.not_of_a_front([name for name, is_given in alone.items() if is_given])
    asked = _further(under_energy, under_activation, under_rss, under_params, under_macs, under_size)
    targets = _targets(lut or [], under, target or [], list(asked))
    whole = load_space(space, width, channels, classes)
    how = How(seed=seed, points=points if front else None, top=top, thorough=thorough)
    with errors.as_typed(by_target=bool(target)):
        made = requests.request(whole, accuracy, targets, asked, warn=console.warn)
        with _in_folder(out, lambda folder: _kept().keep(folder, whole, accuracy, targets, asked, how)):
            if front:
                _show_front(made, how, out=out, json=json)
            else:
                _show_best(made, how, explain=explain, state=state, out=out, json=json)


def _kept() -> ModuleType:
    """Return what writes run folders; a search without one does not load it."""
    from ofa.search import kept

    return kept


@contextmanager
def _in_folder(out: Path | None, begin: Callable[[Path], None]) -> Iterator[None]:
    """Begin a run folder, where one is asked for; leave nothing there of a search that finds nothing: the next one,
    under other limits, goes there. Raises UsageInvalid where another search is at work in it."""
    from ofa.errors import NoSubnetFits
    from ofa.lock import alone

    if out is None:
        yield
        return
    with alone(out):
        begin(out)
        try:
            yield
        except NoSubnetFits:
            _kept().drop(out)
            raise


def _further(
    energy: str | None,
    activation: str | None,
    resident: str | None,
    params: str | None,
    macs: str | None,
    size: str | None,
) -> dict[str, float]:
    """Return the limits beside those of latency, by name, in the units limits are held in; raises UsageInvalid."""
    from ofa.search import request as requests
    from ofa.search.asked import LIMITS
    from ofa.search.errors import OPTIONS

    kinds = ("energy", "memory", "memory", "count", "count", "memory")
    texts = (energy, activation, resident, params, macs, size)
    found = zip(LIMITS, texts, kinds, strict=True)
    return {name: requests.quantity(text, kind, of=OPTIONS[name]) for name, text, kind in found if text is not None}


def _targets(lut: list[Path], under: str | None, named: list[str], further: Sequence[str]) -> list[Target]:
    """Return the devices that the options name; with a ``further`` limit a table needs none on latency. Raises
    UsageInvalid."""
    from ofa.search import errors
    from ofa.search import request as requests

    if lut and named:
        raise errors.target_and_table()
    if under is not None and not lut:
        raise errors.limit_without_table()
    if lut and under is None and not further:
        raise errors.no_limit()
    if not lut and not named:
        raise errors.no_device(further)
    if lut:
        at_most_ms = None if under is None else requests.quantity(under, "latency", of=errors.OPTIONS["latency"])
        return [requests.Target(name="latency", paths=tuple(lut), at_most_ms=at_most_ms)]
    return [requests.target(text) for text in named]


def _show_best(made: Request, how: How, *, explain: bool, state: Path | None, out: Path | None, json: bool) -> None:
    """Search for one network, keep the answer where that is asked for, and print it."""
    import shlex
    import sys
    import time
    from contextlib import nullcontext

    from ofa import console
    from ofa.search import answer

    began_s = time.process_time()
    # The line that goes on is the same one: the state is found.
    line = shlex.join(["ofa", *sys.argv[1:]])
    with console.resumable(f"the search was stopped; '{state}' holds what it found", line) if state else nullcontext():
        found = answer.best(made, how, state=state)
    facts = answer.facts_of_best(made, found, how) | {"cpu_s": round(time.process_time() - began_s, 3)}
    reasons = {"why": answer.why(made, found.best)} if explain else {}
    _keep(out, lambda: answer.kept_of_best(made, found, how))
    if json:
        console.emit_json(facts | reasons)
        return
    best = _flat(facts["best"])
    console.show({"best": best, **{key: facts[key] for key in facts if key not in ("best", "top")}})
    _show_limits(made, facts["best"])
    if "top" in facts:
        rows = [_flat(network) for network in facts["top"]]
        console.listing(rows, title="\nsubnets that differ, best first")
    if explain:
        _show_why(made, reasons["why"], facts["best"]["limits"])


def _show_limits(made: Request, best: dict[str, Any]) -> None:
    """Print what a network counts as in each limit: of what is predicted that is more than the prediction itself."""
    from ofa import console

    rows = [
        {"limit": limit.name, "at most": limit.at_most, "counted as": best["limits"][limit.name], "unit": limit.unit}
        for limit in made.limits
    ]
    if rows:
        console.listing(rows, title="\nlimits; a prediction is counted with the margin that its errors ask for (90 %)")


def _show_why(made: Request, why: dict[str, Any], counted: dict[str, float]) -> None:
    """Print what the parts of a network cost, and the single changes that would have made it most accurate."""
    from ofa import console
    from ofa.search.why import BESIDE

    units = {limit.name: limit.unit for limit in made.limits}
    for name, parts in why["costs"].items():
        column = f"{name}, {units[name]}" if units[name] else name
        rows = [
            {"part": CONSTANT if part == BESIDE else part, column: value, "share": f"{value / counted[name]:.0%}"}
            for part, value in parts.items()
        ]
        rows.append({"part": "all, as it is counted", column: counted[name], "share": "100%"})
        console.listing(rows, title=f"\nwhat its parts add to what it is counted as: {name}")
    rows = [
        {
            "change": f"{change['gene']}: {change['was']:g} to {change['becomes']:g}",
            "points": change["points"],
            "turned down for": ", ".join(change["over"]) or "accuracy",
        }
        for change in why["changes"][:SHOWN_CHANGES]
    ]
    console.listing(rows, title=f"\nsingle changes, the {len(rows)} most accurate of {len(why['changes'])}")


def _keep(out: Path | None, of: Callable[[], dict[str, Any]]) -> None:
    """Write the answer into the run folder, where there is one."""
    if out is None:
        return
    from ofa import console

    console.note(f"wrote {_kept().write(out, of())}")


def _flat(network: dict[str, Any]) -> dict[str, Any]:
    """Return a network for a table: one value for each column, its accuracy with half the width of its interval."""
    rest = {key: value for key, value in network["subnet"].items() if key != "space"}
    half = {"± (90 %)": network["accuracy_hi"] - network["accuracy"]} if "accuracy_hi" in network else {}
    latency_ms = network["latency_ms"]
    several = isinstance(latency_ms, dict)
    shown = {f"{name} predicted ms": ms for name, ms in latency_ms.items()} if several else {"predicted ms": latency_ms}
    texts = {key: str(value) if isinstance(value, list) else value for key, value in rest.items()}
    return {"accuracy": network["accuracy"], **half, **shown, **texts}


def _show_front(made: Request, how: How, *, out: Path | None, json: bool) -> None:
    """Search for a whole front, keep the answer where that is asked for, and print it."""
    import time

    from ofa import console
    from ofa.search import answer

    began_s = time.process_time()
    with console.progress("searching along the front", how.points or 0) as advance:
        found = answer.front(made, how, on_point=lambda number: advance())
    cpu_s = time.process_time() - began_s
    facts = answer.facts_of_front(made, found)
    _keep(out, lambda: answer.kept_of_front(made, found))
    console.note(f"hypervolume {found.hypervolume:.4g}; {found.evaluated:,} networks were scored in {cpu_s:.1f} CPU s")
    if json:
        console.emit_json(facts)
        return
    along = made.limits[0]
    under = f"{along.name} under, {along.unit}"
    rows = [{under: point["under"], **_flat(point), "bound": point["upper_bound"]} for point in facts]
    console.listing(rows)
