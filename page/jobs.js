// The list of jobs, with filters in the address, pages by cursor, and live updates.

import { get } from './api.js';
import { endOf, startOf } from './dates.js';
import { el, fill, outside } from './dom.js';
import { choice, dayField, filterForm, suggestions, textField } from './filters.js';
import { either, format, number, t, time } from './i18n.js';
import { JobList } from './job-list.js';
import { CHECK_STATES, OUTCOMES, badge, reasonText } from './meaning.js';
import { onChanges, onGap, onJob } from './live.js';
import { pager } from './pager.js';
import { go, href } from './route.js';
import { Loader, emptyNote } from './states.js';
import { accountSuggestions } from './suggest.js';
import { table } from './table.js';

const PAGE = 50;

export function jobsView(root, signal) {
  const accounts = accountSuggestions(signal);
  const codes = suggestions('codes');
  const form = filterForm([
    ['account', textField({ list: accounts.id })],
    ['outcome', choice(OUTCOMES.map((outcome) => [outcome, t(`outcome.${outcome}`)]))],
    ['code', textField({ list: 'codes', inputmode: 'numeric' })],
    ['check_state', choice(CHECK_STATES.map((state) => [String(state), t(`check.${state}`)]))],
    ['from', dayField()],
    ['to', dayField()],
    ['msg_id', textField({ inputmode: 'numeric' })],
  ], (params) => go(['jobs'], params));
  const newJobs = el('div', { class: 'new-jobs' });
  const area = el('section', { 'aria-label': t('jobs.title') });
  fill(root, el('h1', { tabindex: '-1' }, t('jobs.title')), form.element, accounts.element, codes.element, newJobs, area);
  suggestCodes(codes, signal);

  let params = {};
  let list = null;
  const loader = new Loader(area, ({ page, latest }) => {
    const drawn = table(t('jobs.caption'), columns(), page.items, keyOf);
    const before = list;
    list = new JobList(drawn, page, params, PAGE, (count) => showNewJobs(newJobs, count, params));
    list.countNew(0);
    if (before?.isFirst) list.announceSince(before);
    if (page.items.length === 0) {
      if (latest !== null) return emptyNote(t('jobs.empty'), latestNote(latest, params));
      const filtered = Object.keys(params).length > 0;
      return filtered ? emptyNote(t('jobs.empty'), t('jobs.emptyDetail')) : emptyNote(t('jobs.none'), t('jobs.noneDetail'));
    }
    return [drawn.element, pager(['jobs'], params, page.next_cursor)];
  }, signal);
  const load = (options) => loader.load(async (stop) => {
    const page = await get('jobs', query(params), stop);
    const isRangeEmpty = page.items.length === 0 && (params.from || params.to);
    return { page, latest: isRangeEmpty ? await latestAtAnyTime(params, stop) : null };
  }, options);

  // The first job of an empty list needs the table.
  onJob((job) => list && (list.isEmpty ? list.matches(job) && load({ quietly: true }) : list.apply(job)), signal);
  onGap(() => list && load({ quietly: true }), signal);
  onChanges(() => loader.retry(), signal);
  return {
    title: () => t('jobs.title'),
    update(route) {
      params = route.params;
      list = null;
      form.set(params);
      load();
    },
  };
}

export function keyOf(job) {
  return `${job.account}/${job.msg_id}`;
}

function query({ from, to, ...others }) {
  return { ...others, from: startOf(from), to: endOf(to), limit: PAGE };
}

/** The latest job that matches all filters but the dates. */
async function latestAtAnyTime({ from, to, cursor, ...others }, stop) {
  const { items } = await get('jobs', { ...others, limit: 1 }, stop);
  return items[0] ?? null;
}

function latestNote(job, { from, to, cursor, ...others }) {
  const day = format(new Date(job.finished_at), { dateStyle: 'medium' });
  return [t('jobs.latest', day), ' ', el('a', { href: href(['jobs'], others) }, t('jobs.showLatest'))];
}

function columns() {
  return [
    { label: t('jobs.job'), kind: 'main', cell: (job) => el('a', { href: href(['jobs', job.account, job.msg_id]) }, job.msg_id) },
    { label: t('jobs.account'), cell: (job) => job.account, kind: 'account' },
    { label: t('jobs.finished'), cell: (job) => time(job.finished_at), kind: 'time' },
    { label: t('jobs.outcome'), cell: (job) => badge(job.outcome), kind: 'outcome' },
    { label: t('jobs.reason'), cell: (job) => el('span', { class: 'clipped' }, reasonText(job)), kind: 'reason' },
    { label: t('count.total'), cell: (job) => number(job.total_count), kind: 'number' },
    { label: t('count.filter'), cell: (job) => number(job.filter_count), kind: 'number' },
    { label: t('count.sent'), cell: (job) => number(job.sent_count), kind: 'number' },
    { label: t('count.error'), cell: (job) => number(job.error_count), kind: 'number' },
  ];
}

function showNewJobs(area, count, { cursor, ...filters }) {
  fill(area, count > 0 && el('p', { class: 'note', role: 'status' }, outside(t('jobs.new', count)), ' ',
    el('a', { href: href(['jobs'], filters) }, t('jobs.showNew'))));
}

async function suggestCodes(codes, signal) {
  // The field also works without suggestions.
  const { items } = await get('reasons', {}, signal).catch(() => ({ items: [] }));
  codes.set(items.map((reason) => [reason.code, either(reason) ?? t('job.undocumented')]));
}
