"""Every block of a page runs as it stands, in order, where the things it names are, or says in print what it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.lab import read_lab
from harness.places import FOLDER_VARIABLE, LAB
from ofa.train.sources import open_source
from tests import inputs
from tests.command_tree import MARK

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / room / "README.md" for room in ("devices", "luts", "benchmarks")),
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
RUN = {"sh": "bash", "python": sys.executable}
READ = {"text", "toml", "yaml"}
# What no CI of ours has.
NEEDED = {
    "minutes",
    "hours",
    "a quiet computer",
    "a board",
    "a phone",
    "boards and a phone",
    "ImageNet",
    "GPUs",
    "logind",
}
NEEDED |= {
    "a published checkpoint and ImageNet",
    "public data",
    "a bundle to stand in",
    "the table's device",
    "a checkout",
    "a lab's folder in git",
}
# CI is what runs this line: see .ci/run.
BY_CI = re.compile(r"^python3 -m pip .* tox run -e tests$")
LIMIT_S = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of a page: where it begins, its language, and its text without the page's indent."""

    line: int
    language: str
    text: str

    def parts(self) -> Iterator[tuple[str, str]]:
        """Yield pieces between empty lines, each with what it needs that is not here ("" where it runs)."""
        for piece in re.split(r"\n\n+", self.text.strip("\n")):
            found = re.search(rf"^{re.escape(MARK)}(.+)$", piece, re.MULTILINE)
            yield piece, found[1] if found else ""

    def runnable(self) -> str:
        """Return what of it runs here; a Python block runs whole or not at all."""
        kept = [piece for piece, needed in self.parts() if not needed]
        if self.language == "python" and len(kept) < len(list(self.parts())):
            return ""
        return "\n".join(line for line in "\n\n".join(kept).splitlines() if not BY_CI.match(line)).strip()


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            text=re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in FENCE.finditer(text)
    ]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


RUNNING = [page for page in PAGES if any(block.language in RUN and block.runnable() for block in blocks(page))]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what pages take as given, made once."""
    place = tmp_path_factory.mktemp("prepared")

    def command(*words: str) -> None:
        subprocess.run([sys.executable, "-c", PROGRAM, *words], cwd=place, env=environment(place), check=True)

    inputs.images(place / "images")
    inputs.classes(place / "pets")
    inputs.subnets(place)
    inputs.run_folder(command, place)
    inputs.training(command, place / "images", place / "runs" / "mine")
    inputs.table(place / "runs" / "my-table" / "lut")
    inputs.table(place / "old-table")
    inputs.table(place / "new-table", session="second")
    inputs.published_table(place / "lookup_tables")
    return place


PROGRAM = "from harness.cli import main; main()"


def environment(place: Path) -> dict[str, str]:
    """Return what a user has in a shell: the command on the path, a lab and a cache of their own, a checkout."""
    programs = place / ".bin"
    programs.mkdir(exist_ok=True)
    for name, line in {"ofa": f"{sys.executable} -c '{PROGRAM}'", "python": sys.executable}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return os.environ | path | {FOLDER_VARIABLE: str(place / "lab"), "OFA_CACHE": str(place / ".cache")}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_the_blocks_of_a_page_run(page: Path, prepared: Path, tmp_path: Path) -> None:
    place = tmp_path / "here"
    shutil.copytree(prepared, place)
    (place / "devices").symlink_to(ROOT / "devices")
    for block in blocks(page):
        if block.language not in RUN or not (text := block.runnable()):
            continue
        options = ["-euo", "pipefail", "-c"] if block.language == "sh" else ["-c"]
        done = subprocess.run(
            [RUN[block.language], *options, text],
            cwd=place,
            env=environment(place),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{name_of(page)}:{block.line}\n{text}\n{done.stderr[-3000:]}"


def test_the_lines_that_divide_classes_leave_what_can_be_opened(tmp_path: Path) -> None:
    """Also after an interrupt, and twice; and no picture is lost to another one of its name."""
    pets = tmp_path / "pets"
    inputs.classes(pets)
    (pets / "train" / "cat").mkdir(parents=True)
    (pets / "cat" / "3 of 10.png").rename(pets / "train" / "cat" / "3 of 10.png")
    (text,) = (block.text for block in blocks(ROOT / "docs" / "training.md") if '"pets"' in block.text)
    program = [sys.executable, "-c", text]
    subprocess.run(program, cwd=tmp_path, check=True)
    train, test = (open_source(pets, split=split) for split in ("train", "test"))
    assert train.classes == test.classes == ("black dog", "cat") and (len(train), len(test)) == (16, 4)
    before = sorted(pets.rglob("*"))
    subprocess.run(program, cwd=tmp_path, check=True)
    assert sorted(pets.rglob("*")) == before
    kept = next((pets / "val" / "cat").iterdir())
    (pets / "cat").mkdir()
    (pets / "cat" / kept.name).write_bytes(b"another")
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "is there already" in done.stderr and "Traceback" not in done.stderr
    assert (pets / "cat" / kept.name).read_bytes() == b"another" != kept.read_bytes()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_says_what_it_is_and_what_it_needs(page: Path) -> None:
    for block in blocks(page):
        assert block.language in RUN or block.language in READ, f"{name_of(page)}:{block.line}: '{block.language}'"
        for _, needed in block.parts() if block.language in RUN else ():
            assert not needed or needed in NEEDED, f"{name_of(page)}:{block.line}: '{needed}'"
        assert "…" not in block.text or block.language in READ, f"{name_of(page)}:{block.line}: nobody can type '…'"
        # Both are for a person who reads: neither may look like something to type.
        assert block.language != "text" or not re.search(r"^(ofa|python3?|\$) ", block.text, re.MULTILINE)


def test_a_list_that_a_page_shows_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [block.text for page in PAGES for block in blocks(page) if block.language == "toml"]
    assert lists
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for text in lists:
        (tmp_path / LAB).write_text(text)
        assert read_lab().devices or read_lab().groups


def test_a_mark_holds_up_to_the_next_empty_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    fence = "`" * 3
    page.write_text(
        f"1. a\n\n   {fence}sh\n   {MARK}a board\n   ofa one\n\n   ofa two\n   {fence}\n\n{fence}text\nx\n{fence}\n"
    )
    first, second = blocks(page)
    assert (first.line, first.language, first.runnable()) == (3, "sh", "ofa two")
    assert [needed for _, needed in first.parts()] == ["a board", ""] and second.language == "text"
