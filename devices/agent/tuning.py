"""Changes a device only as asked, from a fixed list; keeps what was before, and puts it back, also after a crash."""

import json
import os
import re
from typing import Any, Dict, List, Optional

import commands
import frequencies
import heat
import jetson
import store
import sysfs
from bench import RequestInvalid, Send

SAVED = "tuning-saved.json"
SCHEMA = "tuned/1"
STORED = "jetson-clocks-saved.conf"
# Whose changes were put back here. A host that was cut off then cannot do it again with its own copy, much later.
RESTORED = "tuning-restored.txt"
MOST_RESTORED_BYTES = 6500
# The only files that are ever written, and the only values that ever go there: also a record that came back damaged
# cannot lead anywhere else.
FILE = re.compile(r"^sys/devices/system/cpu/cpufreq/policy[0-9]{1,4}/scaling_(governor|min_freq|max_freq)\Z")
VALUES = {"governor": re.compile(r"^[a-z_]{1,20}\Z"), "frequency": re.compile(r"^[0-9]{1,9}\Z")}
TOKEN = re.compile(r"^[0-9a-f]{8,64}\Z")
MODE = re.compile(r"^[A-Za-z0-9_]{1,40}\Z")
WANTS = {"governor": str, "lock": bool, "jetson_clocks": bool, "power_mode": str, "fixed_performance": bool}
MOST_SAVED_BYTES = 1 << 18
TOOL_PATIENCE_S = 20.0


class Refused(Exception):  # noqa: N818
    """The device cannot or must not be changed so; the text goes back to the host."""


def tune(request: Dict[str, Any], folder: str, send: Send) -> None:
    """Answer one tune request: ``look`` (what would be saved), ``set`` or ``restore``; raises RequestInvalid.

    A refusal leaves everything as it was before, and says why.
    """
    root, step = sysfs.root_of(None), request.get("step")
    answer: Dict[str, Any] = {"ev": "tuned", "observed": {}, "saved": None, "refused": None}
    try:
        if step == "restore":
            answer["observed"] = restore(root, folder, request.get("saved"))
        elif step in ("look", "set"):
            wanted = check(request)
            answer["saved"] = saved = look(root, folder, wanted, request["token"])
            if step == "set":
                answer["observed"] = change(root, folder, wanted, saved)
        else:
            raise RequestInvalid("'step' must be 'look', 'set' or 'restore'")
    except Refused as fault:
        answer["refused"] = str(fault)[:400]
    send(answer)


def check(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return what is wanted; raises RequestInvalid for anything that is not on the list."""
    wanted = request.get("want")
    if not isinstance(wanted, dict) or not wanted or not set(wanted) <= set(WANTS):
        raise RequestInvalid("'want' may name %s" % ", ".join(sorted(WANTS)))
    for name, value in wanted.items():
        if not isinstance(value, WANTS[name]) or not value:
            raise RequestInvalid("'%s' is not of the kind it must be" % name)
    if wanted.get("governor", "performance") != "performance":
        raise RequestInvalid("the only governor that is set is 'performance'")
    if not MODE.match(wanted.get("power_mode", "X")):
        raise RequestInvalid("'power_mode' must be a name of letters, digits and underscores")
    token = request.get("token")
    if not isinstance(token, str) or not TOKEN.match(token):
        raise RequestInvalid("'token' must be 8 to 64 hex digits")
    return wanted


def left(folder: str) -> Optional[str]:
    """Return the token of who changed this device and did not put it back (yet), None where nobody did."""
    try:
        saved = _read(folder)
    except Refused:
        return "damaged"
    return None if saved is None else str(saved["token"])


def look(root: str, folder: str, wanted: Dict[str, Any], token: str) -> Dict[str, Any]:
    """Return what is to be put back after the wanted changes; raises Refused where one of them cannot be made."""
    if os.path.exists(os.path.join(folder, SAVED)):
        raise Refused("it was changed before and not put back: restore it first")
    if heat.overridden(root):
        raise Refused("its thermal status is set by hand (IsStatusOverride): heat would be hidden")
    files: Dict[str, str] = {}
    if wanted.get("governor") or wanted.get("lock"):
        files = _originals(root, wanted)
    saved: Dict[str, Any] = {"schema": SCHEMA, "token": token, "files": files}
    saved["boot_id"] = sysfs.known(sysfs.word(root, "/proc/sys/kernel/random/boot_id"))
    saved["power_mode"] = _mode_before(root, wanted.get("power_mode"))
    for name, tool in (("jetson_clocks", "jetson_clocks"), ("fixed_performance", "cmd")):
        if wanted.get(name) and commands.find(root, tool) is None:
            raise Refused("it has no '%s'" % tool)
        saved[name] = bool(wanted.get(name))
    return saved


def _originals(root: str, wanted: Dict[str, Any]) -> Dict[str, str]:
    """Return the present content of every file that would be written."""
    policies = sysfs.paths(root, frequencies.POLICIES)
    if not policies:
        raise Refused("its clocks cannot be set: it has no cpufreq")
    leaves = (["scaling_governor"] if wanted.get("governor") else []) + (
        ["scaling_max_freq", "scaling_min_freq"] if wanted.get("lock") else []
    )
    found: Dict[str, str] = {}
    for policy in policies:
        offered = (sysfs.text(root, os.path.join(policy, "scaling_available_governors")) or "").split()
        if wanted.get("governor") and wanted["governor"] not in offered:
            raise Refused("%s offers the governors %s" % (os.path.basename(policy), " ".join(offered) or "none"))
        for leaf in leaves:
            path = os.path.join(policy, leaf)
            value = sysfs.text(root, path)
            if value is None or not allowed(path, value):
                raise Refused("'%s' cannot be read, so it could not be put back" % path)
            found[path] = value
    return found


def allowed(path: Any, value: Any) -> bool:
    """Say whether a value may be written to a path."""
    hit = FILE.match(path) if isinstance(path, str) else None
    if hit is None or not isinstance(value, str):
        return False
    return VALUES["governor" if hit.group(1) == "governor" else "frequency"].match(value) is not None


def _mode_before(root: str, mode: Optional[str]) -> Optional[str]:
    """Return the present power mode where another is wanted; raises Refused where one of the two is not known."""
    if mode is None:
        return None
    before = jetson.power_mode(root)
    if before is None:
        raise Refused("its power mode cannot be read, so it could not be put back")
    for name in (mode, before):
        if _mode_number(root, name) is None:
            raise Refused("its nvpmodel.conf has no power mode '%s'" % name)
    return before


def _mode_number(root: str, name: str) -> Optional[str]:
    """Return the number of a power mode on this board, or None."""
    hit = re.search(r"POWER_MODEL ID=(\d+) NAME=%s\b" % re.escape(name), sysfs.text(root, "/etc/nvpmodel.conf") or "")
    return hit.group(1) if hit else None


def change(root: str, folder: str, wanted: Dict[str, Any], saved: Dict[str, Any]) -> Dict[str, Any]:
    """Make the changes and return what is read back; raises Refused, everything as before, where one does not hold."""
    _keep(folder, saved)
    try:
        if saved["power_mode"] is not None:
            _set_mode(root, wanted["power_mode"])
        targets: Dict[str, str] = {}
        for path, before in saved["files"].items():
            targets[path] = wanted["governor"] if path.endswith("governor") else _highest(root, path) or before
        _write_all(root, targets)
        if wanted.get("jetson_clocks"):
            _clocks(root, ["--store", os.path.join(folder, STORED)])
            _clocks(root, [])
        if wanted.get("fixed_performance"):
            _fixed(root, True)
    except Refused as fault:
        restore(root, folder, saved)
        raise Refused("%s; everything is as it was" % fault)
    return _observed(root, saved)


def _highest(root: str, path: str) -> Optional[str]:
    """Return the frequency a cluster is held at: the most its limits allow now, which is never above its power mode."""
    return sysfs.text(root, os.path.join(os.path.dirname(path), "scaling_max_freq"))


def _observed(root: str, saved: Dict[str, Any]) -> Dict[str, Any]:
    """Return what is read back of everything that a record names.

    Android does not say whether its fixed performance mode is on: that stays unreadable.
    """
    found: Dict[str, Any] = {path: sysfs.known(sysfs.word(root, path)) for path in sorted(saved["files"])}
    if saved["power_mode"] is not None:
        found["power_mode"] = sysfs.known(jetson.power_mode(root))
    if saved["jetson_clocks"]:
        found["locked_khz"] = sysfs.known(frequencies.locked_khz(root))
        found["locked_gpu_hz"] = sysfs.known(jetson.locked_gpu_hz(root))
    if saved["fixed_performance"]:
        found["fixed_performance"] = sysfs.UNREADABLE
    return found


def restore(root: str, folder: str, given: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Put back what is on record on this device, else what the host has ``given``; return what is read back.

    After a reboot only the power mode is: all else went with it. Raises Refused, the record kept, where not all could
    be put back.
    """
    saved = _to_restore(folder, given)
    if saved is None:
        _forget(folder)
        return {}
    if sysfs.known(sysfs.word(root, "/proc/sys/kernel/random/boot_id")) != saved["boot_id"]:
        saved = dict(saved, files={}, jetson_clocks=False, fixed_performance=False)
    failed: List[str] = []
    for step in (_unfix, _unlock, _unmode, _unwrite):
        try:
            step(root, folder, saved)
        except Refused as fault:
            failed.append(str(fault))
    if failed:
        raise Refused("not all could be put back: " + "; ".join(failed))
    _note(folder, saved["token"])
    _forget(folder)
    return _observed(root, saved)


def _to_restore(folder: str, given: Any) -> Optional[Dict[str, Any]]:
    """Return the record to put back: this device's own; the host's where that is damaged or gone, and only once."""
    try:
        saved = _read(folder)
    except Refused:
        if given is None:
            raise
        saved = None
    if saved is not None or given is None:
        return saved
    checked = valid(given)
    return None if checked["token"] in _restored(folder) else checked


def _restored(folder: str) -> List[str]:
    """Return whose changes were put back here."""
    return (sysfs.text(folder, RESTORED) or "").split()


def _note(folder: str, token: str) -> None:
    """Note that somebody's changes were put back."""
    tokens = " ".join(_restored(folder) + [token])[-MOST_RESTORED_BYTES:]
    with open(os.path.join(folder, RESTORED), "w") as stream:
        stream.write(tokens + "\n")


def _unfix(root: str, folder: str, saved: Dict[str, Any]) -> None:
    """Switch fixed performance off again."""
    if saved["fixed_performance"]:
        _fixed(root, False)


def _unlock(root: str, folder: str, saved: Dict[str, Any]) -> None:
    """Let jetson_clocks put back what it has stored."""
    if saved["jetson_clocks"] and os.path.exists(os.path.join(folder, STORED)):
        _clocks(root, ["--restore", os.path.join(folder, STORED)])


def _unwrite(root: str, folder: str, saved: Dict[str, Any]) -> None:
    """Write back the files."""
    _write_all(root, saved["files"])


def _unmode(root: str, folder: str, saved: Dict[str, Any]) -> None:
    """Set the power mode of before."""
    if saved["power_mode"] is not None and jetson.power_mode(root) != saved["power_mode"]:
        _set_mode(root, saved["power_mode"])


def valid(saved: Any) -> Dict[str, Any]:
    """Return a record that may be put back; raises Refused for one that could do anything else."""
    wrong = Refused("the record of what is to be put back is damaged")
    names = {"schema", "token", "files", "boot_id", "power_mode", "jetson_clocks", "fixed_performance"}
    if not isinstance(saved, dict) or set(saved) != names or saved["schema"] != SCHEMA:
        raise wrong
    if not isinstance(saved["files"], dict) or not all(allowed(*entry) for entry in saved["files"].items()):
        raise wrong
    if not isinstance(saved["token"], str) or not TOKEN.match(saved["token"]) or not isinstance(saved["boot_id"], str):
        raise wrong
    mode = saved["power_mode"]
    if mode is not None and not (isinstance(mode, str) and MODE.match(mode)):
        raise wrong
    if not isinstance(saved["jetson_clocks"], bool) or not isinstance(saved["fixed_performance"], bool):
        raise wrong
    return saved


def _read(folder: str) -> Optional[Dict[str, Any]]:
    """Return the record on this device, or None; raises Refused where it is damaged."""
    try:
        with open(os.path.join(folder, SAVED), "rb") as stream:
            content = stream.read(MOST_SAVED_BYTES)
    except OSError:
        return None
    try:
        return valid(json.loads(content.decode("utf-8")))
    except ValueError:
        raise Refused("the record of what is to be put back is damaged")


def _keep(folder: str, saved: Dict[str, Any]) -> None:
    """Write the record, so that it is there before anything changes, whole or not at all."""
    store.write(os.path.join(folder, SAVED), json.dumps(saved).encode("utf-8"))


def _forget(folder: str) -> None:
    """Remove the record."""
    for name in (SAVED, SAVED + ".part", STORED):
        try:
            os.remove(os.path.join(folder, name))
        except OSError:
            pass


def _write_all(root: str, targets: Dict[str, str]) -> None:
    """Write values and read them back; raises Refused naming the first that does not hold.

    The kernel refuses a least frequency above the present most one, and the reverse: what did not hold the first time
    is tried once more after all others.
    """
    for _ in range(2):
        for path, value in targets.items():
            if not allowed(path, value):
                raise Refused("'%s' is not a file that may be written" % path)
            if sysfs.text(root, path) != value:
                _write(root, path, value)
    for path, value in targets.items():
        found = sysfs.text(root, path)
        if found != value:
            raise Refused("'%s' says %s after %s was written" % (path, found, value))


def _write(root: str, path: str, value: str) -> None:
    """Write one value, by "sudo -n" where this process may not; whether it holds is seen by reading it back."""
    place = sysfs.below(root, path)
    try:
        with open(place, "w") as stream:
            stream.write(value)
    except PermissionError:
        said = commands.ask(root, ["tee", place], given=value, privileged=True)
        if said is None or said.code != 0:
            raise Refused("'%s' may be written by root only, and 'sudo -n' does not help" % path)
    # Refused by the kernel for now, such as a least frequency above the most one.
    except OSError:
        pass


def _set_mode(root: str, mode: str) -> None:
    """Set the power mode by name; raises Refused where that needs a reboot or does not hold."""
    number = _mode_number(root, mode)
    if number is None:
        raise Refused("its nvpmodel.conf has no power mode '%s'" % mode)
    # It asks before it reboots, and its input ends: that is a no.
    said = commands.ask(root, ["nvpmodel", "-m", number], TOOL_PATIENCE_S, privileged=True)
    if said is not None and re.search("reboot", said.text, re.IGNORECASE):
        raise Refused("power mode '%s' needs a reboot: set it yourself with 'nvpmodel -m %s'" % (mode, number))
    if jetson.power_mode(root) != mode:
        raise Refused("power mode '%s' could not be set" % mode)


def _clocks(root: str, options: List[str]) -> None:
    """Run jetson_clocks; raises Refused where it fails."""
    said = commands.ask(root, ["jetson_clocks"] + options, TOOL_PATIENCE_S, privileged=True)
    if said is None or said.code != 0:
        raise Refused("'jetson_clocks %s' failed" % " ".join(options[:1]))


def _fixed(root: str, on: bool) -> None:
    """Switch Android's fixed performance mode; raises Refused where the phone has none."""
    said = commands.ask(root, ["cmd", "power", "set-fixed-performance-mode-enabled", "true" if on else "false"])
    if said is None or said.code != 0 or "not supported" in said.text.lower():
        raise Refused("its fixed performance mode could not be switched")
