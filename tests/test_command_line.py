"""One command line: no two verbs disagree on an option, every help fits a screen and ends with an example."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_tree import Verb, verbs

Run = Callable[..., tuple[int, str, str]]

MOST_LINES, MOST_COLUMNS = 50, 100
ROOT = Path(__file__).resolve().parents[1]
# The words of a verb and the first option behind them, in one string.
SAID = re.compile(r"ofa ([a-z][a-z-]*(?: [a-z][a-z-]*)?)(?: [^'\"\n]*?)??(--[a-z][a-z-]*)")
TREE = verbs()
VERBS = {verb.name: verb for verb in TREE if not verb.group}

# Where one name stands for two things, which verbs mean which: those of one set agree. All others agree everywhere.
MEANINGS: dict[str, tuple[set[str], ...]] = {
    # A device that is measured, several of them, the kind that a foreign table is of.
    "--device": ({"verify"}, {"choose"}, {"bench"}, {"lut import"}, {"lut recheck"}),
    # What runs networks here and now, what runs a file that was exported, what ran a foreign table.
    "--runtime": ({"bench", "verify"}, {"eval"}, {"lut import"}),
    "--precision": ({"bench", "verify"}, {"lut import"}, {"export"}),
    # A folder; the one file of labels; the one page.
    "--out": ({"*"}, {"label"}, {"report"}, {"archive"}),
    # One table; for a search also foreign ones, and the parts of one.
    "--lut": ({"estimate", "twins fit", "verify", "choose", "export"}, {"search"}),
    # Fresh processes; labels that a twin asks for.
    "--rounds": ({"bench", "verify", "choose"}, {"twins fit"}),
    # Of what runs a file on a device; of what trains and tests here.
    "--threads": ({"bench", "verify"}, {"*"}),
    # Networks that no calibration sees; images that no training sees.
    "--holdout": ({"bench"}, {"import-checkpoint"}),
    # The rows of a sum; of the worst sums; what parts of a choice cost, and other choices.
    "--explain": ({"estimate"}, {"lut show"}, {"search"}),
    # A table of it says so; a recheck then cannot find one stale.
    "--allow-load": ({"*"}, {"lut recheck"}),
    # Measured; learnt.
    "--energy": ({"bench"}, {"twins fit"}),
    # The one that is trained on; one of a run, which may be a corner.
    "--subnet": ({"finetune"}, {"export"}),
    # Images to test on; the same, where a test is asked for at all.
    "--split": ({"eval"}, {"export"}),
    # What was written; a host key.
    "--replace": ({"*"}, {"devices trust"}),
}
# Given once for each of several.
REPEATED = {"--device": {"bench"}, "--lut": {"search"}}

# What writes into a place of its own choosing, and where instead of '--out'.
ELSEWHERE = {"lut build": "--into", "lut index": "its folder", "init": "its folder"}
ELSEWHERE["devices trust"] = "the lab"
WRITE = {"demo", "bench", "lut merge", "lut import", "lut fill", "train", "finetune", "label", "import-checkpoint"}
WRITE |= {"twins fit", "verify", "choose", "export", "report", "search", "archive", "replay", "lut recheck"}
READ = {"doctor", "devices", "devices check", "devices release", "lut check", "lut show", "lut diff", "estimate"}
READ |= {"space list", "space facts", "space sample", "space ops", "eval", "twins show"}
# What is drawn at random; 'finetune' has the seed of its run, the demo its own.
RANDOM = {"space sample", "bench", "train", "eval", "label", "twins fit", "search", "verify", "choose", "lut recheck"}
# What may take hours and goes on where it stopped; 'search' does with '--state', 'lut recheck' where '--out' is given.
LONG = {"demo", "bench", "train", "finetune", "label", "verify", "choose"}
# How long those take nobody can know beforehand.
FORETOLD = {"bench", "train", "finetune", "lut recheck"}


def uses() -> dict[str, dict[str, Any]]:
    """Return every option by name and verb."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for verb in TREE:
        for name, option in verb.options().items():
            found[name][verb.name] = (option, verb.said(option))
    return found


@pytest.mark.parametrize("name", sorted(uses()))
def test_no_two_verbs_disagree_on_an_option(name: str) -> None:
    by_verb = uses()[name]
    groups = MEANINGS.get(name, ({"*"},))
    named = set().union(*groups) - {"*"}
    assert named <= set(by_verb), "a verb that is listed has no such option"
    rest = set(by_verb) - named
    assert not rest or any("*" in group for group in groups), f"say what it means for {rest}"
    for group in groups:
        members = group & named or rest
        assert len({by_verb[verb][1] for verb in members}) == 1, {verb: by_verb[verb][1] for verb in members}
    assert len({said for _, said in by_verb.values()}) == len(groups), "what is listed as differing agrees"
    repeated = {verb for verb, (option, _) in by_verb.items() if option.multiple}
    if len(by_verb) > 1:
        assert repeated in (REPEATED.get(name, set()), set(by_verb))


def test_a_short_form_means_one_thing() -> None:
    found = defaultdict(set)
    for name, by_verb in uses().items():
        for _, said in by_verb.values():
            for short in said[2].split():
                found[short].add(name)
    assert found == {"-n": {"--count"}}


def test_every_option_says_what_it_takes_and_what_it_is_for() -> None:
    for name, by_verb in uses().items():
        for verb, (_, (kind, sentence, _)) in by_verb.items():
            assert sentence[:1].isupper() or re.match(r"[a-z0-9]+[,. ]", sentence), (verb, name, sentence)
            assert sentence.endswith("."), (verb, name, sentence)
            assert kind == "flag" or not re.search(r"\b(int|float|str|path|range)\b", kind), (verb, name, kind)


def test_every_verb_is_known_here() -> None:
    assert set(VERBS) == {*WRITE, *READ, *ELSEWHERE}, "a new verb is listed above by what it does"


def having(option: str) -> set[str]:
    return set(uses()[option])


def test_what_is_written_goes_to_out() -> None:
    assert having("--out") == WRITE
    assert having("--into") == {verb for verb, where in ELSEWHERE.items() if where == "--into"}


def test_every_verb_prints_json() -> None:
    assert having("--json") == set(VERBS)


def test_what_is_random_takes_a_seed_and_what_is_long_goes_on() -> None:
    assert having("--seed") == RANDOM
    assert having("--resume") == LONG
    assert having("--dry-run") == FORETOLD


@pytest.mark.parametrize("verb", TREE, ids=lambda verb: verb.name or "ofa")
def test_help_fits_a_screen_and_ends_with_an_example(verb: Verb, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(MOST_COLUMNS))
    code, out, _ = run(*verb.words, "--help")
    lines = out.rstrip().splitlines()
    assert code == 0 and len(lines) <= MOST_LINES and max(map(len, lines)) <= MOST_COLUMNS, max(lines, key=len)
    example = lines[lines.index("  Example:") + 1 :]
    assert 1 <= len(example) <= 2 and all(line.startswith("    ") for line in example)
    assert example[0].startswith(f"    {' '.join(('ofa', *verb.words))}") or verb.group
    assert not any(line.endswith("...") for line in lines[1:]), "what a verb is for is cut short"


@pytest.mark.parametrize("columns", [80, MOST_COLUMNS])
def test_what_a_verb_is_for_is_said_whole_on_any_screen(
    columns: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terminals open with 80 columns, and a sentence that ends in dots says nothing."""
    monkeypatch.setenv("COLUMNS", str(columns))
    listed = run("--help")[1].partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(listed) >= 20 and not [line for line in listed if not line.endswith(".") or line.endswith("...")]


def test_no_message_names_an_option_that_its_verb_lacks() -> None:
    """Only where verb and option stand in one line of the source: 'ofa bench … --option'."""
    known = {verb.name: set(verb.options()) | {"--no-again", "--no-ops", "--help"} for verb in TREE}
    seen = 0
    for path in (*ROOT.glob("ofa/**/*.py"), *ROOT.glob("harness/**/*.py")):
        for words, option in SAID.findall(path.read_text(encoding="utf-8")):
            verb = words if words in known else words.partition(" ")[0]
            if verb in known:
                assert option in known[verb], f"{path.name}: 'ofa {verb}' has no {option}"
                seen += 1
    assert seen >= 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bench", "--sapce", "x"), ("no such option: --sapce", "did you mean '--space'?", "ofa bench --help")),
        (("lut", "shwo"), ("no such command 'shwo'", "ofa lut --help")),
        (("doctor", "verify"), (": 'verify' is not one of 'bench', ", "ofa doctor --help")),
        (("space", "facts"), ("missing argument 'SPACE'", "ofa space facts --help")),
        (("space", "sample", "mobilenet_v3", "-n", "0"), ("'--count' / '-n'", "ofa space sample --help")),
    ],
)
def test_what_cannot_be_understood_is_told_as_any_error(run: Run, arguments: tuple[str, ...], words: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "") and err.startswith("error: ") and "  try: " in err
    assert all(part in err for part in words), err


def test_a_space_may_be_named_either_way_and_only_once(run: Run, tmp_path: Any) -> None:
    command = ("twins", "fit", "--labels", str(tmp_path / "absent.csv"), "--out", str(tmp_path / "twin"))
    for words in (("mobilenet_v3_tiny",), ("--space", "mobilenet_v3_tiny"), ("proxyless", "--space", "proxyless")):
        code, _, err = run(*command, *words)
        assert code == 3 and "absent.csv" in err
    code, _, err = run(*command)
    assert code == 2 and "no search space is named" in err
    code, _, err = run(*command, "proxyless", "--space", "resnet50")
    assert code == 2 and "'proxyless' and 'resnet50'" in err
