"""The whole product on this computer: train, label, measure, fit twins, search, export, verify, report.

Every stage leaves files in the run folder and takes up what an earlier session left there, so an interrupted demo goes
on where it stopped, and a finished one trains and measures nothing again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness import closing, ship
from harness.bench import Scope, bench
from harness.choose import Chosen, Twins, choose
from harness.inventory import Device, this_computer
from harness.learn import LABELS, Lesson, learn
from harness.ledger import Ledger, at_work, versions
from harness.phases import phases
from harness.plan import RuntimeName
from harness.session import greet
from harness.tables import TABLE
from harness.verify import Verification
from ofa import console, files
from ofa.files import readable_json, write_atomic
from ofa.lut.format import Lut
from ofa.space.core import SearchSpace

if TYPE_CHECKING:
    from ofa.nn.supernet import Supernet
    from ofa.train.data import Images
    from ofa.train.recipes import Recipe
    from ofa.twins.accuracy import AccuracyTwin
    from ofa.twins.latency import LatencyTwin

RUNTIMES: tuple[RuntimeName, ...] = ("onnxruntime", "litert")
PACKAGES = ("torch", "onnxruntime", "ai-edge-litert", "xgboost-cpu", "numpy", "scikit-learn")
# Budgets as shares of the way from the least to the largest latency of the space.
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much the demo does. Images are scenes: to train on, for batch norm, for labels, and for the final test.

    ``labels`` random subnets are labelled first, then, in each of ``label_rounds``, ``labels_a_round`` that the
    twin itself would choose.
    """

    recipe: Recipe
    training_images: int
    labels: int = 150
    label_rounds: int = 4
    labels_a_round: int = 18
    calibration_images: int = 256
    label_images: int = 1500
    test_images: int
    scope: Scope = field(
        default_factory=lambda: Scope(fit=32, holdout=12, rounds=5, rounds_most=5, seed=0, again=False, memory=False)
    )
    verify_rounds: int = 7
    coverage: float = 0.9
    population: int = 256
    generations: int = 30
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a demo runs, and with what."""

    folder: Path
    settings: Settings
    space: SearchSpace
    device: Device

    def images(self, kind: str) -> Images:
        """Return a fixed set of scenes: ``calibration`` (training digits), ``label`` or ``test``."""
        from ofa.train import digits
        from ofa.train.data import Images

        chosen = self.settings
        if kind == "calibration":
            source = digits.source("train", chosen.calibration_images, chosen.seed + 1)
        elif kind == "label":
            source = digits.source("twin", chosen.label_images, chosen.seed + 2)
        else:
            source = digits.source("test", chosen.test_images, chosen.seed + 3)
        recipe = chosen.recipe
        assert recipe.mean is not None and recipe.std is not None
        return Images.all_of(source, recipe.mean, recipe.std)

    @property
    def checkpoint(self) -> Path:
        """Return the file of the trained supernet."""
        from ofa.train.folder import CHECKPOINT

        return self.folder / "supernet" / CHECKPOINT


def settings() -> Settings:
    """Return the demo's own settings: minutes on two cores."""
    from ofa.train import digits, recipes

    return Settings(recipe=recipes.demo(), training_images=digits.TRAINING_SCENES, test_images=digits.TEST_SCENES)


def demo(folder: Path, chosen: Settings | None = None) -> dict[str, Any]:
    """Run the demo in a folder, or what of it is not done yet, and return its summary.

    Raises UsageInvalid where another process works in the folder, and what the stages raise; KeyboardInterrupt leaves
    everything finished so far.
    """
    chosen = chosen or settings()
    with at_work(folder):
        space = chosen.recipe.search_space(channels=1, classes=10)
        place = Place(folder=folder, settings=chosen, space=space, device=this_computer(folder / ".files"))
        ledger = Ledger(folder, _facts(place))
        return _stages(place, ledger)


def _stages(place: Place, ledger: Ledger) -> dict[str, Any]:
    """Run every stage in order."""
    from ofa.train import labelled

    with ledger.stage("train", "1/8 train one supernet on cluttered digits"):
        supernet = train(place)
    with ledger.stage("label", "2/8 measure the accuracy of some of its subnets, and fit the accuracy twin"):
        accuracy = accuracy_twin(place, supernet)
    tables: dict[RuntimeName, Lut] = {}
    latency: dict[RuntimeName, LatencyTwin] = {}
    for number, runtime in enumerate(RUNTIMES, 3):
        with ledger.stage(f"bench-{runtime}", f"{number}/8 measure this computer with {runtime}"):
            tables[runtime] = _bench(place, runtime)
            latency[runtime] = _latency_twin(place, runtime, tables[runtime])
    with ledger.stage("search", "5/8 search under three budgets for each runtime"):
        picks = [pick for runtime in RUNTIMES for pick in _search(place, runtime, accuracy, latency[runtime], tables)]
    with ledger.stage("export", "6/8 export the chosen networks to ONNX and TFLite"):
        _export(place, supernet, picks)
    with ledger.stage("verify", "7/8 run and test the exported files"):
        verified = {runtime: _verify(place, runtime, tables, latency, picks) for runtime in RUNTIMES}
        tested = _test(place, picks)
    with ledger.stage("report", "8/8 write the report"):
        _write_json(place.folder / "verify.json", {name: dataclasses.asdict(found) for name, found in verified.items()})
        models = closing.models(place.space, accuracy, latency, tables)
        # Random subnets alone: those labelled later were picked for being good.
        labels = labelled.read(place.folder / LABELS, place.space)[1][: place.settings.labels]
        rows = closing.rows(place.device.name, picks, verified, tested)
        summary = closing.summary(ledger.wall_s, labels, models, rows, verified)
    # The page names every file by hash, so it is drawn when no other file changes any more, its own time uncounted.
    summary["wall_s"] = ledger.wall_s
    _write_json(place.folder / "summary.json", summary)
    _report(place.folder)
    return summary


def _facts(place: Place) -> dict[str, Any]:
    """Return what a run's record says of it."""
    return {
        "name": place.folder.name,
        "command": "ofa demo",
        "seed": place.settings.seed,
        "space": place.space.id,
        "machine": greet(place.device).environment,
        "versions": versions(*PACKAGES),
    }


def train(place: Place) -> Supernet:
    """Train the supernet, or return the one that is there."""
    from ofa.train import data, digits, loop, showing

    folder, recipe = place.folder / "supernet", place.settings.recipe
    scenes = data.divided(digits.source("train", place.settings.training_images, recipe.seed), recipe)
    if (known := loop.trained(folder, recipe, scenes)) is not None:
        return known
    with console.progress("training", recipe.schedule(len(scenes.train)).steps) as advance:
        before = 0

        def tell(found: loop.Progress) -> None:
            nonlocal before
            done, earlier = showing.since(before, found.step)
            advance(done, note=f"loss {found.loss:.2f}", before=earlier)
            before = found.step

        watch = (place.images("calibration"), place.images("label"))
        return loop.train(recipe, scenes, folder, watch=watch, on_step=tell)


def accuracy_twin(place: Place, supernet: Supernet) -> AccuracyTwin:
    """Label subnets and fit the accuracy twin on them."""
    chosen, path = place.settings, place.folder / LABELS
    lesson = Lesson(
        supernet=supernet,
        path=path,
        calibration=place.images("calibration"),
        images=place.images("label"),
        seed=chosen.seed,
        origin={
            "checkpoint_sha256": files.sha256_file(place.checkpoint),
            "calibration_images": chosen.calibration_images,
            "label_images": chosen.label_images,
            "seed": chosen.seed,
        },
    )
    twin = learn(lesson, first=chosen.labels, rounds=chosen.label_rounds, each=chosen.labels_a_round)
    twin = dataclasses.replace(twin, card=twin.card | _parents(place, path, place.checkpoint))
    twin.save(place.folder / "twins" / "accuracy")
    return twin


def _bench(place: Place, runtime: RuntimeName) -> Lut:
    """Measure this computer with one runtime."""
    with phases(f"measuring with {runtime}") as tell:
        return bench(
            place.space,
            device=place.device,
            runtime=runtime,
            folder=place.folder / runtime,
            scope=place.settings.scope,
            on_progress=tell,
        )


def _latency_twin(place: Place, runtime: RuntimeName, lut: Lut) -> LatencyTwin:
    """Fit the latency twin of a table on its own fit networks."""
    from ofa.twins import tables

    twin = tables.fit(place.space, lut, seed=place.settings.seed)
    header = place.folder / runtime / TABLE / "lut.json"
    twin = dataclasses.replace(twin, card=twin.card | _parents(place, header))
    twin.save(place.folder / runtime / "twin")
    return twin


def _search(
    place: Place,
    runtime: RuntimeName,
    accuracy: AccuracyTwin,
    latency: LatencyTwin,
    tables: Mapping[RuntimeName, Lut],
) -> list[Chosen]:
    """Choose one network for each budget, none of those that a twin has seen, and write the front."""
    from ofa.train import labelled

    seen = [
        labelled.read(place.folder / LABELS, place.space)[0],
        *(closing.networks(place.space, lut, None)[0] for lut in tables.values()),
    ]
    twins = Twins(
        accuracy=accuracy,
        latency=latency,
        coverage=place.settings.coverage,
        seen=np.concatenate(seen),
        images=(place.settings.label_images, place.settings.test_images),
    )
    with console.progress(f"searching for {runtime}", len(SHARES)) as advance:
        picks, front = choose(
            twins,
            runtime,
            shares=SHARES,
            seed=place.settings.seed,
            population=place.settings.population,
            generations=place.settings.generations,
            on_pick=lambda pick: advance(note=f"{pick.budget_ms:.3f} ms: {pick.predicted_top1:.1f} % predicted"),
        )
    cards = (place.folder / "twins" / "accuracy" / "card.json", place.folder / runtime / "twin" / "card.json")
    _write_json(place.folder / runtime / "front.json", front | _parents(place, *cards))
    return picks


def _export(place: Place, supernet: Supernet, picks: list[Chosen]) -> None:
    """Write every chosen network in the form of each runtime: each is also measured on the other one."""
    subnets = list({pick.subnet.id: pick.subnet for pick in picks}.values())
    with console.progress("exporting", len(subnets) * len(RUNTIMES)) as advance:
        ship.export_all(
            supernet,
            subnets,
            place.folder / "models",
            device=place.device,
            runtimes=RUNTIMES,
            checkpoint=place.checkpoint,
            calibration=place.images("calibration"),
            on_file=lambda path: advance(note=path.name),
        )


def _verify(
    place: Place,
    runtime: RuntimeName,
    tables: Mapping[RuntimeName, Lut],
    latency: Mapping[RuntimeName, LatencyTwin],
    picks: list[Chosen],
) -> Verification:
    """Measure every chosen network's file with one runtime."""
    subnets = {pick.subnet.id: pick.subnet for pick in picks}
    predicted_ms = latency[runtime].predict(np.stack([subnet.array for subnet in subnets.values()]))
    with phases(f"verifying with {runtime}") as tell:
        return ship.verify_on(
            place.device,
            runtime,
            place.folder / runtime,
            tables[runtime],
            models={
                name: ship.model_path(place.folder / "models", subnet, runtime) for name, subnet in subnets.items()
            },
            predicted_ms=dict(zip(subnets, predicted_ms.tolist(), strict=True)),
            rounds=place.settings.verify_rounds,
            seed=place.settings.seed,
            on_progress=tell,
        )


def _test(place: Place, picks: list[Chosen]) -> dict[tuple[str, str], float]:
    """Return the test accuracy, percent, of each exported file by (runtime, subnet id), run by its own runtime."""
    images = place.images("test")
    found: dict[tuple[str, str], float] = {}
    with console.progress("testing", len(picks)) as advance:
        for pick in picks:
            path = ship.model_path(place.folder / "models", pick.subnet, pick.runtime)
            top1 = ship.tested_top1(path, pick.runtime, images, pick.subnet.resolution)
            found[pick.runtime, pick.subnet.id] = top1
            advance(note=f"{path.name}: {top1:.1f} %")
    return found


def _report(folder: Path) -> None:
    """Write the report page."""
    from harness.report import write

    write(folder)


def _parents(place: Place, *paths: Path) -> dict[str, Any]:
    """Return the entry that names the files another file was made from."""
    return {"parents": [files.parent(path, relative_to=place.folder) for path in paths]}


def _write_json(path: Path, content: Any) -> None:
    write_atomic(path, readable_json(content))
