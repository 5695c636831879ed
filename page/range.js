// A range of days: the last 7, 30 or 90, or a custom one.

import { daysAgo, daysBetween, endOf, startOf } from './dates.js';
import { el, fill } from './dom.js';
import { t } from './i18n.js';
import { href } from './route.js';

const CHOICES = [7, 30, 90];
export const DEFAULT_DAYS = 30;

/**
 * The range of the address: as days, and as times for the API, with a `bucket` that gives a
 * readable chart.
 */
export function rangeOf({ days, from, to }) {
  const isCustom = Boolean(from || to);
  const count = CHOICES.includes(Number(days)) ? Number(days) : DEFAULT_DAYS;
  const first = isCustom ? from || to : daysAgo(count - 1);
  const last = isCustom ? to || daysAgo(0) : daysAgo(0);
  return { isCustom, count, first, last, from: startOf(first), to: endOf(last), bucket: bucketOf(daysBetween(first, last)) };
}

function bucketOf(days) {
  if (days <= 2) return 'hour';
  if (days <= 92) return 'day';
  return days <= 730 ? 'week' : 'month';
}

/** Links for the usual ranges and fields for a custom one, which call `apply(params)`. */
export function rangePicker(apply) {
  const links = el('div', { class: 'choices' });
  const [from, to] = ['from', 'to'].map((name) => el('input', { type: 'date', id: `range-${name}`, required: true }));
  const changed = () => from.value && to.value && apply({ from: from.value, to: to.value });
  from.addEventListener('change', changed);
  to.addEventListener('change', changed);
  const element = el('div', { class: 'range', role: 'group', 'aria-label': t('range.legend') }, links,
    el('label', { for: from.id }, t('filter.from')), from, el('label', { for: to.id }, t('filter.to')), to);
  return {
    element,
    set({ account, ...params }) {
      const range = rangeOf(params);
      fill(links, CHOICES.map((days) => el('a', {
        href: href(['overview'], { account, days }),
        'aria-current': !range.isCustom && range.count === days ? 'true' : null,
      }, t('range.days', days))));
      from.value = range.first;
      to.value = range.last;
    },
  };
}
