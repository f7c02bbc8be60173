"""Lay a run out as one HTML file that opens anywhere: no request leaves it, and no text of a run becomes code."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from harness.report import figures, verdict, words
from harness.report.figure import Figure
from harness.report.read import Run, gather
from ofa import files
from ofa.errors import package_missing

_HERE = Path(__file__).parent
_STYLE, _SCRIPT, _TEMPLATE = "page.css", "page.js", "page.html.jinja"


def write(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder from whatever stages it holds, and return its path.

    Equal folders give equal bytes. Raises FileInvalid where it holds none, and PackageMissing without plotly or Jinja2.
    """
    run = gather(Path(run_dir))
    path = Path(run_dir) / "report.html"
    # The name of a file may be no Unicode text, and is shown all the same.
    files.write_atomic(path, render(run).encode(errors="backslashreplace"))
    return path


def render(run: Run) -> str:
    """Return the page of a run as HTML text."""
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
    environment.filters |= {"three": words.figures3, "size": words.size, "duration": words.duration}
    sections = figures.of(run)
    plotly, script = _inline(_plotly()), _inline((_HERE / _SCRIPT).read_text(encoding="utf-8"))
    return environment.get_template(_TEMPLATE).render(
        run=run,
        verdict=verdict.of(run.choices),
        over_budget=verdict.over_budget,
        latency_error=verdict.latency_error,
        sections=sections,
        words=words,
        style=_safe((_HERE / _STYLE).read_text(encoding="utf-8")),
        plotly=_safe(plotly),
        script=_safe(script),
        # Only these two scripts may run: a text that slipped through escaping would still be dead.
        script_hashes=" ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script)),
        figures_json=_safe(embedded_json(_drawn(sections))),
        run_json=_safe(embedded_json(_summary(run))),
    )


def embedded_json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _drawn(sections: dict[str, list[Figure]]) -> list[dict[str, Any]]:
    return [
        {"id": figure.id, "data": figure.data, "layout": figure.layout}
        for section in sections.values()
        for figure in section
    ]


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
