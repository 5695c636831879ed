// Announces changes to screen readers, at most once every few seconds.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

const DELAY = 3000;
const region = el('div', { class: 'unseen', 'aria-live': 'polite', id: 'announcements' });
const counts = new Map();
let timer = null;

export function announcements() {
  return region;
}

/** `key`: a text that takes a number. The counts of a few seconds are announced as one. */
export function announce(key, count) {
  counts.set(key, (counts.get(key) ?? 0) + count);
  timer ??= setTimeout(say, DELAY);
}

function say() {
  timer = null;
  fill(region, [...counts].map(([key, count]) => el('p', {}, t(key, count))));
  counts.clear();
}
