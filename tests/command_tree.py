"""The command `ofa` as a tree: every verb with its options, its help as printed, and the lines of its example."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer

from harness import cli

MARK = "# not run: needs "


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb, or a group of them, by the words that are typed; ``parameters`` are Typer's own."""

    words: tuple[str, ...]
    parameters: tuple[Any, ...]
    context: Any
    epilog: str
    group: bool

    @property
    def name(self) -> str:
        """Return its words, without the name of the program."""
        return " ".join(self.words)

    def said(self, option: Any) -> tuple[str, str, str]:
        """Return the kind of an option's value as the help shows it, its sentence, and its short form."""
        shorts = [name for name in option.opts if not name.startswith("--")]
        shown = option.get_help_record(self.context)[0]
        kind = "flag" if option.is_flag else shown.rpartition(" --")[2].partition(" ")[2]
        return kind, str(option.help), " ".join(shorts)

    def options(self) -> dict[str, Any]:
        """Return its options by their long names."""
        return {
            name: one
            for one in self.parameters
            if one.param_type_name == "option"
            for name in one.opts
            if name.startswith("--")
        }

    def examples(self) -> list[str]:
        """Return the lines of its example, each as one would type it."""
        lines = self.epilog.partition("Example:\n")[2].replace("\\\n", " ").splitlines()
        return [" ".join(line.split()) for line in lines]


def verbs() -> list[Verb]:
    """Return the whole tree, groups before what is in them."""
    return list(_below(typer.main.get_command(cli.app), ()))


def _below(command: Any, words: tuple[str, ...]) -> Iterator[Verb]:
    """Yield a command, and those below it."""
    inner = getattr(command, "commands", {})
    # A group that does something by itself is a verb, too.
    group = bool(inner) and not command.invoke_without_command
    context = command.make_context("ofa", [], resilient_parsing=True)
    yield Verb(words=words, parameters=tuple(command.params), context=context, epilog=command.epilog or "", group=group)
    for name, child in inner.items():
        yield from _below(child, (*words, name))
