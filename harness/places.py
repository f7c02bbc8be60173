"""Where the lab's list lies, and where the agent and the profiles are: paths alone, quick to import."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import file_invalid

FOLDER_VARIABLE = "OFA_LAB"
LAB, KNOWN_HOSTS = "lab.toml", "known_hosts"
# The profile that says nothing of what this computer is.
THIS_COMPUTER = "this-computer"


def lab_folder() -> Path:
    """Return the folder of the lab's list and of the host keys it trusts: ``$OFA_LAB``, or the user's settings."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen)
    from platformdirs import user_config_path

    return user_config_path("ofa-lab", appauthor=False)


def known_hosts() -> Path:
    """Return the file of the host keys that this lab trusts."""
    return lab_folder() / KNOWN_HOSTS


def devices_folder() -> Path:
    """Return the folder with the agent and the profiles: the copy inside an installed package, or the checkout's."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_devices", here.parent / "devices"):
        if (folder / "profiles").is_dir():
            return folder
    raise file_invalid(
        "folder", "devices", "neither a checkout nor the installed package has it", "install ofa-lab again"
    )


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles at hand, sorted."""
    return tuple(sorted(path.stem for path in (devices_folder() / "profiles").glob("*.toml")))
