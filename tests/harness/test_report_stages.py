"""The report of one stage alone, and of two runs side by side: what each page tells, and that it is drawn."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
pytest.importorskip("plotly", reason="the package 'plotly' is not installed")

from report_fixtures import browser, run_folder, stages
from report_fixtures.html import Page

from harness import journal as journals
from harness.report import compare, figures, heat, pairs, read, searched, words, write
from harness.report.rounds import rounds
from harness.report.shape import kind_of, shape_of
from ofa import files
from ofa.errors import FileInvalid
from ofa.lut.format import read as read_table
from ofa.lut.write import write as write_table

pytestmark = pytest.mark.slow  # most draw pages

BENCH = (
    *("check-latency", "residual-resolutions", "table-blocks-simulated", "table-kernels-simulated", "noise"),
    *("residual-kinds-simulated", "residual-work-simulated", "residual-order-simulated"),
)
VERSUS = ("versus-ops", "versus-kinds", "versus-networks", "versus-ranks")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the folder or page of a kind of run, made once."""
    root = tmp_path_factory.mktemp("stages")
    benches: dict[str, dict[str, Any]] = {"bench": {}, "slower": {"power_mode": "low"}}

    def of(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            if name in benches:
                stages.bench(folder, **benches[name])
            elif name in ("onnxruntime", "litert", "again"):
                runtime = "litert" if name == "litert" else "onnxruntime"
                seed = np.random.default_rng(8 if name == "again" else 9)
                run_folder.table(
                    folder / "lut", runtime, 1.6 if name == "litert" else 1.0, seed, (run_folder.network(),)
                )
            elif name == "better":
                stages.search(folder, shift=1.5)
            else:
                {"train": stages.train, "search": stages.search, "verify": stages.verified}[name](folder)
        return folder

    return of


PAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bench": (("bench",), BENCH),
    "train": (("train",), ("labels-spread", "training-loss", "training-corners")),
    "search": (("search",), ("front-search", "why-search")),
    "verify": (("verify",), ("verified-latency", "check-latency", "residual-order-verified")),
    "two tables": (("onnxruntime", "again"), VERSUS),
    "two devices": (("onnxruntime", "litert"), VERSUS),
    "two searches": (("search", "better"), ("versus-fronts",)),
}


def page_of(made: Callable[[str], Path], tmp_path: Path, kind: str) -> Path:
    names = PAGES[kind][0]
    if len(names) == 1:
        return write(made(names[0]), tmp_path / "page.html")
    return compare(made(names[0]), made(names[1]), tmp_path / "page.html")


@pytest.mark.parametrize("kind", PAGES)
def test_chromium_draws_every_kind_of_page_wide_and_on_a_phone(
    chromium: browser.Browser, made: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    path = page_of(made, tmp_path, kind)
    assert path.stat().st_size <= 6_000_000
    for width, scheme, phone in ((1280, "light", False), (390, "dark", True)):
        chromium.open(path.resolve().as_uri(), width=width, scheme=scheme, phone=phone)
        assert chromium.complaints() == [] and chromium.requests() == [path.resolve().as_uri()]
        drawn: list[dict[str, Any]] = chromium.value(browser.DRAWN)
        assert tuple(one["id"] for one in drawn) == PAGES[kind][1]
        for one in drawn:
            assert one["width"] > 250 and one["height"] > 150 and one["marks"] and one["inside"], (width, one)
        assert chromium.value("document.documentElement.scrollWidth") <= width
        shown = chromium.value(
            "[...document.querySelectorAll('details.data')].map(one => { one.open = true;"
            " one.dispatchEvent(new Event('toggle')); return one.querySelectorAll('tr').length; })"
        )
        assert len(shown) == len(drawn) and min(shown) >= 2, "the data of each figure is there as a table"


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ("bench", "verify"))) for kind in PAGES]
)
def test_every_figure_of_a_page_has_a_name_and_its_data(made: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    opened = Page(page_of(made, tmp_path, kind).read_text(encoding="utf-8"))
    places = {facts["id"]: facts for tag, facts in opened.tags if facts.get("class") == "plot"}
    assert tuple(places) == PAGES[kind][1]
    assert all(facts["role"] == "img" and len(facts["aria-label"] or "") > 40 for facts in places.values())
    links = [facts["href"] or "" for tag, facts in opened.tags if tag == "a" and "download" in facts]
    assert len(links) == len(places) and all(link.startswith("data:text/csv") and "%0A" in link for link in links)
    assert "simulated At least one input of this page" in opened.text
    assert [tag for tag, _ in opened.tags].count("script") == 4


def test_a_bench_tells_how_its_rounds_went(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = made("bench")
    before = {path: files.sha256_file(path) for path in folder.rglob("*") if path.is_file()}
    opened = Page(write(folder, tmp_path / "page.html").read_text())
    after = {path: files.sha256_file(path) for path in folder.rglob("*") if path.is_file()}
    assert after == before, "a report changes nothing of a run"
    run = read.gather(folder)
    (one,) = run.benches
    held_out = [abs(each.error_percent) for each in one.networks]
    assert len(held_out) == 2 and not any(each.fitted for each in one.networks)
    assert f"predicted to within {np.mean(held_out):.1f} %" in opened.text
    assert {each.kind for each in one.rounds.spreads} >= {"stem", "head", "whole network"} if one.rounds else False
    table = next(each for each in figures.of(run)["residuals"] if each.id == "residual-order-simulated")
    warm = [row[-1] for row in table.rows]
    assert warm == sorted(warm) and warm[0] < warm[-1], "the simulated phone grows warm, and the figure says so"


def test_a_batch_is_off_by_what_its_samples_are(made: Callable[[str], Path], tmp_path: Path) -> None:
    path = shutil.copytree(made("bench"), tmp_path / "run") / "journal.sqlite"
    found = rounds(path)
    with journals.open_journal(path) as journal:
        states = [item.state for item in journal.plan.items]
        levels = {(row.round, row.batch, row.state): row.wall_p10_ns for row in journal.references()}
        ratios: dict[int, dict[tuple[int, int], float]] = {}
        for row in journal.samples():
            item = row.item or 0
            own = ratios.setdefault(item, {})
            own[row.round, row.batch] = row.wall_p10_ns / levels[row.round, row.batch, states[item]]
    assert found is not None and len(found.batches) == len({at for own in ratios.values() for at in own}) > 3
    for batch in found.batches:
        at = (batch.round - 1, batch.batch - 1)
        off = [100 * (own[at] / np.median(list(own.values())) - 1) for own in ratios.values() if at in own]
        assert batch.items == len(off) and batch.median_percent == pytest.approx(np.median(off))
    places = [(batch.round, batch.batch) for batch in found.batches]
    assert places == sorted(places)


def test_what_a_killed_measurement_left_is_read_and_stays_as_it_is(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder, left = shutil.copytree(made("bench"), tmp_path / "run"), tmp_path / "left"
    with journals.open_journal(folder / "journal.sqlite") as journal:
        journal.begin_session("20261129T000000Z-abcde", journal.sessions()[0][1])
        # SQLite folds its log into the file when it is closed: a kill leaves it beside.
        shutil.copytree(folder, left)
    names = ("journal.sqlite", "journal.sqlite-wal")
    before = [files.sha256_file(left / name) for name in names]
    run = read.gather(left)
    assert run.benches[0].rounds and not run.broken
    assert [files.sha256_file(left / name) for name in names] == before


def test_a_damaged_journal_is_said_and_left_out(made: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(made("bench"), tmp_path / "run")
    raw = (folder / "journal.sqlite").read_bytes()
    (folder / "journal.sqlite").write_bytes(raw[: len(raw) // 2])
    run = read.gather(folder)
    assert run.benches[0].rounds is None and run.benches[0].table and run.broken[0].startswith("journal.sqlite: ")
    assert "Could not be read" in Page(write(folder).read_text()).text


def test_a_training_tells_its_phases_and_its_recipe(made: Callable[[str], Path], tmp_path: Path) -> None:
    run = read.gather(made("train"))
    drawn = {one.id: one for section in figures.of(run).values() for one in section}
    assert [words["text"] for words in drawn["training-loss"].layout["annotations"]] == ["full", "elastic"]
    assert run.accuracy_card and not run.missing and run.recipe["name"] == "demo"
    opened = Page(write(made("train"), tmp_path / "page.html").read_text())
    assert "trained to step 1,500, in its phase elastic; its corner subnets reach 78.9 to 94.7 %." in opened.text
    assert "400 subnets are labelled. The accuracy twin is off by 0.90 points on average" in opened.text
    assert "recipe of the training : demo" in opened.text.replace("training:", "training :")


def test_a_page_of_very_many_labels_can_still_be_mailed(tmp_path: Path) -> None:
    rows = "".join(f"{place:012x},{'01' * 20},16,{70 + place % 20}.123,1000,fp32\n" for place in range(30_000))
    files.write_atomic(tmp_path / "labels.csv", "id,genome,resolution,top1,images,precision\n" + rows)
    path = write(tmp_path)
    assert path.stat().st_size <= 6_000_000
    opened = Page(path.read_text())
    assert "30,000 subnets are labelled" in opened.text and "all but the last 24,000 rows" in opened.text


def test_a_search_tells_its_bound_and_how_near_it_came(made: Callable[[str], Path], tmp_path: Path) -> None:
    opened = Page(write(made("search"), tmp_path / "page.html").read_text())
    assert "6 networks found from 0.380 to 1.14 ms, the best predicted 95.0 %" in opened.text
    assert "none under these limits is predicted more than 1.50 points better" in opened.text
    (drawn,) = figures.of(read.gather(made("search")))["front"]
    bound = next(trace for trace in drawn.data if trace["name"] == "proven bound")
    assert bound["line"]["shape"] == "vh" and bound["x"] == pytest.approx(np.linspace(0.4, 1.2, 6))
    assert [row[-1] for row in drawn.rows] == bound["y"] == [71.5 + 5 * place for place in range(6)]


def test_one_network_under_several_limits_is_one(tmp_path: Path) -> None:
    folder = stages.search(tmp_path / "search")
    kept = json.loads((folder / "front.json").read_text())
    first = kept["points"][0]
    same = {key: first[key] for key in ("id", "subnet", "accuracy", "latency_ms")}
    bound = {"upper_bound": first["accuracy"] + 4e-7}
    kept["points"] = [point | same | bound for point in kept["points"]]
    files.write_atomic(folder / "front.json", json.dumps(kept))
    assert "1 network found at 0.380 ms" in Page(write(folder, tmp_path / "page.html").read_text()).text
    (drawn,) = figures.of(read.gather(folder))["front"]
    low, high = drawn.layout["yaxis"]["range"]
    assert low < first["accuracy"] < high and high - low > 0.1


def test_files_verified_without_a_table_have_no_speed_beside_it(tmp_path: Path) -> None:
    folder = stages.verify(tmp_path / "verify")
    kept = json.loads((folder / "verify.json").read_text())
    for table, told in (("a table", True), (None, False)):
        files.write_atomic(folder / "verify.json", json.dumps(kept | {"table": table}))
        opened = Page(write(folder, tmp_path / "page.html").read_text())
        assert ("device, against its table" in opened.text) == told


def test_a_front_of_several_devices_is_along_the_one_whose_limit_rose(tmp_path: Path) -> None:
    (bench,) = read.gather(stages.search(tmp_path / "search", device="phone")).benches
    assert bench.front and bench.front.device == bench.label == "phone"
    assert bench.front.points[0].latency_ms == pytest.approx(0.38)


def test_the_answer_of_a_search_for_one_network_is_a_front_too() -> None:
    network = {"subnet": {"id": "a"}, "accuracy": 80.0, "latency_ms": 1.0, "limits": {"latency": 1.0}}
    other = network | {"subnet": {"id": "b"}, "accuracy": 79.0, "latency_ms": 0.9}
    found = searched.front({"best": network, "top": [network, other], "upper_bound": 81.0, "bound_reason": "x"})
    assert found and [point.id for point in found.points] == ["b", "a"] and found.chosen[0].bound == 81.0
    assert searched.front({"seed": 1}) is None


def test_a_kept_search_for_one_network_has_the_bound_of_its_choice(tmp_path: Path) -> None:
    network = {"id": "a", "subnet": {"id": "a"}, "accuracy": 80.0, "latency_ms": 1.0}
    other = network | {"id": "b", "accuracy": 79.0, "latency_ms": 0.9}
    kept = {"points": [other, network], "chosen": [network | {"budget_ms": 1.1}], "upper_bound": 80.25}
    files.write_atomic(tmp_path / "front.json", json.dumps(kept | {"request": {"seed": 0}}))
    assert not read.gather(tmp_path).simulated
    files.write_atomic(tmp_path / "inputs/tables/latency/1/lut.json", json.dumps({"simulated": True}))
    run = read.gather(tmp_path)
    front = run.benches[0].front
    assert run.simulated and front and front.bounds == [(1.1, 80.25)] and front.gap_points == 0.25
    assert "more than 0.25 points better" in Page(write(tmp_path).read_text()).text


def test_verified_files_are_told_with_what_went_wrong(made: Callable[[str], Path], tmp_path: Path) -> None:
    opened = Page(write(made("verify"), tmp_path / "page.html").read_text())
    assert "3 of 4 files were measured with simulated on simulated-phone" in opened.text
    error = (0.02 + 0.1 / 1.5) / 2 * 100
    assert f"predicted latency is off by {error:.1f} % on average" in opened.text
    assert "the runtime does not know the operator 'Odd'" in opened.text and "noise floor 0.7 %" in opened.text


def test_cells_with_modelled_rows_are_marked(made: Callable[[str], Path]) -> None:
    run = read.gather(made("onnxruntime"))
    table = run.benches[0].table
    assert table is not None
    told = [row._replace(status="modelled") if kind_of(row.key) == "head" else row for row in table.rows]
    (worded, _) = heat.maps(replace(run.benches[0], table=replace(table, rows=tuple(told))), run)
    assert worded and "A star marks the 5 of" in worded.note
    assert sum(row[-1] for row in worded.rows) == 5
    assert sum(text.endswith("*") for text in worded.data[1]["text"]) == 5


def test_bottlenecks_have_their_place_in_a_map() -> None:
    shape = shape_of("bottleneck.k3.s2.i512x20.o1024x10.m208.relu.n1")
    assert shape and shape.block == "→1024 s2" and round(shape.expand, 1) == 0.2
    assert kind_of("mbconv.k5.s1.i24x8.o24x8.m72.relu.se.n1") == "mbconv k5 with SE" and kind_of("@io") == "overhead"


def test_two_tables_of_one_device_are_told_by_what_changed(made: Callable[[str], Path], tmp_path: Path) -> None:
    found = pairs.comparison(made("onnxruntime"), made("again"))
    tables = found.pairs[0].tables
    assert tables and tables.one_device and found.names == ("onnxruntime", "again")
    facts = tables.facts["ops"]
    opened = Page(compare(made("onnxruntime"), made("again"), tmp_path / "page.html").read_text())
    assert f"Of {facts['compared']} rows".lower() in opened.text.lower() and "Two tables of one device" in opened.text
    assert f"{facts['slower']} became slower and {facts['faster']} faster beyond noise" in opened.text
    cold = np.median([row["ratio"] for row in facts["rows"] if row["state"] == "cold"])
    assert tables.others == {"cold": pytest.approx(cold)}
    assert f", the median cold one {100 * abs(cold - 1):.1f} % {'more' if cold >= 1 else 'less'}" in opened.text
    assert "disturbed" not in opened.text


def test_a_page_says_that_a_table_was_measured_beside_other_work(made: Callable[[str], Path], tmp_path: Path) -> None:
    lut = read_table(made("onnxruntime") / "lut")
    loaded = [row._replace(status="noisy", flags=("loaded", "simulated")) for row in lut.rows]
    header = lut.header.model_copy(update={"protocol": {**lut.header.protocol, "statistic": "cpu_min_ns"}})
    write_table(replace(lut, header=header, rows=tuple(loaded)), tmp_path / "run/lut", allow_simulated=True)
    opened = Page(write(tmp_path / "run").read_text())
    assert f"all {len(loaded):,} rows are noisy (±" in opened.text and "the device did other work" in opened.text
    assert "a round's is the least CPU time of its calls" in opened.text
    (network,) = lut.networks
    took = words.figures3((network.ns or 0) / 1e6)
    assert f"1 whole network ({took} ms) are measured" in opened.text
    assert "1 whole network, the quickest first" in opened.text and f"{network.id} {took} " in opened.text
    opened = Page(compare(made("onnxruntime"), tmp_path / "run", tmp_path / "page.html").read_text())
    assert f"before none of {len(loaded):,}; after {len(loaded):,} loaded of" in opened.text


def test_two_devices_are_told_by_their_ratio_and_their_order(made: Callable[[str], Path], tmp_path: Path) -> None:
    first, second = (read_table(made(name) / "lut") for name in ("onnxruntime", "litert"))
    hot = {row.key: row.ns or 0 for row in first.rows if row.state == "hot"}
    ratios = [(row.ns or 0) / hot[row.key] for row in second.rows if row.state == "hot"]
    # A table's own folder, its header as a file, or the run's folder: all name the same.
    named = (made("onnxruntime") / "lut/lut.json", made("litert") / "lut")
    opened = Page(compare(*named, tmp_path / "page.html").read_text())
    assert f"{np.median(ratios):.2f} times as long on litert/lut as on onnxruntime/lut" in opened.text
    ranking = pairs.comparison(*named).pairs[0].tables
    assert ranking is not None
    for side in ("a", "b"):
        ordered = sorted(ranking.ops.rows, key=lambda row: float(getattr(row, f"{side}_ms")))
        assert [getattr(row, f"{side}_rank") for row in ordered] == list(range(1, len(ordered) + 1))
    assert "One device, two runtimes" in opened.text and "whose place differs most" not in opened.text
    shuffled = Page(compare(made("again"), made("litert"), tmp_path / "page.html").read_text())
    assert "Ops whose place differs most" in shuffled.text


def test_two_searches_are_told_by_what_they_have_under_one_latency(made: Callable[[str], Path], tmp_path: Path) -> None:
    found = pairs.comparison(made("search"), made("better") / "front.json")
    fronts = found.pairs[0].fronts
    assert fronts and fronts.b_volume > fronts.a_volume
    assert all(row.b_top1 - row.a_top1 == pytest.approx(1.5) for row in fronts.budgets)
    opened = Page(compare(made("search"), made("better"), tmp_path / "page.html").read_text())
    assert "under 1.20 ms the best network of better is predicted 1.50 points better" in opened.text


def test_a_search_is_not_blamed_for_what_it_was_not_asked(made: Callable[[str], Path]) -> None:
    (bench,) = read.gather(made("search")).benches
    assert bench.front is not None
    short = replace(bench.front, points=bench.front.points[:2])
    found = pairs.of_fronts(bench.front, short)
    assert found.budgets[-1].ms == pytest.approx(0.56) and found.a_volume == pytest.approx(found.b_volume)
    assert all(row.a_top1 == row.b_top1 for row in found.budgets)
    beyond = replace(bench.front, points=bench.front.points[4:])
    assert pairs.of_fronts(short, beyond).budgets == ()


def test_runs_of_several_benches_are_paired_by_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        run_folder.write(tmp_path / name, seed=len(name))
    found = pairs.comparison(tmp_path / "first", tmp_path / "second")
    assert [pair.name for pair in found.pairs] == ["onnxruntime", "litert"]
    assert all(pair.tables and pair.fronts for pair in found.pairs)
    shutil.rmtree(tmp_path / "second/litert")
    assert [pair.name for pair in pairs.comparison(tmp_path / "first", tmp_path / "second").pairs] == ["onnxruntime"]


def test_what_has_nothing_in_common_is_refused(made: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="nothing that could be compared") as caught:
        compare(made("search"), made("onnxruntime"), tmp_path / "page.html")
    assert "a front" in caught.value.why and "a table" in caught.value.why and not (tmp_path / "page.html").exists()


def test_a_broken_side_says_its_own_error_first(made: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(made("onnxruntime") / "lut", tmp_path / "broken")
    (tmp_path / "broken" / "ops.csv").unlink()
    with pytest.raises(FileInvalid, match="nothing that could be compared") as caught:
        compare(made("onnxruntime"), tmp_path / "broken", tmp_path / "page.html")
    assert caught.value.why.startswith("in 'broken', table '") and "lacks 'ops.csv'" in caught.value.why
    assert ".:" not in caught.value.why


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", "{{ 7 * 7 }}%{x}<b>"])
def test_texts_of_two_runs_stay_texts(tmp_path: Path, hostile: str) -> None:
    name = hostile.replace("/", "")
    front = json.loads((stages.search(tmp_path / name) / "front.json").read_text())
    front["points"][0]["subnet"] |= {"id": hostile, "kernels": [[hostile]], "expands": [[1]]}
    front |= {"bound_reason": hostile, hostile: hostile}
    files.write_atomic(tmp_path / name / "front.json", json.dumps(front))
    stages.search(tmp_path / "plain")
    for path in (write(tmp_path / name), compare(tmp_path / name, tmp_path / "plain", tmp_path / "page.html")):
        opened = Page(path.read_text(encoding="utf-8"))
        kinds = [tag for tag, _ in opened.tags]
        assert kinds.count("script") == 4 and "img" not in kinds and "b" not in kinds
        drawn = json.loads(opened.scripts["figures"])
        said = json.dumps([trace for figure in drawn for trace in figure["data"]])
        assert not re.search(r"<img|\}<b>", said)


def test_equal_runs_give_equal_comparisons(made: Callable[[str], Path], tmp_path: Path) -> None:
    texts = [compare(made("search"), made("better"), tmp_path / f"{n}.html").read_bytes() for n in range(2)]
    assert texts[0] == texts[1]
