// Links between the pages of a list. Cursors of the API only lead forwards, so the pages visited
// are remembered.

import { el } from './dom.js';
import { t } from './i18n.js';
import { href } from './route.js';

/** The cursor of the page before, by cursor; null for the first page. */
const before = new Map();

/** Links to the first, previous and next page; false if this is the only one. */
export function pager(segments, params, next) {
  const { cursor = null, ...filters } = params;
  if (next !== null) before.set(next, cursor);
  const to = (cursorOf, words, rel) => el('a', { class: 'button', rel, href: href(segments, { ...filters, cursor: cursorOf }) }, words);
  const links = [
    cursor !== null && to(null, t('page.first'), 'first'),
    cursor !== null && before.has(cursor) && to(before.get(cursor), t('page.previous'), 'prev'),
    next !== null && to(next, t('page.next'), 'next'),
  ].filter(Boolean);
  return links.length > 0 && el('nav', { class: 'pager', 'aria-label': t('page.nav') }, links);
}
