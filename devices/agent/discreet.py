"""Keeps out of what the agent says who the device's user is and what the device is called: it ends in journals."""

import os
import re

# A shorter name of a device may be part of any word.
LEAST_NAME_CHARACTERS = 4


def discreet(text: str) -> str:
    """Return a text in which the user's folder is "~" and the device's own name is left out."""
    for home in {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))}:
        if len(home) > 1:
            text = text.replace(home, "~")
    for name in (os.uname()[1], os.uname()[1].split(".")[0]):
        if len(name) >= LEAST_NAME_CHARACTERS:
            text = re.sub(r"(?<![\w-])%s(?![\w-])" % re.escape(name), "-", text)
    return text
