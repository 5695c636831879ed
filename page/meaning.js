// Texts for WeChat's codes. Source: the field table of MASSSENDJOBFINISH in WeChat's documentation.

import { el, outside } from './dom.js';
import { either, t } from './i18n.js';

export const OUTCOMES = ['sent', 'failed', 'rejected', 'unknown'];
export const CHECK_STATES = [0, 1, 2, 3];

export function badge(outcome) {
  return el('span', { class: `badge ${outcome}` }, t(`outcome.${outcome}`));
}

/** Why a job was not sent; null if it was, or if the outcome says it all. */
export function reasonText(job) {
  if (job.reason === null) return job.outcome === 'unknown' && job.status !== null ? outside(job.status) : null;
  const words = either(job.reason) ?? t('job.undocumented');
  return [el('span', { class: 'code' }, String(job.reason.code)), ' ', words];
}

export function checkState(state) {
  return state === null ? t('check.none') : inWords('check', state, CHECK_STATES);
}

/** The result of an article's originality check, as a list of sentences. */
export function copyright(check) {
  return [
    check.audit_state !== null && inWords('audit', check.audit_state, [0, 1, 11]),
    check.user_declare_state !== null && inWords('declare', check.user_declare_state, [0, 1, 2]),
    reprint(check),
  ].filter(Boolean);
}

/** What kind of article the source is, as part of a sentence; null if not reported. */
export function originalType(check) {
  return check.original_type === null ? null : inWords('originalType', check.original_type, [1, 2, 3, 4]);
}

function reprint(check) {
  const parts = [
    check.can_reprint !== null && t(check.can_reprint ? 'reprint.may' : 'reprint.mayNot'),
    check.need_replace_content && t('reprint.replace'),
    check.need_show_reprint_source && t('reprint.source'),
  ].filter(Boolean);
  return parts.join(t('list.separator'));
}

function inWords(kind, value, known) {
  return known.includes(value) ? t(`${kind}.${value}`) : t(`${kind}.other`, value);
}
