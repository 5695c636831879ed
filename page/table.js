// Tables: rows on wide screens, cards on phones. Explicit roles keep them tables for screen readers
// in both.

import { el } from './dom.js';

/**
 * `columns`: `{ label, cell(item), kind }`; kind "number" aligns right, "main" is the heading of a
 * card. `key(item)` identifies a row for `rowOf`.
 */
export function table(caption, columns, items, key = () => null) {
  const body = el('tbody', { role: 'rowgroup' });
  const row = (item) => el('tr', { role: 'row', 'data-key': key(item) }, columns.map((column) => cell(column, item)));
  body.append(...items.map(row));
  const element = el('table', { role: 'table' },
    el('caption', { class: 'unseen' }, caption),
    el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, columns.map((column) =>
      el('th', { role: 'columnheader', scope: 'col', class: column.kind }, column.label)))),
    body);
  return { element: el('div', { class: 'table' }, element), body, row };
}

function cell(column, item) {
  const attributes = { class: column.kind, 'data-label': column.label };
  if (column.kind === 'main') return el('th', { role: 'rowheader', scope: 'row', ...attributes }, column.cell(item));
  return el('td', { role: 'cell', ...attributes }, column.cell(item));
}

export function rowOf(body, key) {
  return [...body.rows].find((row) => row.dataset.key === key);
}
