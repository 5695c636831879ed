// Says what has changed to those who do not see it, not more often than can be listened to.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

const PAUSE = 3000;
const region = el('div', { class: 'unseen', 'aria-live': 'polite', id: 'announcements' });
const counts = new Map();
let timer = null;

export function announcements() {
  return region;
}

/** `key` names words that take a number; the numbers of a few seconds are said as one. */
export function announce(key, count) {
  counts.set(key, (counts.get(key) ?? 0) + count);
  timer ??= setTimeout(say, PAUSE);
}

function say() {
  timer = null;
  fill(region, [...counts].map(([key, count]) => el('p', {}, t(key, count))));
  counts.clear();
}
