// What a browser with scripts gets beyond the page: charts that tell their values where the pointer is.
"use strict";
(() => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const shades = { a: "chart-a", admitted: "chart-a", b: "chart-b", refused: "chart-b", c: "chart-c", shadowed: "chart-c" };
  const drawn = [];

  const short = (value) => {
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (Math.abs(value) >= size) return `${+(value / size).toPrecision(3)}${letter}`;
    }
    return `${+value.toPrecision(3)}`;
  };

  const draw = (figure) => {
    const data = JSON.parse(figure.dataset.chart);
    const svg = figure.querySelector("svg");
    const values = data.series.map((each) => each.values);
    const tops = data.stacked
      ? values.map((_, place) => data.times.map((_, at) => values.slice(0, place + 1).reduce((sum, row) => sum + (row[at] || 0), 0)))
      : values;
    const clock = (_, moments, __, ___, step) =>
      moments.map((at) => {
        const date = new Date(at * 1000);
        return step >= 86400 ? date.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : date.toISOString().slice(11, 16);
      });
    const axis = { stroke: colour("dim"), grid: { stroke: colour("rule"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const options = {
      width: figure.clientWidth,
      height: Math.max(180, Math.round(figure.clientWidth * 0.229)),
      cursor: { y: false, points: { size: 6 } },
      legend: { live: true },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } },
      axes: [{ ...axis, size: 30, values: clock }, { ...axis, size: 48, values: (_, ticks) => ticks.map(short) }],
      series: [
        { value: (_, at) => (at === null ? "–" : `${new Date(at * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`) },
        ...data.series.map((each, place) => ({
          label: each.label,
          stroke: colour(shades[each.kind]),
          width: 1.6,
          fill: data.stacked && place === 0 ? `${colour(shades[each.kind])}2e` : undefined,
          points: { show: false },
          value: (_, __, ___, at) => (at === null || values[place][at] === null ? "–" : `${short(values[place][at])}${each.unit || ""}`),
        })),
      ],
      bands: data.stacked ? tops.slice(1).map((_, place) => ({ series: [place + 2, place + 1], fill: `${colour(shades[data.series[place + 1].kind])}4d` })) : [],
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    };
    svg.remove();
    const key = figure.parentElement.querySelector(".key");
    if (key) key.remove();
    drawn.push([figure, new uPlot(options, [data.times, ...tops], figure)]);
  };

  if (window.uPlot) document.querySelectorAll("figure[data-chart]").forEach((figure) => figure.querySelector("svg") && draw(figure));
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => drawn.forEach(([figure, plot]) => plot.setSize({ width: figure.clientWidth, height: plot.height })), 100);
  });
})();
