"""Lay a run out as one HTML file that opens anywhere: no request leaves it, and no text of a run becomes code."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.report import figures, reasons, stages, verdict, words
from harness.report.figure import Figure
from harness.report.read import Run, gather
from ofa import files
from ofa.errors import package_missing

_HERE = Path(__file__).parent
_STYLE, _SCRIPT = "page.css", "page.js"
# A longer list of files is folded.
MOST_FILES = 60
MOST_NETWORKS = 150


def write(run_dir: Path, out: Path | None = None, on_broken: Callable[[str], object] | None = None) -> Path:
    """Write the page of a run from whatever stages its folder holds, and return its path.

    It is ``report.html`` in the folder where ``out`` names no other file; ``on_broken`` is told of each input that
    could not be read. Equal folders give equal bytes. Raises FileInvalid where the folder holds no stage, and
    PackageMissing without plotly or Jinja2.
    """
    run = gather(Path(run_dir))
    if on_broken is not None:
        for line in run.broken:
            on_broken(line)
    return written(render(run), Path(out) if out is not None else Path(run_dir) / "report.html")


def written(text: str, path: Path) -> Path:
    """Write a page, and return its path."""
    # The name of a file may be no Unicode text, and is shown all the same.
    files.write_atomic(path, text.encode(errors="backslashreplace"))
    return path


def render(run: Run) -> str:
    """Return the page of a run as HTML text."""
    sections = figures.of(run)
    return laid_out(
        "page.html.jinja",
        [figure for section in sections.values() for figure in section],
        _summary(run),
        run=run,
        simulated=run.simulated,
        verdict=verdict.of(run.choices),
        stages=stages.of(run),
        over_budget=verdict.over_budget,
        latency_error=verdict.latency_error,
        sections=sections,
        most_files=MOST_FILES,
        most_networks=MOST_NETWORKS,
        most_changes=reasons.MOST_CHANGES,
    )


def laid_out(template: str, drawn: Sequence[Figure], summary: dict[str, Any], **values: Any) -> str:
    """Return a page as HTML text: a template, its figures, what programs read of it, and the values it speaks of."""
    try:
        import jinja2
    except ImportError as fault:
        raise package_missing("jinja2", extra="report", needed_for="the report page") from fault
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"three": words.figures3, "size": words.size, "duration": words.duration, "held": words.held}
    plotly, script = _inline(_plotly()), _inline((_HERE / _SCRIPT).read_text(encoding="utf-8"))
    return environment.get_template(template).render(
        words=words,
        style=_safe((_HERE / _STYLE).read_text(encoding="utf-8")),
        plotly=_safe(plotly),
        script=_safe(script),
        # Only these two scripts may run: a text that slipped through escaping would still be dead.
        script_hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script)),
        figures_json=_safe(embedded_json([{"id": one.id, "data": one.data, "layout": one.layout} for one in drawn])),
        run_json=_safe(embedded_json(summary)),
        **values,
    )


def embedded_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _summary(run: Run) -> dict[str, Any]:
    """Return what the page says, for programs and for comparing two reports."""
    return {
        "name": run.name,
        "simulated": run.simulated,
        "run": run.facts,
        "wall_s": run.wall_s,
        "accuracy_spread": run.spread,
        "files": {fact.path: fact.sha256 for fact in run.files},
        "missing": run.missing,
        "broken": run.broken,
    }


def _plotly() -> str:
    """Return plotly.js as its wheel carries it, without importing the package."""
    spec = importlib.util.find_spec("plotly")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise package_missing("plotly", extra="report", needed_for="the figures of the report")


def _inline(script: str) -> str:
    """Return a script that can stand inside a page: nothing in it ends its element or opens a comment."""
    return script.strip().replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("\r\n", "\n")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _safe(text: str) -> Any:
    """Mark our own text as not to be escaped."""
    import markupsafe

    return markupsafe.Markup(text)
