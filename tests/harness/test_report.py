"""The report: what it says, that no text of a run becomes code, and that a real browser opens it without a word."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

pytest.importorskip("jinja2", reason="the package 'jinja2' is not installed")
pytest.importorskip("plotly", reason="the package 'plotly' is not installed")

from report_fixtures import browser, run_folder
from report_fixtures.html import Page

from harness.report import calibration, figures, page, provenance, read, verdict, words, write
from harness.report.figure import csv_text
from ofa import files
from ofa.errors import FileInvalid

pytestmark = pytest.mark.slow  # most draw pages

FIGURES = (
    "front-onnxruntime",
    "front-litert",
    "check-latency",
    "check-accuracy",
    "labels-spread",
    "training-loss",
    "training-corners",
    "table-blocks-onnxruntime",
    "table-kernels-onnxruntime",
    "table-blocks-litert",
    "table-kernels-litert",
    "noise",
    "residual-work-onnxruntime",
    "residual-work-litert",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder.write(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def opened(folder: Path) -> Page:
    return Page(write(folder).read_text(encoding="utf-8"))


def test_every_figure_of_a_whole_run_is_there_with_a_name_a_unit_and_its_data(folder: Path, opened: Page) -> None:
    found = {one.id: one for section in figures.of(read.gather(folder)).values() for one in section}
    assert tuple(found) == FIGURES
    places = {facts["id"]: facts for tag, facts in opened.tags if tag == "div" and facts.get("class") == "plot"}
    links = {facts["download"]: facts["href"] for tag, facts in opened.tags if tag == "a" and "download" in facts}
    assert set(places) == set(FIGURES)
    for name, figure in found.items():
        assert places[name]["role"] == "img" and len(places[name]["aria-label"] or "") > 20
        for side in ("xaxis", "yaxis"):
            assert re.search(
                r", (ms|%|px|nats|µs)|step|subnets|block|kernel|kind|within", figure.layout[side]["title"]["text"]
            )
        data = unquote((links[f"{name}.csv"] or "").removeprefix("data:text/csv;charset=utf-8,"))
        assert data.splitlines()[0] == ",".join(figure.header) and len(data.splitlines()) == len(figure.rows) + 1 > 1


def test_the_verdict_and_the_table_say_what_the_summary_says(folder: Path, opened: Page) -> None:
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    latency = sum(abs(row["predicted_ms"] / row["measured_ms"] - 1) for row in rows) / len(rows) * 100
    accuracy = sum(abs(row["predicted_top1"] - row["measured_top1"]) for row in rows) / len(rows)
    assert "6 networks chosen under 3 budgets on 2 devices" in opened.text
    assert f"predicted latency is off by {latency:.1f} %" in opened.text
    assert f"predicted accuracy by {accuracy:.1f} points" in opened.text
    assert "every one stays within its budget" in opened.text and "6 min 57 s" in opened.text
    for row in rows:
        assert f"{row['measured_top1']:.1f}" in opened.text and words.figures3(row["measured_ms"]) in opened.text


def test_a_budget_is_missed_only_beyond_the_measurement(folder: Path, tmp_path: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    row = summary["rows"][0]
    for share, missed in ((1.029, 0), (1.031, 1)):
        row |= {"measured_ms": row["budget_ms"] * 1.1, "measured_lo_ms": row["budget_ms"] * share}
        files.write_atomic(tmp_path / "summary.json", json.dumps(summary))
        files.write_atomic(tmp_path / "run.json", "{}")
        told = verdict.of(read.gather(tmp_path).choices)
        assert told is not None and told.over_budget == missed
    assert "1 of 6 misses its budget" in Page(write(tmp_path).read_text()).text


def test_a_page_asks_nothing_of_the_network(opened: Page) -> None:
    for tag, facts in opened.tags:
        for key in ("src", "href", "action", "data", "srcset", "poster"):
            assert not facts.get(key) or (facts[key] or "").startswith(("#", "data:")), (tag, facts[key])
    styles = opened.scripts["style-0"]
    assert "url(" not in styles and "@import" not in styles


def test_only_the_pages_own_two_scripts_may_run(opened: Page) -> None:
    policy = next(f["content"] or "" for t, f in opened.tags if f.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy and "script-src 'sha256-" in policy
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    running = [text for name, text in opened.scripts.items() if name.startswith("script-")]
    hashed = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    assert hashed == allowed and len(running) == 2


@pytest.mark.parametrize(
    "hostile",
    ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"'><b>&amp;{{ 7 * 7 }}", "a\u2028b"],
)
def test_texts_of_a_run_stay_texts(folder: Path, tmp_path: Path, hostile: str) -> None:
    whole = run_folder.write(tmp_path / "run")
    summary = json.loads((whole / "summary.json").read_text())
    for row in summary["rows"]:
        row["device"] = row["subnet_id"] = hostile
        row["subnet"]["depths"] = [hostile]
    files.write_atomic(whole / "summary.json", json.dumps(summary))
    facts = {"name": hostile, "seed": hostile, "date": hostile, "machine": {hostile: hostile}}
    files.write_atomic(whole / "run.json", json.dumps(facts))
    card = json.loads((whole / "litert/twin/card.json").read_text())
    card |= {"chosen": hostile, "models": {hostile: {"mape_percent": 1.0, hostile: 2.0}}, "weights": {hostile: hostile}}
    files.write_atomic(whole / "litert/twin/card.json", json.dumps(card))
    front = json.loads((whole / "litert/front.json").read_text())
    front["points"][0] |= {"id": hostile, "subnet": {"resolution": hostile, "kernels": [[hostile]], "expands": [[1]]}}
    files.write_atomic(whole / "litert/front.json", json.dumps(front))
    text = write(whole).read_text(encoding="utf-8")
    found = Page(text)
    kinds = [tag for tag, _ in found.tags]
    assert kinds.count("script") == 4 and "img" not in kinds and "b" not in kinds and "49" not in found.text.split()
    assert hostile in "".join(found.words)
    drawn = json.loads(found.scripts["figures"])
    named = [trace.get("text") or [] for figure in drawn for trace in figure["data"] if figure["id"] == "front-litert"]
    assert not any("<img" in part or "<script" in part for texts in named for part in texts)


def test_a_name_in_a_summary_cannot_lead_out_of_the_run(tmp_path: Path) -> None:
    run_folder.write(tmp_path / "other")
    row = {"runtime": "../other/litert", "device": "x", "predicted_ms": 1}
    files.write_atomic(tmp_path / "run/run.json", "{}")
    files.write_atomic(tmp_path / "run/summary.json", json.dumps({"rows": [row]}))
    found = read.gather(tmp_path / "run")
    assert [bench.table for bench in found.benches] == [None] and found.benches[0].front is None


STAGES = ("run.json", "supernet", "labels.csv", "twins", "onnxruntime", "litert", "summary.json")
BEGUN = (
    "only begun",
    "trained to step 1,500; its corner subnets reach 78.9 to 94.7 %. No device",
    "400 subnets are labelled. No device is measured yet.",
    "400 subnets",
    "onnxruntime: 260 ops and 0 whole networks are measured.",
    "litert: 260 ops and 0 whole networks are measured.",
)


@pytest.mark.parametrize("stages", range(1, len(STAGES)))
def test_a_run_cut_short_at_any_stage_has_a_page(folder: Path, tmp_path: Path, stages: int) -> None:
    for name in STAGES[:stages]:
        source = folder / name
        for path in [source] if source.is_file() else [one for one in source.rglob("*") if one.is_file()]:
            files.write_atomic(tmp_path / path.relative_to(folder), path.read_bytes())
    found = Page(write(tmp_path).read_text())
    assert BEGUN[stages - 1] in found.text and "Not in this run yet" in found.text
    assert "summary.json" in found.text


def test_broken_inputs_are_said_and_left_out(folder: Path, tmp_path: Path) -> None:
    whole = run_folder.write(tmp_path / "run")
    files.write_atomic(whole / "labels.csv", "id,genome,resolution,top1\na,01,16,nan\nb,01,16,88.5\nc,01,?,90\n")
    files.write_atomic(
        whole / "supernet/metrics.jsonl", '{"step": 1, "loss": 2.0}\n{"step": 3, "loss": NaN}\n{"step": 2, "lo'
    )
    files.write_atomic(whole / "litert/front.json", '{"points": [')
    files.write_atomic(whole / "twins/accuracy/card.json", "[1]")
    found = read.gather(whole)
    told = "\n".join(found.broken)
    assert "labels.csv: 2 rows" in told and "metrics.jsonl: 1 lines" in told
    assert "litert/front.json" in told and "twins/accuracy/card.json" in told
    assert [step.loss for step in found.steps] == [2.0, None]
    assert len(found.labels) == 1 and found.benches[1].front is None
    assert "Could not be read" in Page(write(whole).read_text()).text


@pytest.mark.parametrize("text", [None, "", "[1]", '{"seed": NaN}', "{"])
def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        files.write_atomic(tmp_path / "run.json", text)
    with pytest.raises(FileInvalid, match="holds nothing to report") as caught:
        write(tmp_path)
    assert "run.json" in caught.value.why and not (tmp_path / "report.html").exists()
    with pytest.raises(FileInvalid, match="there is no run folder"):
        write(tmp_path / "absent")


def test_a_folder_of_bench_has_a_page_without_any_record_of_a_run(tmp_path: Path) -> None:
    run_folder.table(tmp_path / "lut", "litert", 1.0, np.random.default_rng(0), (run_folder.network(),))
    found = read.gather(tmp_path)
    assert [(bench.runtime, bench.device) for bench in found.benches] == [("litert", "this-computer")]
    assert not found.missing and not found.broken, "a bench has no stages to miss"
    opened = Page(write(tmp_path).read_text())
    assert {"table-blocks-litert", "table-kernels-litert", "noise"} <= {facts.get("id") for _, facts in opened.tags}
    assert (
        "litert: 260 ops and 1 whole network (0.600 ms) are measured." in opened.text
        and "At least one input of this page" in opened.text
    )
    shape = next(one for section in figures.of(found).values() for one in section if one.id == "table-blocks-litert")
    assert "resolution of the network" in shape.layout["xaxis"]["title"]["text"]


def test_simulated_is_said_wherever_one_input_says_it(folder: Path, tmp_path: Path, opened: Page) -> None:
    assert "simulated" in opened.text.split("networks chosen")[0]
    files.write_atomic(tmp_path / "run.json", '{"name": "plain"}')
    assert "simulated" not in Page(write(tmp_path).read_text()).text
    for place in ("labels", "ops"):
        assert provenance.says_simulated({place: [{"simulated": True}]}) and not provenance.says_simulated(
            {"simulated": False}
        )
    shutil.copytree(folder / "litert/lut", tmp_path / "litert/lut")
    assert read.gather(tmp_path).simulated


def test_files_that_are_not_listed_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run.json", "a.json", "b.json"):
        files.write_atomic(tmp_path / name, "{}")
    assert "not listed" not in Page(write(tmp_path).read_text()).text
    monkeypatch.setattr(provenance, "SHOWN", 2)
    assert "1 more file is not listed." in Page(write(tmp_path).read_text()).text
    assert "2 files" not in Page(write(tmp_path).read_text()).text
    monkeypatch.setattr(page, "MOST_FILES", 1)
    assert "2 files" in Page(write(tmp_path).read_text()).text, "a long list is folded"
    monkeypatch.setattr(provenance, "SHOWN", 1)
    assert "2 more files are not listed." in Page(write(tmp_path).read_text()).text


def test_provenance_notices_a_parent_that_changed(tmp_path: Path) -> None:
    whole = run_folder.write(tmp_path / "run")
    states = {fact.path: [parent.state for parent in fact.parents] for fact in read.gather(whole).files}
    assert states["litert/front.json"] == ["same"] and "report.html" not in states
    files.write_atomic(whole / "litert/twin/card.json", "{}")
    found = {fact.path: fact for fact in read.gather(whole).files}
    assert found["litert/front.json"].parents[0].state == "changed"
    assert found["run.json"].sha256 == files.sha256_file(whole / "run.json")
    assert "has changed since" in Page(write(whole).read_text()).text


def test_equal_runs_give_equal_bytes_of_a_mailable_size(folder: Path) -> None:
    first = write(folder).read_bytes()
    assert write(folder).read_bytes() == first and len(first) < 6 * files.MEBIBYTE


def test_the_noise_floor_of_each_runtime_is_said(opened: Page) -> None:
    assert "differ by 0.8 % (onnxruntime), 1.3 % (litert)" in opened.text
    assert calibration.floors({"all": [{"runtime": "a", "floor_pct": 2}, {"runtime": "b", "floor_pct": "x"}]}) == {
        "a": 2
    }


def test_csv_of_a_figure_runs_no_formula() -> None:
    assert csv_text(("a",), [("=1+1",), ("-",), (-1.5,), (None, 1)]) == "a\n'=1+1\n-\n-1.5\n,1\n"


def test_embedded_json_cannot_end_its_element() -> None:
    text = page.embedded_json({"a": "</script><!--&\u2028"})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"a": "</script><!--&\u2028"}


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "\N{EN DASH}"), (0.0, "0"), (0.123456, "0.123"), (12.345, "12.3"), (98765.0, "98,765"), (1.0, "1.00")],
)
def test_numbers_keep_three_digits(value: float | None, said: str) -> None:
    assert words.figures3(value) == said


@pytest.mark.parametrize(
    ("width", "scheme", "phone"), [(1280, "light", False), (1280, "dark", False), (390, "light", True)]
)
def test_chromium_draws_every_figure_without_complaint_or_request(
    chromium: browser.Browser, folder: Path, width: int, scheme: str, phone: bool
) -> None:
    address = write(folder).resolve().as_uri()
    chromium.open(address, width=width, scheme=scheme, phone=phone)
    assert chromium.complaints() == []
    assert chromium.requests() == [address]
    drawn: list[dict[str, Any]] = chromium.value(browser.DRAWN)
    assert [one["id"] for one in drawn] == list(FIGURES)
    for one in drawn:
        assert one["width"] > 250 and one["height"] > 250 and one["marks"] and one["titles"] == 2 and one["inside"], one
    assert chromium.value("document.documentElement.scrollWidth") <= width
    assert chromium.value("document.documentElement.dataset.scheme") == scheme


def test_chromium_redraws_when_the_colour_scheme_changes(chromium: browser.Browser, folder: Path) -> None:
    ink = "getComputedStyle(document.querySelector('#check-latency .xtitle')).fill"
    chromium.open(write(folder).resolve().as_uri(), width=1280)
    light = chromium.value(ink)
    chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    chromium.value(
        "new Promise(done => { const wait = () => document.documentElement.dataset.scheme === 'dark' ? done(1)"
        " : setTimeout(wait, 20); wait(); })"
    )
    assert chromium.value(ink) != light and chromium.complaints() == []


def test_chromium_would_tell_of_a_request_and_of_an_error(chromium: browser.Browser, tmp_path: Path) -> None:
    text = "<!doctype html><html data-drawn=1><img src='missing.png'><script>console.error('told')</script>"
    files.write_atomic(tmp_path / "bad.html", text)
    chromium.open((tmp_path / "bad.html").resolve().as_uri(), width=800)
    assert any("told" in line for line in chromium.complaints())
    assert any(line.endswith("missing.png") for line in chromium.requests())
