"""The README's numbers are those of the committed results, and every link of a document leads somewhere."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

import ofa.space as spaces

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / room / "README.md" for room in ("devices", "luts", "benchmarks")),
]
RESULTS = ROOT / "benchmarks" / "results"
# What no script measures.
BY_HAND = "strangers.json"


ROW = re.compile(r"\| `(\w+\.py)` \|.*\| `results/([\w./]+)`(?:; (not run yet)(?:: (.+))?)? \|")
LISTED = re.findall(ROW, (ROOT / "benchmarks" / "README.md").read_text())


def demo_table() -> list[str]:
    """Return the README's table of a demo, from its result."""
    rows = json.loads((RESULTS / "demo.json").read_text())["result"]["rows"]
    lines = []
    for row in rows:
        half = 100 * (row["measured_hi_ms"] - row["measured_lo_ms"]) / 2 / row["measured_ms"]
        cells = (
            row["runtime"],
            f"{row['budget_ms']:.3f}",
            f"{row['predicted_ms']:.3f}",
            f"{row['measured_ms']:.3f} ± {half:.1f} %",
            f"{row['as_timed_ms']:.3f}",
            f"{row['measured_on_other_ms']:.3f}",
            f"{row['predicted_top1']:.1f}",
            f"{row['measured_top1']:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def test_the_readme_tells_the_committed_demo() -> None:
    text = (ROOT / "README.md").read_text()
    for line in demo_table():
        assert line in text, line
    found = json.loads((RESULTS / "demo.json").read_text())
    result, machine = found["result"], found["machine"]
    said = (
        f"{result['wall_s']} s",
        f"{result['peak_mib'] / 1024:.1f} GiB",
        f"{result['mean_latency_error_pct']:.1f} %",
        f"{result['mean_accuracy_error_points']:.1f} points",
        f"{result['mean_signed_accuracy_error_points']:.1f} points too high",
        f"{result['measured_top1_inside_its_interval']} measured accuracies",
        f"{machine['cores']} cores",
        found["date"],
    )
    assert result["broken_promises"] == []
    for words in said:
        assert words in text, words


@pytest.mark.parametrize("name", ["demo", "estimate", "search", "startup", "table"])
def test_a_result_says_how_it_came_about(name: str) -> None:
    found = json.loads((RESULTS / f"{name}.json").read_text())
    assert found["command"] == f"python benchmarks/{name}.py" and (ROOT / "benchmarks" / f"{name}.py").exists()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"]) and found["machine"]["cores"] and found["versions"]["python"]


def parts_of(result: Path) -> set[str]:
    """Return what a result holds: the arms that a folder has files of, or the spaces that a file tells of."""
    if result.is_dir():
        return {path.stem.rsplit("-", 1)[0] for path in result.iterdir()}
    return {name.rsplit("-w", 1)[0] for name in json.loads(result.read_text())["result"]}


@pytest.mark.parametrize(("script", "result", "mark", "missing"), LISTED, ids=lambda text: text or "-")
def test_a_listed_result_is_there_or_said_to_be_missing(script: str, result: str, mark: str, missing: str) -> None:
    assert (ROOT / "benchmarks" / script).exists()
    left_out = set(re.findall("`([^`]+)`", missing))
    assert (RESULTS / result).exists() == (not mark or bool(left_out)), "'not run yet' is wrong or lacking"
    if left_out:
        assert left_out.isdisjoint(parts_of(RESULTS / result)), "it has been run: list it as missing no more"
    if result in ("estimate.json", "search.json"):
        assert parts_of(RESULTS / result) | left_out == set(spaces.names())


def test_every_result_is_listed() -> None:
    listed = {result.strip("/") for _, result, *_ in LISTED}
    assert listed | {BY_HAND} >= {path.name for path in RESULTS.iterdir()}
    assert BY_HAND in (ROOT / "benchmarks" / "README.md").read_text()


def test_what_strangers_met_is_told_as_they_noted_it() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = json.loads((RESULTS / BY_HAND).read_text())
    assert found["date"] in text
    for journey, met in found["result"].items():
        assert f"| {journey} | {met['minutes']:g} | {met['stumbles']} | {met['ended']} |" in text
    added = found["result"]["SSH board to table to commit"]
    said = f"a committed table in {added['minutes']:g} minutes and stumbled {added['stumbles']} times"
    assert said in (ROOT / "docs" / "add-a-device.md").read_text()


def test_what_filled_cells_are_worth_is_what_the_benchmark_found() -> None:
    text = (ROOT / "docs" / "reading-a-lut.md").read_text()
    found = json.loads((RESULTS / "lut_fill.json").read_text())
    assert found["command"] == "python benchmarks/lut_fill.py --data FOLDER"
    promises = found["result"]["promises"]
    assert promises.pop("the published network of 30 ms")["ms"] == [29.97] and "29.97 ms" in text
    assert len(promises) == 5
    for name, said in promises.items():
        assert said["kept"] and said["pct"] <= said["limit_pct"]
        assert f"| {name} | {said['pct']:.2f} % | {said['limit_pct']:g} % |" in text


def test_the_supernets_on_the_page_are_those_of_the_result_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    made = importlib.import_module("supernet_table")
    text = (ROOT / "docs" / "training.md").read_text()
    between = text.partition(made.BEGIN)[2].partition(made.END)[0]
    assert between == f"\n\n{made.page()}\n\n", "run 'python benchmarks/supernet_table.py'"


def test_the_page_says_how_many_epochs_each_recipe_has() -> None:
    recipes = pytest.importorskip("ofa.train.recipes", reason="the package 'torch' is not installed").RECIPES
    text = (ROOT / "docs" / "training.md").read_text()
    said = dict(
        re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text.partition("| recipe | epochs |")[2].partition("\n\n")[0], re.M)
    )
    assert said == {name: f"{sum(phase.epochs for phase in make().phases):,.0f}" for name, make in recipes.items()}


def test_supernets_were_tested_on_as_many_images_as_the_page_says() -> None:
    """Of so many images a share is a whole number of them, but for the third digit that a percent was rounded to."""
    text = (ROOT / "docs" / "training.md").read_text()
    said = int(text.partition(" test images; `plain`")[0].rpartition(" ")[2].replace(",", ""))
    for path in (RESULTS / "supernet_cifar10").iterdir():
        for top1 in json.loads(path.read_text())["result"]["top1"].values():
            right = top1 * said / 100
            assert abs(right - round(right)) <= said * 5.1e-6, f"{path.name}: {top1} % of {said:,} images"


def test_what_a_training_costs_is_what_a_step_took() -> None:
    text = (ROOT / "docs" / "training.md").read_text().replace("\n", " ")
    found = json.loads((RESULTS / "train_step.json").read_text())["result"]
    assert found["step_of"].startswith("MobileNetV3 w1.0, 32 images of 160 px, 2 threads")
    seconds = {name: found["step"][name]["elastic_s"] for name in ("largest", "smallest", "random")}
    for words in (f"largest subnet takes {seconds['largest']:.2f} s", f"smallest {seconds['smallest']:.2f} s"):
        assert words in text
    whole_s = seconds["largest"] + seconds["smallest"] + 2 * seconds["random"]
    years = 1.28e6 * 360 / 32 * whole_s / (365.25 * 24 * 3600)
    assert f"random one {seconds['random']:.2f} s: {whole_s:.1f} s for one of `imagenet`" in text
    assert f"take {years:.1f} years there" in text


def mapped() -> set[str]:
    """Return the modules that the map of the design page names, each in the room whose line it stands under."""
    text = (ROOT / "docs" / "design.md").read_text().partition("## The map in full")[2]
    found: set[str] = set()
    rooms: dict[int, str] = {}
    for line in text.partition("```text\n")[2].partition("```")[0].splitlines():
        indent = len(line) - len(line.lstrip())
        rooms = {left: room for left, room in rooms.items() if left < indent}
        if (first := line.split()[0]).endswith("/"):
            rooms[indent] = first
        line = re.sub(r"{([\w,]+)}", lambda names: names[1].replace(",", ".py "), line)
        found |= {"".join(rooms.values()) + name for name in re.findall(r"(?<![\w.`])\w+\.py\b", line)}
    return found


def test_the_map_in_full_names_every_module_and_no_other() -> None:
    there = {path.relative_to(ROOT) for room in ("ofa", "harness", "devices") for path in ROOT.glob(f"{room}/**/*.py")}
    rooms = {path for path in there if path.stem not in ("__init__", "__main__")}
    # That a room has messages of its own is said once for all.
    wanted = {path.as_posix() for path in rooms if path.stem != "errors" or len(path.parts) == 2}
    assert not wanted - mapped(), "name them in docs/design.md, with what they are for"
    assert not {name for name in mapped() if not (ROOT / name).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
