"""Plants a recorded tree of a board: what the agent reads in place of the device's own files and tools."""

from pathlib import Path

BOARDS = Path(__file__).parents[1] / "fixtures" / "boards"


def board(name: str, root: Path) -> Path:
    """Write the tree of a kind of device below a folder, and return the folder."""
    target: Path | None = None
    lines: list[str] = []
    for line in [*(BOARDS / f"{name}.txt").read_text().splitlines(), ">>> "]:
        if not line.startswith(">>> "):
            lines.append(line)
            continue
        if target is not None:
            target.write_text("\n".join(lines) + "\n")
        path, _, tool = line[4:].partition(" ")
        lines = []
        if path:
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch(0o755 if tool else 0o644)
    return root
