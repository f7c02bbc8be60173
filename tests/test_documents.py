"""The README's numbers are those of the committed results, and every link of a document leads somewhere."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

import ofa.space as spaces
from ofa.lut.verdicts import MOST_KEPT

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
    for walk in (found, found["again"]):
        assert walk["date"] in text
        for journey, met in walk["result"].items():
            assert f"| {journey} | {met['minutes']:g} | {met['stumbles']} | {met['ended']} |" in text
    first, second = (walk["result"]["SSH board to table to commit"] for walk in (found, found["again"]))
    said = f"a committed table in {first['minutes']:g} minutes and stumbled {first['stumbles']} times"
    again = f"another took {second['minutes']:g} minutes and stumbled {second['stumbles']} times"
    page = " ".join((ROOT / "docs" / "add-a-device.md").read_text().split())
    assert said in page and again in page


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


def int8_lines() -> list[str]:
    """Return the rows of the page on what int8 costs, from their result."""
    found = json.loads((RESULTS / "int8.json").read_text())["result"]
    lines = []
    for space, name in (("tiny", "tiny (h-swish, SE)"), ("lite", "lite (ReLU6)")):
        for runtime in ("onnxruntime", "litert"):
            row = found[space][runtime]
            least, most = row["latency_ratios_5_to_95_pct"]
            cells = (
                name,
                runtime,
                f"{row['mean_fp32_top1']:.2f}",
                f"{row['mean_loss_points']:.2f}",
                f"{row['largest_loss_points']:.2f}",
                f"{row['spearman_fp32_int8']:.3f}",
                f"{row['median_latency_ratio_int8_to_fp32']:.2f}",
                f"{least:.2f} to {most:.2f}",
                f"{row['mean_size_ratio']:.2f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def test_what_int8_costs_is_what_the_benchmark_found() -> None:
    text = (ROOT / "docs" / "training.md").read_text()
    head, _, table = text.partition("What int8 costs and gains")[2].partition("|---|")
    said = [line for line in table.partition("\n\n")[0].splitlines() if line.startswith("| ")]
    assert said == int8_lines()
    found = json.loads((RESULTS / "int8.json").read_text())
    assert found["what"].startswith("50 subnets of two spaces") and "of 50 subnets of two supernets" in head
    assert {part["test_images"] for part in found["result"].values()} == {2000} and "on 2,000 test images" in head
    assert found["machine"]["cpu"] in " ".join(head.split())


def test_by_how_much_a_table_built_again_differs_is_what_the_benchmark_found() -> None:
    page = " ".join((ROOT / "docs" / "how-we-measure.md").read_text().split())
    text = page.partition("built again from nothing")[2].partition("## ")[0]
    five, three = (json.loads((RESULTS / name).read_text()) for name in ("rebuild.json", "rebuild_3_rounds.json"))
    for found, rounds in ((five, 5), (three, 3)):
        assert f"--rounds {rounds} --runtime onnxruntime" in found["command"]
    quiet, busy = (five["result"][name] for name in ("after_a_change_of_load", "beside_two_busy_processes"))
    later = three["result"]["after_a_change_of_load"]
    for words in (
        f"half of its rows differ by more than {quiet['median_pct']:.1f} %",
        f"one of twenty by more than {quiet['p95_pct']:.1f} %, at equal speed",
        f"Beside two busy processes it is {busy['median_pct']:.1f} and {busy['p95_pct']:.1f} %",
        f"three rounds differed by {later['median_pct']:.1f} and {later['p95_pct']:.1f} %",
        f"{quiet['noisy_pct']:.0f} % do of the five rounds",
    ):
        assert words in text, words
    assert "every row says `loaded`, which none does in the quiet one" in text
    assert (busy["loaded_pct"], quiet["loaded_pct"]) == (100, 0)
    assert "every row of theirs says `noisy`" in text and later["noisy_pct"] == 100


def test_what_breaks_first_is_what_the_benchmark_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    devices = importlib.import_module("size").DEVICES
    text = " ".join((ROOT / "docs" / "reading-a-lut.md").read_text().partition("## What breaks first")[2].split())
    found = json.loads((RESULTS / "size.json").read_text())["result"]
    journal, limits = found["journal"], found["limits"]

    def seconds(entry: dict[str, float]) -> str:
        return f"about {round(entry['wall_s'], -1):.0f} s"

    def both(entry: dict[str, float]) -> str:
        return f"{seconds(entry)} and {entry['mib'] / 1024:.1f} GiB"

    for words in (
        f"{found['tables']:,} tables of {found['table_rows']:,} rows each, {devices} devices",
        f"one run of {journal['items']:,} items",
        f"{seconds(found['index_first'])} for all of these, and less than a second once they are known",
        f"takes {both(journal['build'])} to build, its page {both(journal['report'])}",
        f"of {MOST_KEPT:,} tables at most",
        f"The page itself is {journal['page_mib']:.1f} MiB",
        f"at most {limits['cpu_s']:g} s and {limits['mib']} MiB",
    ):
        assert words in text, words
    assert limits["kept"] and found["index"]["wall_s"] < 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
