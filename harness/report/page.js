"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const coarse = window.matchMedia("(pointer: coarse)");
  const root = document.documentElement;

  // Figures name colours by CSS variable, so that one set of data serves both schemes.
  const resolved = (value, style) => {
    if (typeof value === "string") {
      return value.startsWith("var(") ? style.getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolved(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item, style)]));
    }
    return value;
  };

  const drawn = (figure) => {
    const style = getComputedStyle(root);
    const place = document.getElementById(figure.id);
    const narrow = place.clientWidth < 480;
    const own = resolved(figure, style);
    // On a phone the numbers in the cells say what the colour bar would, and need its room.
    if (narrow && own.data.some((trace) => trace.mode === "text")) {
      own.data.forEach((trace) => {
        if (trace.type === "heatmap") trace.showscale = false;
      });
    }
    const layout = {
      ...own.layout,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: {
        family: style.getPropertyValue("--sans").trim(),
        size: narrow ? 11 : 13,
        color: style.getPropertyValue("--ink").trim(),
      },
      hoverlabel: {
        bgcolor: style.getPropertyValue("--panel").trim(),
        bordercolor: style.getPropertyValue("--grid").trim(),
        font: { color: style.getPropertyValue("--ink").trim() },
        align: "left",
      },
      // A finger that scrolls the page must not zoom the plot.
      dragmode: coarse.matches ? false : "zoom",
    };
    return Plotly.react(place, own.data, layout, {
      responsive: true,
      // The bar of buttons hides what is under it; dragging zooms and a double click resets without it.
      displayModeBar: false,
      scrollZoom: false,
    });
  };

  // The rows of our own CSV writer: fields with commas, quotes or line ends stand in quotes.
  const rowsOf = (text) => {
    const rows = [[""]];
    let quoted = false;
    for (let at = 0; at < text.length; at += 1) {
      const sign = text[at];
      const row = rows[rows.length - 1];
      if (quoted && sign === '"' && text[at + 1] === '"') {
        row[row.length - 1] += '"';
        at += 1;
      } else if (sign === '"') quoted = !quoted;
      else if (!quoted && sign === ",") row.push("");
      else if (!quoted && sign === "\n") rows.push([""]);
      else row[row.length - 1] += sign;
    }
    return rows.filter((row) => row.length > 1 || row[0] !== "");
  };

  // Tables are built when they are asked for: whole ones would double the page.
  const MOST_ROWS = 500;
  const tabled = (details) => {
    const place = details.querySelector("div");
    if (!details.open || place.firstChild) return;
    const link = details.closest("figure").querySelector("a.csv");
    const rows = rowsOf(decodeURIComponent(link.getAttribute("href").split(",").slice(1).join(",")));
    const table = place.appendChild(document.createElement("table"));
    rows.slice(0, MOST_ROWS + 1).forEach((row, number) => {
      const line = table.appendChild(document.createElement("tr"));
      row.forEach((text) => {
        const cell = line.appendChild(document.createElement(number ? "td" : "th"));
        if (!number) cell.scope = "col";
        if (number && text !== "" && Number.isFinite(Number(text))) cell.className = "n";
        cell.textContent = number ? text : text.replaceAll("_", " ");
      });
    });
    if (rows.length > MOST_ROWS + 1) {
      const more = place.appendChild(document.createElement("p"));
      more.textContent = `${(rows.length - 1 - MOST_ROWS).toLocaleString("en")} more rows are in the CSV.`;
    }
  };
  document.querySelectorAll("details.data").forEach((details) => {
    details.addEventListener("toggle", () => tabled(details));
  });

  const draw = () =>
    Promise.all(figures.map(drawn)).then(() => {
      root.dataset.drawn = String(figures.length);
      root.dataset.scheme = dark.matches ? "dark" : "light";
    });

  dark.addEventListener("change", draw);
  draw();
})();
