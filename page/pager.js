// The way through the pages of a list. The API leads forwards only; the way back is known as far as it was walked here.

import { el } from './dom.js';
import { t } from './i18n.js';
import { href } from './route.js';

/** For each cursor, that of the page before; null for the first. */
const before = new Map();

/** Links to the pages around this one; nothing when it is the only one. */
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
