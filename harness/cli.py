"""The composition root: the command ``ofa`` is the verbs of `ofa.cli`, those of the harness, and the demo.

Verbs here follow `ofa.cli`'s convention: one function each, heavy imports in its body, ``--json`` for facts.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.abc import MetaPathFinder
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer

from harness.archiving import app as archiving
from harness.attend import app as attending
from harness.choosing import app as choosing
from harness.needs import PACKAGES
from harness.rechecking import app as rechecking
from harness.verbs import app as device_verbs
from harness.verbs import lut as table_verbs
from harness.verifying import app as verifying
from ofa.cli import app as model_verbs
from ofa.errors import FileInvalid, Interrupted, OfaError, interrupted, package_missing
from ofa.options import PLAIN, Json, Out, Resume, example

# What the system refuses without naming a file: a full disk, a spent quota, a read-only or overcrowded system.
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}
# What Typer raises for a command line that it cannot understand; it gives the class no public name.
UsageError: Any = typer.BadParameter.__mro__[1]
DEBUG_VARIABLE = "OFA_LOG"


def exit_codes() -> str:
    """Return the exit codes as the help prints them, read from the exception tree."""
    meanings: dict[int, str] = {0: "fine", 1: "our bug (a log is kept)"}
    for fault in _tree(OfaError):
        meanings.setdefault(fault.exit_code, (fault.__doc__ or "").split("\n")[0].split(";")[0].rstrip("."))
    return "Exit codes: " + " · ".join(
        f"{code} {text[:1].lower()}{text[1:]}" for code, text in sorted(meanings.items())
    )


def _tree(fault: type[OfaError]) -> Iterator[type[OfaError]]:
    """Yield the exceptions below one, parents first."""
    for child in fault.__subclasses__():
        yield child
        yield from _tree(child)


app = typer.Typer(
    name="ofa",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain: boxes of options would not fit a screen.
    rich_markup_mode=None,
    context_settings=PLAIN,
    epilog=f"{exit_codes()}\n\n{example('ofa doctor')}",
    help="Search once-for-all networks for a device, with latencies measured on that device.",
)


@app.callback()
def everywhere(
    debug: Annotated[bool, typer.Option("--debug", help="Print the full traceback of an error.")] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=lambda asked: _print_version(asked), help="Print the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before every verb."""
    if debug:
        os.environ[DEBUG_VARIABLE] = "debug"


@app.command("demo", epilog=example("ofa demo   # not run: needs minutes"))
def demo(out: Out = Path("runs/demo"), resume: Resume = False, json: Json = False) -> None:
    """Watch it all here: train, measure, search, verify.

    Takes minutes; Ctrl-C is safe, and the same command, with or without --resume, goes on where it stopped.
    """
    from ofa import console
    from ofa.train import waiting

    if waiting.load_torch():
        console.note("other work keeps this computer busy: the demo takes longer than on a quiet one")
    from harness import closing
    from harness import demo as demos

    summary = demos.demo(out)
    if json:
        console.emit_json(summary)
    else:
        closing.show(summary, str(out / "report.html"))


table_verbs.add_typer(rechecking)
app.add_typer(attending)
app.add_typer(device_verbs)
app.add_typer(model_verbs)
app.add_typer(choosing)
app.add_typer(verifying)
app.add_typer(archiving)


class Lean(MetaPathFinder):
    """Keeps xgboost from loading scikit-learn where it is installed: half a second, for wrappers no verb uses.

    Only while xgboost itself is being loaded: whoever else asks for scikit-learn gets it.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> None:
        """Refuse that one module at that one moment; leave every other to the finders after this one."""
        asking = sys.modules.get("xgboost.compat")
        if name == "sklearn" and asking is not None and not hasattr(asking, "SKLEARN_INSTALLED"):
            raise ModuleNotFoundError("nothing here uses xgboost's wrappers for it", name=name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code; ``arguments`` are those of the process where not given."""
    if not any(isinstance(finder, Lean) for finder in sys.meta_path):
        sys.meta_path.insert(0, Lean())
    try:
        code = app(arguments, prog_name="ofa", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        _leave(interrupted())
    except OfaError as fault:
        _leave(fault)
    except UsageError as fault:
        _leave(_misspelt(fault))
    except Exception as fault:
        _leave(_absent(fault) or _no_access(fault) or _our_bug(fault))
    if code == Interrupted.exit_code:
        _leave(interrupted())
    sys.exit(code if isinstance(code, int) else 0)


def _misspelt(fault: Any) -> OfaError:
    """Return the error for a command line that cannot be understood; help is printed where nothing at all was said."""
    from harness.errors import misspelt

    if type(fault).__name__ == "NoArgsIsHelpError":
        typer.echo(fault.format_message(), err=True)
        sys.exit(fault.exit_code)
    command = fault.ctx.command_path if fault.ctx is not None else "ofa"
    near = getattr(fault, "possibilities", None) or ()
    # With no guesses in it: they are told apart. What a check of Typer's raised is named by its class there.
    said = fault.message if near else fault.format_message()
    return misspelt(said.replace(": Value error, ", ": "), command, near)


def _leave(fault: OfaError) -> NoReturn:
    """Print an error and end the process with its exit code; the traceback only where it was asked for."""
    if os.environ.get(DEBUG_VARIABLE) == "debug":
        traceback.print_exc(file=sys.stderr)
    _report(fault)
    sys.exit(fault.exit_code)


def _report(fault: OfaError) -> None:
    """Print an error on standard error."""
    from ofa import console

    console.fail(str(fault))


def _absent(fault: Exception) -> OfaError | None:
    """Return the error for a package that an extra brings and that is not installed; None for any other fault."""
    package = (fault.name or "").partition(".")[0] if isinstance(fault, ModuleNotFoundError) else ""
    found = PACKAGES.get(package)
    return package_missing(package, extra=found.extra, needed_for="this command") if found else None


def _no_access(fault: Exception) -> OfaError | None:
    """Return the error for a path the system refuses (full disk, no permission, a file for a folder), else None."""
    if not isinstance(fault, OSError) or (fault.filename is None and fault.errno not in REFUSED):
        return None
    from harness.errors import path_refused

    return path_refused(fault)


def _our_bug(fault: Exception) -> OfaError:
    """Keep the traceback in a log and say where it is."""
    from harness.errors import our_bug

    try:
        return our_bug(fault, _write_log())
    except FileInvalid as refused:
        return our_bug(fault, refused)


def _write_log() -> Path:
    """Write the traceback being handled, with the command and versions, into the cache folder; return the path."""
    from ofa.files import write_atomic
    from ofa.folders import cache_folder

    now = datetime.now(UTC)
    path = cache_folder() / "faults" / f"{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    head = f"{now:%Y-%m-%dT%H:%M:%SZ}\nofa-lab {_version()}\nPython {sys.version}\n{' '.join(sys.argv)}\n\n"
    write_atomic(path, head + traceback.format_exc())
    return path.resolve()


def _print_version(asked: bool) -> None:
    """Print the version and end, where asked."""
    if asked:
        typer.echo(f"ofa-lab {_version()}")
        raise typer.Exit


def _version() -> str:
    """Return the installed version, or say that this is a checkout that was never installed."""
    try:
        return version("ofa-lab")
    except ModuleNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    main()
