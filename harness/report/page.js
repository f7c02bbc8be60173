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

  const draw = () =>
    Promise.all(figures.map(drawn)).then(() => {
      root.dataset.drawn = String(figures.length);
      root.dataset.scheme = dark.matches ? "dark" : "light";
    });

  dark.addEventListener("change", draw);
  draw();
})();
