"""Runs a program on a device: brings it and networks there, starts a process for each run, reads what it said."""

from __future__ import annotations

import posixpath
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.native.board import Board
from harness.native.facts import MOST_BYTES, QUERY_S, tools
from harness.native.phone import Phone
from harness.native.programs import PROGRAMS
from harness.native.runs import CannotRun, Program, Timed, Use, Wanted, told
from harness.native.shell import Shell
from harness.plan import RuntimeName, Way
from harness.transport.contract import Said
from ofa.errors import OfaError
from ofa.files import sha256_bytes, sha256_file

SPARE_S = 20.0
END_S = 10.0
# A GPU answers a small network tens of thousands of times in the seconds it is timed, each of them with a line.
MOST_RESULT_BYTES = 64 << 20
# How 'timeout' says that it ended a process: its own word, or the signal's.
TIMED_OUT = (124, 137, 143)
# The shell becomes the program, so what is read of it here holds for the program too.
RUN = 'rm -f "$1"; echo $$ > "$1.pid"; grep "^Cpus_allowed_list" "/proc/$$/status"; shift; exec "$@"'
HASH = 'for path in "$@"; do if [ -f "$path" ]; then sha256sum < "$path"; fi; done'
TAKE = 'cat "$1" 2>/dev/null; rm -f "$1" "$1.pid"'
# A process number may be another's by now: it is ended only where it still is the program.
END = (
    '{ read -r pid < "$1.pid" && grep -qF "$2" "/proc/$pid/cmdline" && kill -9 "$pid"; } 2>/dev/null; '
    'rm -f "$1" "$1".*; exit 0'
)
# What a host left that was killed; another's that is at work is younger.
SWEEP = 'find "$1" "(" -name "result-*" -o -name "kept-*" ")" -mtime +0 -exec rm -f "{}" ";" 2>/dev/null; exit 0'
CORES = re.compile(r"^Cpus_allowed_list:\s*([0-9,-]{1,400})\s*$", re.MULTILINE)
# What the name of a network is followed by where the ranges of its integers lie.
RANGES = ".ranges"
FLAG = re.compile(r"--([A-Za-z][A-Za-z0-9_]{1,60})\b")
DIGEST = re.compile(r"^\\?([0-9a-f]{64})\b", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Runner:
    """A program on a device, for as long as one conversation lasts.

    ``program`` is its file here, or on the device where it is ``on_device`` already; ``mask`` the cores it is pinned to
    as hex digits, whatever a way asks for. ``path_of`` returns where a network is here by its name. ``kept`` is what
    was built and may be run again, for as long as the conversation lasts; ``before_each`` is called before a run, with
    the most seconds it may take.
    """

    shell: Shell
    runtime: RuntimeName
    program: Path
    path_of: Callable[[str], Path]
    mask: str | None = None
    phone: Phone | Board | None = None
    on_device: bool = False
    before_each: Callable[[float], None] = lambda most_s: None
    kept: dict[tuple[str, Way], str] = field(default_factory=dict)
    there: dict[str, str] = field(default_factory=dict)
    small: frozenset[str] = frozenset()
    tool: str | None = None
    flags: frozenset[str] = frozenset()
    cores: str | None = None
    version: str | None = None
    sha256: str = ""

    @property
    def kind(self) -> Program:
        """Return what is known of programs of this kind."""
        return PROGRAMS[self.runtime]

    def prepare(self, files: dict[str, str]) -> None:
        """Bring the program and learn which it is, once; ``files`` are those read of the device.

        Raises CannotRun where it is another program, DeviceLost.
        """
        if self.tool is not None:
            return
        self.small = tools(files)
        if self.mask is not None and "taskset" not in self.small:
            raise CannotRun("it is to be pinned to cores, and the device has no 'taskset'")
        path = self._program()
        self.shell.shell(["sh", "-c", SWEEP, "sh", self.shell.there], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
        said = self._said([path, *self.kind.help], QUERY_S)
        text = text_of(said)
        tool = self.kind.tool_of(text)
        if tool is None:
            raise told(f"'{self.program.name}' is no {self.runtime}", text)
        self.flags = frozenset(FLAG.findall(text))
        self.tool, self.there[self.runtime] = tool, path
        self.version = self.kind.version(text)

    def _program(self) -> str:
        """Return where the program is on the device, after bringing it there, and note its SHA-256."""
        if self.on_device:
            found = sha256_on(self.shell, str(self.program))
            if found is None:
                raise CannotRun(f"there is no program '{self.program}' on it that can be read")
            self.sha256 = found
            return str(self.program)
        self.sha256 = sha256_file(self.program)
        path = self._brought(self.program, f"{self.runtime}-{self.sha256[:16]}")
        self.shell.shell(["chmod", "700", path], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
        return path

    def run(self, file: str, wanted: Wanted, use: Use, *, keep: bool = False) -> Timed:
        """Run a network until it was timed for long enough; raises CannotRun, DeviceLost.

        Where the program builds something, ``keep`` lets what the first run built be run again by the next.
        """
        if keep and self.kind.builds:
            return self._once(file, replace(wanted, built=self.kept.get((file, use.way))), use, keep=True)
        timed = self._once(file, wanted, use)
        repeats = self.kind.again(timed, wanted)
        return timed if repeats is None else self._once(file, replace(wanted, repeats=repeats), use)

    def _once(self, file: str, wanted: Wanted, use: Use, *, keep: bool = False) -> Timed:
        """Run a network in one process; whatever breaks it off, that process is ended, and nothing of it is left."""
        assert self.tool is not None
        result = posixpath.join(self.shell.there, f"result-{secrets.token_hex(8)}")
        try:
            return self._timed(result, file, wanted, use, keep=keep)
        except CannotRun:
            raise
        except BaseException:
            words = ["sh", "-c", END, "sh", result, self.there[self.runtime]]
            with suppress(OfaError):
                self.shell.shell(words, timeout_s=END_S, max_bytes=MOST_BYTES)
            raise

    def _timed(self, result: str, file: str, wanted: Wanted, use: Use, *, keep: bool) -> Timed:
        """Run a network in one process that writes down what it found beside ``result``."""
        assert self.tool is not None
        limit_s = self.kind.load_s + wanted.warm_s + wanted.most_s
        path, ranges = self._network(file, use)
        wanted = replace(wanted, ranges=ranges)
        arguments = self.kind.argv(self.tool, self.flags, path, result, wanted, use)
        libraries = [] if use.libraries is None else ["env", f"LD_LIBRARY_PATH={use.libraries}"]
        words = [*libraries, "sh", "-c", RUN, "sh", result, self.there[self.runtime], *arguments]
        mask = self.mask_for(use.way)
        self.before_each(limit_s + SPARE_S)
        began_s = time.monotonic()
        said = self._said([*([] if mask is None else ["taskset", mask]), *words], limit_s)
        took_ns = round(1e9 * (time.monotonic() - began_s))
        taken = self.shell.shell(["sh", "-c", TAKE, "sh", result], timeout_s=QUERY_S, max_bytes=MOST_RESULT_BYTES)
        built = self._built(result, (file, use.way) if keep and said.code == 0 and wanted.built is None else None)
        text = self._cores_read(text_of(said), mask)
        if said.code in TIMED_OUT:
            raise told(f"it did not end within {limit_s:g} s", text)
        if said.code != 0:
            self._refuse(said.code, text, wanted, use)
        timed = self.kind.read(text, taken.out, wanted, use)
        # Where it does not say how long loading took, that was no longer than the whole command.
        return replace(timed, built=built, load_ns=timed.load_ns or max(1, took_ns))

    def _built(self, result: str, keep: tuple[str, Way] | None) -> tuple[str, ...]:
        """Return the SHA-256 of what a run built, and remove it, but for the first of it where that is run again."""
        if not self.kind.builds:
            return ()
        paths = [f"{result}.{name}" for name in self.kind.builds]
        said = self.shell.shell(["sh", "-c", HASH, "sh", *paths], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
        found = tuple(DIGEST.findall(said.out.decode("ascii", "replace")))
        if keep is not None and found:
            place = posixpath.join(self.shell.there, f"kept-{keep[0][:16]}.{self.kind.builds[0]}")
            moved = self.shell.shell(["mv", "-f", paths[0], place], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
            self.kept |= {keep: place} if moved.code == 0 else {}
        self.shell.shell(["rm", "-f", *paths], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
        return found

    def _refuse(self, code: int, text: str, wanted: Wanted, use: Use) -> None:
        """Raise CannotRun for a run that failed: for the reason that the text gives, where it is one we know."""
        try:
            self.kind.read(text, b"", wanted, use)
        except CannotRun as fault:
            if str(fault).startswith("unsupported"):
                raise
        raise told(f"it ended with exit code {code}", text)

    def mask_for(self, way: Way) -> str | None:
        """Return the cores that a program is pinned to, as hex digits; None where it is not.

        Raises CannotRun where it is to be pinned and cannot be: it would be measured on other cores than its table
        says.
        """
        if self.mask is not None or way.cores not in ("big", "little"):
            return self.mask
        mask = None if self.phone is None or "taskset" not in self.small else self.phone.mask(way.threads, way.cores)
        if mask is None:
            raise CannotRun(f"it is to be pinned to its {way.cores} cores, and nobody can tell which these are")
        return mask

    def _cores_read(self, text: str, mask: str | None) -> str:
        """Return what the program itself said, after what we read of its cores; raises CannotRun where those are not
        the ones it was pinned to."""
        found = CORES.search(text)
        self.cores = None if found is None else found[1]
        if mask is not None and found is not None and cores_of(found[1]) != cores_in(mask):
            raise CannotRun(f"it was pinned to cores {sorted(cores_in(mask))}, and may run on {found[1]}")
        return CORES.sub("", text, count=1)

    def _said(self, words: list[str], limit_s: float) -> Said:
        """Run a command that the device itself ends, where it can, before we stop waiting."""
        bounded = ["timeout", f"{limit_s:.0f}", *words] if "timeout" in self.small else words
        return self.shell.shell(bounded, timeout_s=limit_s + SPARE_S, max_bytes=MOST_BYTES)

    def _network(self, file: str, use: Use) -> tuple[str, str | None]:
        """Return where a network is on the device, and where the ranges of its integers are that were taken out of it.

        Raises CannotRun where its content is not what its name says.
        """
        if use.way.precision == "int8" and self.kind.apart is not None:
            name = f"{file}.apart{self.kind.suffix}"
            if name in self.there or self._brought_apart(file, name):
                return self.there[name], self.there[name + RANGES]
        name = file + self.kind.suffix
        if name not in self.there:
            self._brought(self._checked(file), name)
        return self.there[name], None

    def _checked(self, file: str) -> Path:
        """Return where a network is here; raises CannotRun where its content is not what its name says."""
        path = self.path_of(file)
        if not path.is_file() or sha256_file(path) != path.name:
            raise CannotRun(f"the content of file {file[:12]} does not match its name")
        return path

    def _brought_apart(self, file: str, name: str) -> bool:
        """Bring an int8 network and the ranges of its integers as two files; False for one without integers."""
        assert self.kind.apart is not None
        parts = self.kind.apart(self._checked(file).read_bytes(), self.version)
        if parts is None:
            return False
        with tempfile.TemporaryDirectory(prefix="ofa-apart-") as folder:
            # The network last: where it is, its ranges are.
            for part, own in reversed(list(zip(parts, (name, name + RANGES), strict=True))):
                draft = Path(folder, sha256_bytes(part))
                draft.write_bytes(part)
                self._brought(draft, own)
        return True

    def _brought(self, path: Path, name: str) -> str:
        """Return where a file is on the device, after bringing it there."""
        if name not in self.there:
            self.shell.push(path, name)
            self.there[name] = posixpath.join(self.shell.there, name)
        return self.there[name]

    def facts(self) -> dict[str, Any]:
        """Return what the environment must say of the program."""
        return {
            "program_sha256": self.sha256,
            "program_tool": self.tool or "unreadable",
            "program_version": self.version or "unreadable",
            "pinned": self.mask or "no",
        }


def sha256_on(shell: Shell, path: str) -> str | None:
    """Return the SHA-256 of a file on a device, None where it cannot be read; raises DeviceLost."""
    said = shell.shell(["sha256sum", "--", path], timeout_s=QUERY_S, max_bytes=MOST_BYTES)
    found = DIGEST.search(text_of(said))
    return found[1] if said.code == 0 and found is not None else None


def text_of(said: Said) -> str:
    """Return both outputs as one text: which of them a program writes to depends on the platform."""
    return "\n".join(part.decode("utf-8", "replace") for part in (said.out, said.err)).replace("\r\n", "\n")


def cores_in(mask: str) -> set[int]:
    """Return the cores that a hex mask names."""
    value = int(mask, 16)
    return {place for place in range(value.bit_length()) if value >> place & 1}


def cores_of(text: str) -> set[int]:
    """Return the cores of a list such as "0-3,7"; what is no list names none."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        if low.isdigit() and (high or low).isdigit() and int(high or low) < 4096:
            found |= set(range(int(low), int(high or low) + 1))
    return found
