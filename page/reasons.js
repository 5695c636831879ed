// Reasons of rejection, most frequent first, each linked to its jobs.

import { el } from './dom.js';
import { either, number, t } from './i18n.js';
import { href } from './route.js';

export function reasonsList(items, params) {
  if (items.length === 0) return el('p', { class: 'muted' }, t('overview.noReasons'));
  const most = items[0].jobs;
  return el('ol', { class: 'reasons' }, items.map((reason) => {
    const bar = el('span', { class: 'segment rejected' });
    bar.style.width = `${(reason.jobs / most) * 100}%`;
    return el('li', {},
      el('a', { href: href(['jobs'], { ...params, code: reason.code }) },
        el('span', { class: 'code' }, String(reason.code)), ' ', either(reason) ?? t('job.undocumented')),
      el('span', { class: 'bar-count' }, number(reason.jobs)),
      el('div', { class: 'bar', 'aria-hidden': 'true' }, bar));
  }));
}
