// The counts of a job as bars on one scale: targeted, eligible after filtering, delivered, not
// delivered.

import { el } from './dom.js';
import { number, percent, t } from './i18n.js';

/** The bars. A count that the event does not have is shown as a dash. */
export function funnel(job) {
  const { total_count: total, filter_count: filter, sent_count: sent, error_count: error } = job;
  const known = [total, filter, sent, error].filter((count) => count !== null);
  if (known.length === 0) return el('p', { class: 'muted' }, t('job.noCounts'));
  const scale = Math.max(...known, (sent ?? 0) + (error ?? 0));
  const bar = (label, count, parts, notes) => el('div', { class: 'bar-row' },
    el('dt', {}, label),
    el('dd', {},
      el('div', { class: 'bar', 'aria-hidden': 'true' }, parts.map(([kind, part]) => segment(kind, part, scale))),
      el('span', { class: 'bar-count' }, number(count)),
      notes.filter(Boolean).map((note) => el('span', { class: 'bar-note' }, note))));
  return [
    el('dl', { class: 'funnel' },
      bar(t('count.total'), total, [['total', total]], []),
      bar(t('count.filter'), filter, [['filter', filter], ['gone', job.filtered_out]],
        [job.filtered_out !== null && `${t('count.filteredOut')} ${number(job.filtered_out)}`]),
      bar(t('count.sent'), sent, [['sent', sent]], [filter > 0 && sent !== null && percent(sent / filter)]),
      bar(t('count.error'), error, [['before', sent], ['error', error]], [filter > 0 && error !== null && percent(error / filter)]),
      job.unaccounted !== null && job.unaccounted !== 0
        && bar(t('count.unaccounted'), job.unaccounted, [['before', (sent ?? 0) + (error ?? 0)], ['rest', job.unaccounted]], [])),
    job.unaccounted !== null && job.unaccounted !== 0 && el('p', { class: 'muted small' }, t('job.unaccountedNote')),
    scale === 0 && el('p', { class: 'muted' }, t('job.nothingToSend')),
  ];
}

function segment(kind, count, scale) {
  const part = el('span', { class: `segment ${kind}` });
  const share = scale > 0 && count > 0 ? count / scale : 0;
  part.style.width = `${share * 100}%`;
  return part;
}
