"""The command `ofa search`: what it prints, what it refuses, and that what it prints holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ofa.space as spaces
from ofa import estimate
from ofa.lut import format as tables
from ofa.lut.format import Header, Lut, NetworkRow, Row, read
from ofa.lut.write import write
from ofa.search import published
from ofa.search.devices import device, tables_at
from ofa.search.request import Target, request
from ofa.space import sample
from ofa.space.core import from_json
from ofa.space.facts import params, peak_activation_bytes
from ofa.space.index import index_of, ops_in
from ofa.twins import accuracy

Run = Callable[..., tuple[int, str, str]]

TINY = spaces.load("mobilenet_v3_tiny", channels=1, classes=10)
SPACE = ("--space", "mobilenet_v3_tiny", "--channels", "1", "--classes", "10")


def table(precision: str = "fp32", seed: int = 0, networks: int = 0, device_name: str = "pixel-8") -> Lut:
    """Return a table of the tiny space; with ``networks`` as many are measured: 1.2 times their sum, 3 mJ a ms."""
    rng = np.random.default_rng(seed)
    rows = [
        Row(op.key, "cold", "ok", ns, ns - 1, ns + 1, None, None, 3, (), "s1")
        for op in ops_in(TINY)
        for ns in [int((op.macs / 10 + 2000) * rng.uniform(0.7, 1.4)) + 2]
    ]
    header = Header.model_validate(
        {
            "device": device_name,
            "runtime": "litert",
            "runtime_version": "2.1",
            "precision": precision,
            "conditions": "1t",
            "environment": {"threads": 1},
            "protocol": {},
            "simulated": False,
            "created": "2026-02-28",
        }
    )
    lut = Lut(header=header, rows=tuple(rows), sessions=({"id": "s1"},))
    genomes = sample.random(TINY, networks, rng)
    sums = estimate.sums(lut, TINY, genomes, "cold") * 1e6
    measured = []
    for genome, total in zip(genomes, sums, strict=True):
        ns, subnet = int(1.2 * total * rng.uniform(0.98, 1.02)), TINY.subnet(genome)
        row = NetworkRow(
            TINY.id, subnet.id, bytes(subnet.genome).hex(), "fit", "ok", ns, ns, ns, None, None, 3, (), "s1"
        )
        uj = 3 * ns // 1000 + 1
        measured.append(row._replace(energy_uj=uj, energy_lo=uj, energy_hi=uj, energy_source="rail"))
    return Lut(header=header, rows=tuple(rows), networks=tuple(measured), sessions=({"id": "s1"},))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, another device's, one of int8, two with networks, and a saved twin."""
    folder = tmp_path_factory.mktemp("search")
    write(table(), folder / "table")
    write(table(seed=1, device_name="pi-5"), folder / "other")
    write(table("int8"), folder / "int8")
    write(table(networks=24), folder / "measured")
    write(table(networks=24, seed=2, device_name="pi-4"), folder / "second")
    rng = np.random.default_rng(0)
    genomes = sample.random(TINY, 60, rng)
    index = index_of(TINY)
    top1 = 60 + 4 * np.log(index.sum(genomes, index.values(lambda op: float(op.macs)))) + rng.normal(0, 0.2, 60)
    accuracy.fit(TINY, genomes, top1).save(folder / "twin")
    return folder


def asked(run: Run, *arguments: str) -> Any:
    code, out, err = run("search", *SPACE, "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def middle_ms(place: Path, name: str = "table") -> float:
    lut = tables.read(place / name)
    drawn = sample.random(TINY, 200, np.random.default_rng(0))
    return float(np.median(estimate.sums(lut, TINY, drawn, "cold")))


@pytest.mark.slow
def test_the_answer_holds_and_is_proven(run: Run, place: Path) -> None:
    ms = middle_ms(place)
    arguments = ("--lut", str(place / "table"), "--accuracy", str(place / "twin"), "--under", f"{ms}ms")
    found = asked(run, *arguments, "--seed", "1", "--top", "3")
    assert {"best", "upper_bound", "bound_reason", "evaluations", "cpu_s", "assumed"} <= set(found)
    subnet = from_json(TINY, found["best"]["subnet"])
    lut = tables.read(place / "table")
    assert estimate.price(lut, [subnet], "cold")[0] == pytest.approx(found["best"]["latency_ms"])
    assert found["best"]["latency_ms"] <= ms * (1 + 1e-9)
    twin = accuracy.load(place / "twin")
    assert twin.predict(subnet.array[None])[0] == pytest.approx(found["best"]["accuracy"])
    assert found["upper_bound"] >= found["best"]["accuracy"]
    drawn = sample.random(TINY, 3000, np.random.default_rng(5))
    fits = estimate.sums(lut, TINY, drawn, "cold") <= ms
    assert found["best"]["accuracy"] >= twin.predict(drawn)[fits].max()
    assert len(found["top"]) == 3 and found["top"][0] == found["best"]
    code, out, _ = run("search", *SPACE, *arguments, "--seed", "1", "--explain")
    assert code == 0 and "upper_bound" in out and subnet.id in out
    assert "turned down for" in out and "stem" in out and "head" in out
    assert "latency, ms" in out and "all, as it is counted" in out
    why = asked(run, *arguments, "--seed", "1", "--explain")["why"]
    assert sum(why["costs"]["latency"].values()) == pytest.approx(found["best"]["latency_ms"])
    assert why["changes"] and all(change["over"] or change["points"] <= 1e-9 for change in why["changes"])


@pytest.mark.slow
def test_several_devices_and_exact_limits_hold_at_once(run: Run, place: Path) -> None:
    limits = {name: middle_ms(place, name) for name in ("table", "other")}
    targets = [f"--target={name}={place / name}:{ms * 1000}us" for name, ms in limits.items()]
    found = asked(
        run, *targets, "--accuracy", str(place / "twin"), "--under-activation", "60kB", "--under-params", "120k"
    )
    subnet = from_json(TINY, found["best"]["subnet"])
    for name, ms in limits.items():
        priced = estimate.price(tables.read(place / name), [subnet], "cold")[0]
        assert priced == pytest.approx(found["best"]["latency_ms"][name]) and priced <= ms * (1 + 1e-9)
    assert peak_activation_bytes(subnet) <= 60_000 and params(subnet) <= 120_000


@pytest.mark.slow
def test_a_table_with_networks_holds_its_upper_bound(run: Run, place: Path) -> None:
    ms = 1.2 * middle_ms(place, "measured")
    found = asked(run, "--lut", str(place / "measured"), "--accuracy", str(place / "twin"), "--under", f"{ms}ms")
    best = found["best"]
    assert best["latency_ms"] < best["limits"]["latency"] <= ms * (1 + 1e-9)


@pytest.mark.slow
def test_an_energy_limit_holds_the_upper_bound_of_what_networks_drew(run: Run, place: Path) -> None:
    ms = 1.2 * middle_ms(place, "measured")
    limits = ("--under", f"{2 * ms}ms", "--under-energy", f"{3 * ms}mJ")
    found = asked(run, "--lut", str(place / "measured"), "--accuracy", str(place / "twin"), *limits)
    best = found["best"]
    # Of this table three mJ are drawn in each ms.
    assert 0.8 * 3 * best["latency_ms"] < best["limits"]["energy"] <= 3 * ms
    code, _, err = run(
        "search", *SPACE, "--lut", str(place / "measured"), "--accuracy", str(place / "twin"), "--under", f"{ms}ms",
        "--under-energy", "1uJ",
    )  # fmt: skip
    assert code == 6 and "energy at or below 0.001 mJ" in err and "exact minimum" in err


@pytest.mark.slow
def test_energy_is_held_on_every_device_that_measured_it(place: Path) -> None:
    targets = [Target(name=name, paths=(place / name,), at_most_ms=9.0) for name in ("measured", "second", "other")]
    said: list[str] = []
    made = request(TINY, str(place / "twin"), targets, {"energy": 20.0}, warn=said.append)
    held = {limit.name: limit for limit in made.limits if limit.unit == "mJ"}
    assert list(held) == ["energy on measured", "energy on second"]
    assert any("energy is not limited on other" in text for text in said)
    drawn = sample.random(TINY, 200, np.random.default_rng(3))
    for limit in held.values():
        name = limit.name.removeprefix("energy on ")
        truth_mj = 3 * 1.2 * estimate.sums(tables.read(place / name), TINY, drawn, "cold")
        assert limit.source == "rail"
        assert np.mean(np.abs(limit.predict(drawn) / truth_mj - 1)) < 0.2
        assert limit.below is not None and (limit.below.predict(drawn) <= limit.predict(drawn) * (1 + 1e-9)).all()


@pytest.mark.slow
def test_a_front_rises_to_the_limit(run: Run, place: Path) -> None:
    ms = middle_ms(place)
    points = asked(
        run,
        "--front",
        "--points",
        "4",
        "--lut",
        str(place / "table"),
        "--accuracy",
        str(place / "twin"),
        "--under",
        f"{ms}ms",
    )
    assert len(points) == 4 and points[-1]["under"] == pytest.approx(ms)
    assert all(point["latency_ms"] <= point["under"] * (1 + 1e-9) for point in points)
    assert all(point["accuracy"] <= point["upper_bound"] for point in points)
    accuracies = [point["accuracy"] for point in points]
    assert accuracies == sorted(accuracies)


@pytest.mark.slow
def test_every_limit_is_printed_with_what_the_best_counts_as(run: Run, place: Path) -> None:
    lut = ("--lut", str(place / "measured"), "--accuracy", str(place / "twin"))
    asked_for = (*lut, "--under", f"{2 * middle_ms(place, 'measured')}ms", "--under-activation", "4MB")
    best = asked(run, *asked_for)["best"]
    code, out, err = run("search", *SPACE, *asked_for)
    assert code == 0, err
    shown = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    assert shown["activation memory"][2:] == ["4,000,000", f"{best['limits']['activation memory']:,.0f}", "B"]
    counted = float(shown["latency"][2].replace(",", ""))
    assert shown["latency"][3] == "ms" and counted == pytest.approx(best["limits"]["latency"], rel=1e-3)
    assert counted > best["latency_ms"], "a prediction counts with a margin"
    assert float(shown["best.predicted ms"][2]) == pytest.approx(best["latency_ms"], rel=1e-3)
    twin = accuracy.load(place / "twin")
    low, high = twin.interval(from_json(TINY, best["subnet"]).array[None], 0.9)
    half = next(float(line.split()[-1]) for line in out.splitlines() if line.startswith("best.± (90 %)"))
    assert half == pytest.approx((high[0] - low[0]) / 2, rel=1e-3)


@pytest.mark.slow
def test_what_cannot_be_is_refused_with_what_why_and_try(run: Run, place: Path) -> None:
    lut, twin = ("--lut", str(place / "table")), ("--accuracy", str(place / "twin"))
    wrong = [
        (6, (*lut, *twin, "--under", "0.0001ms"), "the exact minimum of the space is"),
        (2, (*lut, *twin, "--under", "25"), "--under: '25' is not a quantity of latency"),
        (2, (*lut, *twin, "--under", "25"), "units are ms"),
        (2, (*lut, *twin, "--under-size", "4"), "such as 4MB"),
        (2, (*lut, *twin, "--under-params", "6MB"), "--under-params: '6MB' is not"),
        (2, (*lut, *twin, "--under-params", "6MB"), "B (10^9)"),
        (2, (*twin, "--under-macs", "5M"), "a search needs a device's table"),
        (2, (*lut, *twin), "--under 25ms"),
        (2, (*twin,), "give --lut"),
        (2, (*twin, "--under", "3ms"), "give the table"),
        (2, (*twin, "--target", "phone"), "NAME=PATH"),
        (2, (*lut, "--target", f"a={place / 'table'}:3ms", *twin, "--under", "3ms"), "use --target"),
        (3, (*lut, "--accuracy", str(place / "none"), "--under", "3ms"), "published predictor"),
        (3, ("--lut", str(place / "none"), *twin, "--under", "3ms"), "none"),
        (3, (*lut, "--accuracy", f"ofa-mlp:{place / 'twin' / 'arrays.npz'}", "--under", "3ms"), "published"),
        (2, ("--lut", str(place / "int8"), *twin, "--under", "3ms"), "int8"),
        (2, (*lut, *twin, "--under", "3ms", "--under-energy", "8mJ"), "--energy"),
        (2, (*lut, *twin, "--under", "3ms", "--under-rss", "60MB"), "resident memory"),
        (2, (*lut, *twin, "--under", "3ms", "--front", "--thorough"), "nothing of a front"),
        (2, (*lut, *twin, "--under", "3ms", "--front", "--state", "s.npz", "--top", "2"), "--top and --state"),
    ]
    for code, arguments, said in wrong:
        found, out, err = run("search", *SPACE, *arguments, "--json")
        assert (found, out) == (code, ""), (arguments, err)
        assert said in err and "try:" in err and "Traceback" not in err, (arguments, err)


@pytest.mark.slow
def test_what_a_refusal_allows_can_be_pasted(run: Run, place: Path) -> None:
    """The limit is said as it was typed, and the one that is offered is met by the exact minimum."""
    known = ("--lut", str(place / "table"), "--accuracy", str(place / "twin"))
    typed = {"--under-size": "2kB", "--under-activation": "1kB", "--under-params": "1k", "--under-macs": "1000"}
    for option, text in typed.items():
        code, _, err = run("search", *SPACE, *known, "--under", "1s", option, text)
        assert code == 6 and ("at or below 2 kB" in err or "at or below 1 kB" in err or "at or below 1000\n" in err), (
            err
        )
        offered = err.partition(f"{option} ")[2].split()[0]
        # A count is its own unit, and not said twice.
        counted = {"--under-params": "parameters", "--under-macs": "MACs"}.get(option)
        assert counted is None or f"allow at least {offered} {counted}: {option} {offered}\n" in err
        assert float(offered.rstrip("kMB")) and "e+" not in err
        # Below its own minimum no other limit keeps it.
        assert run("search", *SPACE, *known, "--under", "0.0001ms", option, offered)[2].startswith(
            "error: no subnet has latency"
        )


def test_the_limit_of_a_target_is_offered_where_it_was_given(run: Run, place: Path) -> None:
    """Of one device, too: its limit is called latency, as that of --lut is, and --under means nothing beside it."""
    one, other = f"--target=phone={place / 'table'}:", f"--target=board={place / 'other'}:9ms"
    for targets, name in (((f"{one}0.0001ms",), "latency"), ((f"{one}0.0001ms", other), "phone")):
        code, _, err = run("search", *SPACE, *targets, "--accuracy", str(place / "twin"))
        said, _, offered = err.partition(": its --target ends with ':")
        assert code == 6 and said.endswith(f" of {name}") and "--under" not in err
        again = (one + offered.partition("'")[0], *targets[1:], "--under-params", "1")
        # It is met: what is refused now is the other limit.
        err = run("search", *SPACE, *again, "--accuracy", str(place / "twin"))[2]
        assert err.startswith("error: no subnet has parameters")


@pytest.mark.slow
def test_a_limit_that_is_computed_needs_a_table_but_none_on_latency(run: Run, place: Path) -> None:
    found = asked(run, "--lut", str(place / "table"), "--accuracy", str(place / "twin"), "--under-macs", "1M")
    assert found["best"]["latency_ms"] > 0 and found["best"]["limits"].keys() == {"MACs"}
    assert found["best"]["limits"]["MACs"] <= 1e6


@pytest.mark.parametrize(("one", "other"), [("phone", "phone"), ("parameters", "phone")])
def test_two_limits_of_one_name_are_refused(run: Run, place: Path, one: str, other: str) -> None:
    targets = [f"--target={one}={place / 'table'}:3ms", f"--target={other}={place / 'other'}:3ms"]
    limits = (*targets, "--accuracy", str(place / "twin"), "--under-params", "120k")
    code, out, err = run("search", *SPACE, *limits)
    assert (code, out) == (2, "") and f"two limits are called '{one}'" in err and "try:" in err


def test_two_precisions_that_are_known_are_refused(run: Run, place: Path) -> None:
    targets = [f"--target=a={place / 'table'}:3ms", f"--target=b={place / 'int8'}:3ms"]
    code, _, err = run("search", *SPACE, *targets, "--accuracy", str(place / "twin"))
    assert code == 2 and "precisions differ" in err and "is int8" in err
    # Also where it would lack ops: to measure those would be for nothing.
    half = read(place / "int8")
    write(replace(half, rows=half.rows[::7]), place / "few-of-int8")
    few = ("--lut", str(place / "few-of-int8"), "--under", "3ms")
    code, _, err = run("search", *SPACE, *few, "--accuracy", str(place / "twin"))
    assert code == 2 and "precisions differ" in err


@pytest.mark.slow
def test_published_tables_and_predictor(run: Run, data_folder: Path) -> None:
    folder = data_folder / "ofa_reference"
    if not folder.is_dir():
        pytest.skip("the published tables are not in the data folder")
    files = sorted((folder / "note10").glob("*.yaml"))
    common = ("--space", "mobilenet_v3", "--width", "1.2", "--accuracy", f"ofa-mlp:{folder / 'acc_predictor.npz'}")
    luts = [argument for file in files for argument in ("--lut", str(file))]
    code, out, err = run("search", *common, *luts, "--under", "20ms", "--seed", "0", "--json")
    assert code == 0 and err.count("warning: nobody says the precision") == 1
    found = json.loads(out)
    assert len(found["assumed"]) == 6 and found["precision"] == "fp32"
    assert found["upper_bound"] is None and found["bound_reason"]
    assert found["best"]["latency_ms"] <= 20 and found["best"]["accuracy"] > 80.68
    code, _, err = run("search", *common, "--lut", str(folder / "note10"), "--under", "9.8ms")
    assert code == 6 and "allow at least 9.891 ms" in err


def test_a_search_in_a_stale_table_says_so(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ofa.lut.shelf.warnings", lambda path: [f"'{path.name}' is stale"])
    one = ("--lut", str(place / "table"), "--under", "1us")
    code, _, err = run("search", *SPACE, "--accuracy", str(place / "twin"), *one)
    assert code == 6 and err.count("warning: 'table' is stale") == 1


def test_the_published_predictor_scores_known_networks(data_folder: Path) -> None:
    path = data_folder / "ofa_reference" / "acc_predictor.npz"
    if not path.exists():
        pytest.skip("the published predictor is not in the data folder")
    whole = spaces.load("mobilenet_v3", width=1.2)
    facts_15ms = {
        "space": whole.id,
        "resolution": 160,
        "depths": [2, 3, 4, 3, 3],
        "kernels": [[3, 3], [3, 3, 5], [5, 3, 5, 5], [3, 3, 3], [3, 3, 7]],
        "expands": [[3, 3], [4, 3, 3], [4, 4, 3, 3], [4, 4, 3], [4, 4, 4]],
    }
    phone = device("note10", tables_at([data_folder / "ofa_reference" / "note10"], whole), whole)
    assert phone.resolutions == (160, 176, 192, 208, 224)
    subnet = from_json(whole, facts_15ms)
    assert phone.predict(subnet.array[None])[0] == pytest.approx(14.9578, abs=1e-4)
    from ofa.search.request import accuracy_of

    spec = accuracy_of(f"ofa-mlp:{path}", whole)
    assert spec.predict(subnet.array[None])[0] == pytest.approx(78.7999, abs=1e-3)
    assert spec.resolutions == tuple(px for px in whole.resolutions if published.predicts(px))
