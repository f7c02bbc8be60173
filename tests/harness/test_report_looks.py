"""What was seen on pages by eye, held: inks that can be read, words that do not collide, sentences that fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
pytest.importorskip("plotly", reason="the package 'plotly' is not installed")

from report_fixtures import run_folder, stages
from report_fixtures.html import Page

from harness import journal as journals
from harness import plan as plans
from harness.plan import Plan
from harness.report import compare, figures, heat, pairs, read, residuals, words, write
from harness.report.figure import SERIES, boxes
from ofa import files
from ofa.errors import FileInvalid
from ofa.lut import validity
from ofa.lut.format import read as read_table
from ofa.lut.validity import VALIDITY, Record
from ofa.lut.write import certify

pytestmark = pytest.mark.slow  # most draw pages

CSS = (Path(heat.__file__).parent / "page.css").read_text(encoding="utf-8")
LEAST_CONTRAST = 4.5


def colours(css: str) -> dict[str, tuple[float, float, float]]:
    """Return the colours that a part of a style sheet names, each channel from 0 to 1."""
    found = re.findall(r"--([a-z0-9-]+): #([0-9a-f]{6});", css)
    return {name: tuple(int(text[at : at + 2], 16) / 255 for at in (0, 2, 4)) for name, text in found}  # type: ignore[misc]


def luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance of a colour (WCAG 2.2)."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def schemes() -> Iterator[tuple[str, dict[str, tuple[float, float, float]]]]:
    light, dark = CSS.split("@media (prefers-color-scheme: dark)", 1)
    yield "light", colours(light)
    yield "dark", colours(light) | colours(dark)


@pytest.mark.parametrize(("scheme", "named"), list(schemes()))
def test_every_text_reads_on_what_it_stands_on(scheme: str, named: dict[str, tuple[float, float, float]]) -> None:
    scale = [named[f"scale-{step}"] for step in range(7)]
    for share in np.linspace(0, 1, 101):
        at = min(5, int(share * 6))
        cell = tuple(a + (b - a) * (share * 6 - at) for a, b in zip(scale[at], scale[at + 1], strict=True))
        ink = named[heat._on(float(share)).removeprefix("var(--").removesuffix(")")]
        assert contrast(ink, cell) >= LEAST_CONTRAST, (scheme, share)
    for name in ("ink", "soft", "accent", "good", "bad"):
        assert min(contrast(named[name], named[ground]) for ground in ("page", "panel")) >= LEAST_CONTRAST, name
    assert contrast(named["warn-ink"], named["warn-back"]) >= LEAST_CONTRAST
    for number in range(1, 7):
        assert contrast(named[f"series-{number}"], named["panel"]) >= 3, (scheme, number)


def test_the_words_of_upright_lines_that_are_near_stand_on_both_sides() -> None:
    marks = figures._upright([1.0, 1.1, 5.0], (0.95, 9.0), (0.0, 10.0))
    told = [(text["text"], text["xanchor"]) for _, text in marks]
    assert told == [
        ("fastest possible", "right"),
        ("budget 1.00 ms", "left"),
        ("budget 1.10 ms", "left"),
        ("budget 5.00 ms", "right"),
        ("slowest possible", "right"),
    ]


def test_what_is_hot_has_the_warm_colour_whatever_else_is_drawn() -> None:
    percent = (1.0, 2.0, 3.0, 4.0, 5.0)
    drawn = boxes({("stem", "hot"): percent, ("stem", "cold"): percent})
    assert [(one["name"], one["line"]["color"]) for one in drawn] == [("hot", SERIES[1]), ("cold", SERIES[0])]
    (cold,) = boxes({("stem", "cold"): percent})
    assert cold["line"]["color"] == SERIES[0]


def test_few_resolutions_are_the_ticks_of_their_axis() -> None:
    assert residuals._ticks({24, 16})["tickvals"] == [16, 24]
    assert residuals._ticks(set(range(9))) == {}
    low, high = residuals._ticks({24})["range"]
    assert low < 24 < high


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("off by 1.5 % in 3 ms", "off by 1.5\u00a0% in 3\u00a0ms"),
        ("0.3 points, 6 min 57 s", "0.3\u00a0points, 6\u00a0min 57\u00a0s"),
        ("2 msgs of 5 devices", "2 msgs of 5 devices"),
    ],
)
def test_a_number_keeps_its_unit_on_its_line(text: str, held: str) -> None:
    assert words.held(text) == held and type(words.held(text)) is str


def test_a_column_says_its_unit_behind_a_comma() -> None:
    headed = [words.headed(name) for name in ("mape_percent", "top_tenth_rmse_points", "kendall", "samples")]
    assert headed == ["MAPE, %", "top tenth RMSE, points", "Kendall", "samples"]
    assert [words.score(value) for value in (0.97712, -0.000987, -2.05, 0.0)] == ["0.977", "−0.001", "−2.05", "0.000"]
    assert words.flat({"a": True, "b": 1}) == [("a", "yes"), ("b", "1")]
    phases = [{"name": "first", "choices": {}, "epochs": 1.5, "sort": False}, {"name": "second"}]
    assert words.flat({"phases": phases}) == [
        ("phases.1", "name first; epochs 1.5; sort no"),
        ("phases.2", "name second"),
    ]
    listed = words.flat({"sessions": [{"machine": {"cores": 2}}, {"machine": {"cores": 4}}]})
    assert listed == [("sessions.1", "machine.cores 2"), ("sessions.2", "machine.cores 4")]


def test_a_search_that_reached_its_bound_says_so_without_a_number(tmp_path: Path) -> None:
    path = stages.search(tmp_path / "search") / "front.json"
    facts = json.loads(path.read_text())
    for point in facts["points"]:
        point["upper_bound"] = point["accuracy"] + 1e-9
    files.write_atomic(path, json.dumps(facts))
    opened = Page(write(tmp_path / "search").read_text())
    assert "none under these limits is predicted better." in opened.text and "0.00 points" not in opened.text
    assert "proven gap none" in opened.text and "what was found reaches them." in opened.text
    assert opened.text.count("search: 6 networks") == 0, "the page is called by that name already"


def test_a_search_for_one_network_is_told_by_its_choice_not_by_what_lies_beyond_its_limit(tmp_path: Path) -> None:
    chosen = {"id": "a", "subnet": {"id": "a"}, "accuracy": 72.5, "latency_ms": 2.66}
    beyond = {"id": "b", "subnet": {"id": "b"}, "accuracy": 79.9, "latency_ms": 3.29}
    kept = {"points": [chosen, beyond], "chosen": [chosen | {"budget_ms": 2.82}], "upper_bound": 72.6}
    files.write_atomic(tmp_path / "front.json", json.dumps(kept))
    opened = Page(write(tmp_path).read_text())
    assert "The best network under 2.82 ms is predicted 72.5 % at 2.66 ms; it is proven that none" in opened.text
    assert "79.9 %" not in opened.text and "best accuracy 72.5 % 2.66 ms" in opened.text


def test_a_search_under_several_limits_names_them_all(tmp_path: Path) -> None:
    network = {"id": "a", "subnet": {"id": "a"}, "accuracy": 72.5, "latency_ms": {"phone": 2.5, "board": 30.0}}
    point = network | {"under": 2.5, "limits": {"phone": 2.5, "board": 30.0}}
    targets = [{"name": "phone", "at_most_ms": 2.5}, {"name": "board", "at_most_ms": 31.0}]
    limits = {"energy": 8.0, "activation": 4 * 2**20, "resident memory": 2**26, "MACs": 2.5e8}
    kept = {"points": [point], "request": {"targets": targets, "limits": limits}}
    files.write_atomic(tmp_path / "front.json", json.dumps(kept))
    said = "31.0 ms on board and 8.00 mJ of energy and 4.0 MiB of activations and 64.0 MiB of resident memory"
    assert (
        f"the best predicted 72.5 % , all within {said} and 250,000,000 MACs." in Page(write(tmp_path).read_text()).text
    )


def test_twins_alone_have_a_page_that_says_how_far_off_they_are(tmp_path: Path) -> None:
    run_folder.twin(tmp_path / "both/latency")
    card = tmp_path / "both/latency/card.json"
    files.write_atomic(card, json.dumps(json.loads(card.read_text()) | {"schema": "latency-twin/2"}))
    for folder in (tmp_path / "both", tmp_path / "both/latency"):
        opened = Page(write(folder, tmp_path / "page.html").read_text())
        assert "The latency twin is off by 2.4 % on average on those left out of its fit." in opened.text
        assert (
            "60 simulated networks" in opened.text and "MAPE, %" in opened.text and "has only begun" not in opened.text
        )
        assert "How it came about" not in opened.text, "there is nothing to tell of it"
    files.write_atomic(card, '{"schema": "latency-twin/2", "samples": 12}')
    assert "12 measured networks" in Page(write(tmp_path / "both/latency", tmp_path / "page.html").read_text()).text
    files.write_atomic(tmp_path / "other/card.json", '{"schema": "something/1"}')
    files.write_atomic(tmp_path / "empty/note.txt", "")
    with pytest.raises(FileInvalid, match="holds nothing to report"):
        write(tmp_path / "empty")
    with pytest.raises(FileInvalid, match="holds nothing to report"):
        write(tmp_path / "other")


def test_a_table_names_its_files_and_the_plan_it_was_measured_by(tmp_path: Path) -> None:
    folder = run_folder.write(tmp_path / "run")
    content = {"schema": plans.SCHEMA, "seed": 3}
    stated = files.sha256_bytes(files.canonical_json(content).encode())
    files.write_atomic(folder / "plan.json", json.dumps(content | {"hash": stated}))
    lines = json.dumps({"id": "s1", "plan": stated}) + "\n" + json.dumps({"id": "s2", "plan": "1" * 64}) + "\n"
    files.write_atomic(folder / "litert/lut/sessions.jsonl", lines)
    found = {fact.path: {one.path: one.state for one in fact.parents} for fact in read.gather(folder).files}
    own = found["litert/lut/lut.json"]
    assert own == {"networks.csv": "same", "ops.csv": "same", "sessions.jsonl": "changed"}
    assert found["litert/lut/sessions.jsonl"] == {"plan.json": "same", "a plan": "elsewhere"}
    # A plan that was edited is no longer what its hash says.
    files.write_atomic(folder / "plan.json", json.dumps(content | {"seed": 4, "hash": stated}))
    found = {fact.path: {one.path: one.state for one in fact.parents} for fact in read.gather(folder).files}
    assert found["litert/lut/sessions.jsonl"] == {"a plan": "elsewhere"}


def test_what_a_page_explains_is_on_it(tmp_path: Path) -> None:
    run_folder.table(tmp_path / "lut", "litert", 1.0, np.random.default_rng(0), (run_folder.network(),))
    text = Page(write(tmp_path).read_text()).text
    assert "How it came about" in text and "chosen networks" not in text and "over budget" not in text
    run = read.gather(tmp_path)
    (bench,) = run.benches
    assert bench.table is not None
    told = [row._replace(status="modelled") if row.key.startswith("head") else row for row in bench.table.rows]
    from harness.report.page import render

    modelled = replace(bench, table=replace(bench.table, rows=tuple(told)))
    opened = Page(render(replace(run, benches=(modelled,))))
    assert "more ops are priced by a model" in opened.text and "a model priced them" in opened.text


def test_places_that_agree_are_not_listed_as_different(tmp_path: Path) -> None:
    run_folder.table(tmp_path / "one/lut", "litert", 1.0, np.random.default_rng(4), (run_folder.network(),))
    shutil.copytree(tmp_path / "one", tmp_path / "same")
    header = tmp_path / "same/lut/lut.json"
    files.write_atomic(header, header.read_text().replace('"device": "this-computer"', '"device": "its-twin"'))
    opened = Page(compare(tmp_path / "one", tmp_path / "same", tmp_path / "page.html").read_text())
    assert "Two devices" in opened.text and "whose place differs most" not in opened.text
    assert pairs.comparison(tmp_path / "one", tmp_path / "same").pairs[0].tables.ops.apart == []  # type: ignore[union-attr]
    assert pairs.Ranking(what="ops", spearman=None, rows=()).ratio is None


def test_a_measurement_under_way_has_a_page_that_says_how_far_it_is(tmp_path: Path, plan: Callable[..., Plan]) -> None:
    small = plan(rounds=4)
    with journals.create(tmp_path / "run/journal.sqlite", small):
        pass
    ops = len({item.key for item in small.items if item.kind == "op"})
    run = read.gather(tmp_path / "run")
    assert run.benches[0].rounds and run.benches[0].device == small.device and not run.broken
    opened = Page(write(tmp_path / "run").read_text())
    said = f"{small.device} / {small.runtime}: 0 of 4 rounds over {ops} op"
    assert said in opened.text and "complete, and no table is made of them yet." in opened.text


def test_a_page_says_what_the_last_recheck_of_its_table_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    run_folder.table(tmp_path / "lut", "onnxruntime", 1.0, rng, (run_folder.network(),))
    lut = read_table(tmp_path / "lut")
    told: dict[str, Any] = {
        "table": validity.identity(lut), "environment_id": "0123456789ab", "seed": 0, "rounds": 3, "ops": 30,
        "networks": 8, "tolerance_pct": 5.0, "level_pct": {"hot": 0.3}, "simulated": True,
    }  # fmt: skip
    first = Record(id="r1", verdict="still true", date="2026-03-01", **told)
    certify(tmp_path / "lut", first)
    assert (
        "Measured again on 2026-03-01, the table is still true within 5 % ." in Page(write(tmp_path).read_text()).text
    )
    update: Any = {"path": "kernel", "a": "6.1", "b": "6.6"}
    certify(
        tmp_path / "lut",
        Record(
            id="r2", verdict="stale", date="2026-04-01", found=("head: <b>+9.0 %</b>",), environment=(update,), **told
        ),
    )
    opened = Page(write(tmp_path).read_text())
    assert "Measured again on 2026-04-01, the table is stale : head: <b>+9.0 %</b>." in opened.text
    assert "2 rechecks: stale" in opened.text and "not as the table says in kernel" in opened.text
    assert read.gather(tmp_path).benches[0].rechecks[0] == first
    (tmp_path / "lut" / VALIDITY).write_text("{}\n")
    run = read.gather(tmp_path)
    assert run.benches[0].table is None and VALIDITY in " ".join(run.broken)


def test_the_page_of_a_search_shows_what_was_tried_beside_what_was_predicted(tmp_path: Path) -> None:
    stages.search(tmp_path / "search")
    kept = json.loads((tmp_path / "search/front.json").read_text())["points"][:3]
    networks = [
        {
            "id": point["subnet"]["id"],
            "subnet": point["subnet"],
            "predicted": {"top1": point["accuracy"], "limits": {"latency": point["latency_ms"], "MACs": 2e6}},
            "measured": {"top1": 60.0 - place, "limits": {"latency": {"value": 0.5 + place, "lo": 0.4, "hi": 3.0}}},
            "over": ["latency"] if place else [],
        }
        for place, point in enumerate(kept)
    ]
    where = {"latency": {"device": "pixel-8", "runtime": "litert"}}
    facts = {"at_most": {"latency": 1.0, "MACs": 3e6}, "networks": networks, "devices": where}
    files.write_atomic(tmp_path / "search/choice.json", json.dumps(facts))
    run = read.gather(tmp_path / "search")
    assert run.trial and len(run.benches[0].choices) == 3 and not run.choices
    drawn = {one.id: one for section in figures.of(run).values() for one in section}
    assert {"front-search", "check-latency", "check-accuracy"} <= set(drawn)
    assert [row[3] for row in drawn["front-search"].rows if row[0] == "chosen, measured"] == [0.5, 1.5, 2.5]
    opened = Page(write(tmp_path / "search").read_text())
    assert f"3 were tried: the choice, {networks[0]['id']} , is labelled 60.0 % , latency 0.500 ms ." in opened.text
    assert "The networks that were tried" in opened.text and opened.text.count("✗ latency") == 2
    assert "not measured" in opened.text and opened.text.count("the choice") == 3
    facts["networks"] = [networks[1]]
    files.write_atomic(tmp_path / "search/choice.json", json.dumps(facts))
    assert "1 was tried: none is within the limits as measured." in Page(write(tmp_path / "search").read_text()).text
    files.write_atomic(tmp_path / "search/choice.json", json.dumps({"networks": [7], "at_most": "x"}))
    assert read.gather(tmp_path / "search").trial is None
