"""Where logging out would end a worker: puts it into a scope of the user's own service manager instead."""

import os
import pwd
from typing import List

import commands
import sysfs

BUS = "org.freedesktop.login1"
PATH = "/org/freedesktop/login1"
MANAGER = "org.freedesktop.login1.Manager"
PATIENCE_S = 5.0
# What was found out, once for each agent: the words to start a worker by, none of them where it is started as it is.
FOUND: List[List[str]] = []


def before(root: str) -> List[str]:
    """Return the words to put before a worker's command so that it outlives the login session; [] for none.

    They are tried on a program that does nothing: without a service manager for this user they would only fail.
    """
    if not FOUND:
        FOUND.append(_found(root))
    return list(FOUND[0])


def _found(root: str) -> List[str]:
    """Ask the system."""
    if not ends_with_session(root):
        return []
    program = commands.find(root, "systemd-run")
    if program is None:
        return []
    words = ["systemd-run", "--user", "--scope", "--quiet", "--"]
    said = commands.ask(root, words + ["true"], PATIENCE_S)
    return [program] + words[1:] if said is not None and said.code == 0 else []


def ends_with_session(root: str) -> bool:
    """Say whether this process is in a login session at whose end logind kills everything in it."""
    inside = sysfs.text(root, "/proc/self/cgroup") or ""
    if "session-" not in inside and not os.environ.get("XDG_SESSION_ID"):
        return False
    properties = ["KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers"]
    said = commands.ask(root, ["busctl", "get-property", BUS, PATH, MANAGER] + properties, PATIENCE_S)
    if said is None or said.code != 0:
        return False
    # 'b true', then lists of users as 'as 2 "root" "lab"'.
    lines = [line.split() for line in said.text.splitlines()]
    if len(lines) != len(properties) or lines[0] != ["b", "true"]:
        return False
    only, spared = ([word.strip('"') for word in line[2:]] for line in lines[1:])
    name = _user()
    return name not in spared and (not only or name in only)


def _user() -> str:
    """Return the name of the user this process belongs to, its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
