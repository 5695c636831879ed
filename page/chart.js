// Draws a time series with uPlot, in the theme's colours and as wide as its container.

import uPlot from './vendor/uplot/uPlot.esm.js';
import { el, fill } from './dom.js';
import { format } from './i18n.js';
import { onSetting } from './settings.js';

const HEIGHT = 220;
const FONT = '12px system-ui, sans-serif';

/**
 * Draws into `area` until the signal. `starts`: seconds since 1970; `values`: a list for each
 * label; `kind`: "bars" (stacked) or "line" (shares from 0 to 1); `colours`: names of theme
 * colours.
 */
export function drawChart(area, chart, signal) {
  let plot = null;
  const draw = () => {
    plot?.destroy();
    plot = new uPlot(options(area, chart), data(chart), area);
  };
  const observer = new ResizeObserver(([{ contentRect }]) => {
    if (plot === null) draw();
    else plot.setSize({ width: contentRect.width, height: HEIGHT });
  });
  observer.observe(area);
  onSetting('theme', () => plot !== null && area.isConnected && draw(), signal);
  signal.addEventListener('abort', () => observer.disconnect());
}

/** uPlot draws each series from zero, so stacked bars are running sums, the tallest drawn first. */
function data({ kind, starts, values }) {
  if (kind === 'line') return [starts, ...values];
  const sums = [];
  values.forEach((list, series) => sums.push(list.map((value, at) => value + (sums[series - 1]?.[at] ?? 0))));
  return [starts, ...sums.reverse()];
}

function options(area, chart) {
  const colour = (name) => themeColour(area, name);
  const [text, grid] = [colour('--muted'), colour('--line')];
  const axis = { stroke: text, font: FONT, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  const colours = chart.colours.map((name) => colour(`--${name}`));
  return {
    width: area.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: chart.kind === 'line' } },
    scales: { x: { range: (_, min, max) => padded(chart.starts, min, max) }, y: { range: (_, low, high) => extent(chart.kind, low, high) } },
    axes: [
      { ...axis, grid: { show: false }, size: 28, space: 70, values: (_, splits, __, ___, step) => splits.map((at) => axisTime(at, step)) },
      { ...axis, size: 52, incrs: chart.kind === 'bars' ? wholeSteps() : undefined, values: (_, splits) => splits.map(chart.show) },
    ],
    series: [{}, ...(chart.kind === 'line' ? lines(colours) : bars(colours))],
    plugins: [tooltip(chart)],
  };
}

function bars(colours) {
  const paths = uPlot.paths.bars({ size: [0.72, 44], radius: 0.1 });
  return colours.toReversed().map((fill) => ({ fill, width: 0, paths, points: { show: false } }));
}

function lines(colours) {
  return colours.map((stroke) => ({ stroke, width: 2, points: { size: 5, fill: stroke }, fill: `color-mix(in srgb, ${stroke} 12%, transparent)` }));
}

/** Adds half a bar on each side. */
function padded(starts, min, max) {
  const half = starts.length > 1 ? (starts[1] - starts[0]) / 2 : 43200;
  return [min - half, max + half];
}

/**
 * Counts start at zero. Rates end at 100 %, and start at 90 % or below, so that small dips in a
 * high rate show.
 */
function extent(kind, low, high) {
  if (kind === 'bars') return [0, Math.max(high ?? 0, 4) * 1.08];
  const floor = low === null ? 0 : Math.floor(low * 20) / 20;
  return [Math.max(0, Math.min(floor, 0.9)), 1.005];
}

function wholeSteps() {
  return Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
}

function axisTime(at, step) {
  const date = new Date(at * 1000);
  if (step < 86400) return format(date, { hour: '2-digit', minute: '2-digit' });
  if (step < 86400 * 28) return format(date, { month: 'short', day: 'numeric' });
  return format(date, { year: 'numeric', month: 'short' });
}

/** Resolves a theme colour for uPlot, which draws on a canvas. */
function themeColour(area, name) {
  const probe = el('span', { hidden: true });
  probe.style.color = `var(${name})`;
  area.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Shows the values under the pointer. */
function tooltip({ title, labels, values, colours, show }) {
  const box = el('div', { class: 'tooltip', hidden: true, 'aria-hidden': 'true' });
  return {
    hooks: {
      init: (plot) => plot.over.append(box),
      setCursor: (plot) => {
        const { idx, left } = plot.cursor;
        box.hidden = idx === null || idx === undefined || left < 0;
        if (box.hidden) return;
        fill(box, el('strong', {}, title(idx)), labels.map((label, series) => el('div', {},
          el('span', { class: `swatch ${colours[series]}` }), label, ' ', el('b', {}, show(values[series][idx])))));
        const isRight = left > plot.over.clientWidth / 2;
        box.style.left = isRight ? '' : `${left + 12}px`;
        box.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : '';
      },
    },
  };
}
