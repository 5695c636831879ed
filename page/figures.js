// The charts of the overview, each with a table of the same figures for screen readers.

import { drawChart } from './chart.js';
import { el } from './dom.js';
import { format, number, percent, t } from './i18n.js';
import { OUTCOMES } from './meaning.js';
import { table } from './table.js';

/** Jobs by outcome, as stacked bars. */
export function outcomesFigure(items, bucket, signal) {
  const counts = OUTCOMES.map((outcome) => items.map((item) => item[outcome]));
  const jobs = items.reduce((sum, item) => sum + item.jobs, 0);
  const text = items.length === 0 ? '' : t('overview.chart.outcomes', number(jobs), startText(items[0], bucket), startText(items.at(-1), bucket));
  const shown = OUTCOMES.filter((_, index) => counts[index].some((count) => count > 0));
  return figure(t('overview.outcomes'), text, {
    legend: shown.map((outcome) => el('li', {}, el('span', { class: `swatch ${outcome}`, 'aria-hidden': 'true' }), t(`outcome.${outcome}`))),
    chart: { kind: 'bars', values: counts, colours: OUTCOMES, show: number },
    labels: OUTCOMES.map((outcome) => t(`outcome.${outcome}`)),
    columns: OUTCOMES.map((outcome) => ({ label: t(`outcome.${outcome}`), kind: 'number', cell: (item) => number(item[outcome]) })),
  }, items, bucket, signal);
}

/** The delivery rate as a line, with gaps where there was nothing to send. */
export function rateFigure(items, bucket, signal) {
  const rates = items.map((item) => item.delivery_rate);
  const known = rates.filter((rate) => rate !== null);
  const text = known.length === 0 ? '' : t('overview.chart.rate', percent(Math.min(...known)), percent(Math.max(...known)));
  return figure(t('overview.rateOverTime'), text, {
    legend: [],
    chart: { kind: 'line', values: [rates], colours: ['sent'], show: percent },
    labels: [t('overview.deliveryRate')],
    columns: [
      { label: t('overview.deliveryRate'), kind: 'number', cell: (item) => percent(item.delivery_rate) },
      { label: t('count.sent'), kind: 'number', cell: (item) => number(item.sent_count) },
      { label: t('count.filter'), kind: 'number', cell: (item) => number(item.filter_count) },
    ],
  }, items, bucket, signal);
}

function figure(title, text, { legend, chart, labels, columns }, items, bucket, signal) {
  const canvas = el('div', { class: 'chart', role: 'img', 'aria-label': text });
  const start = { label: t('overview.start'), kind: 'main', cell: (item) => startText(item, bucket) };
  const starts = items.map((item) => Date.parse(item.start) / 1000);
  drawChart(canvas, { ...chart, starts, labels, title: (index) => startText(items[index], bucket), bucket }, signal);
  return el('figure', { class: 'card' },
    el('figcaption', {}, el('h2', {}, title), legend.length > 0 && el('ul', { class: 'legend' }, legend)),
    canvas,
    el('details', {}, el('summary', {}, t('overview.figures')), table(title, [start, ...columns], items).element));
}

function startText({ start }, bucket) {
  const options = { hour: { dateStyle: 'medium', timeStyle: 'short' }, month: { year: 'numeric', month: 'long' } };
  return format(new Date(start), options[bucket] ?? { dateStyle: 'medium' });
}
