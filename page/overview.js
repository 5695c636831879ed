// The overview: totals, outcomes and delivery rate over time, reasons of rejection, and silent
// accounts.

import { accountsTable } from './accounts.js';
import { get } from './api.js';
import { dayBefore, dayOf } from './dates.js';
import { outcomesFigure, rateFigure } from './figures.js';
import { el, fill } from './dom.js';
import { filterForm, textField } from './filters.js';
import { format, number, percent, t, ZONE } from './i18n.js';
import { onChanges } from './live.js';
import { DEFAULT_DAYS, rangeOf, rangePicker } from './range.js';
import { reasonsList } from './reasons.js';
import { go, href } from './route.js';
import { Loader, emptyNote } from './states.js';
import { accountSuggestions } from './suggest.js';

export function overviewView(root, signal) {
  const accounts = accountSuggestions(signal);
  let params = {};
  const shown = { all: false };
  const picker = rangePicker((range) => go(['overview'], { account: params.account, ...range }));
  const form = filterForm([['account', textField({ list: accounts.id })]],
    ({ account }) => go(['overview'], { ...params, account }));
  const parts = Object.fromEntries(['warning', 'totals', 'timeline', 'reasons', 'accounts'].map((name) => [name, el('div')]));
  const card = (name, title) => el('section', { class: 'card', 'aria-labelledby': `title-${name}` },
    el('h2', { id: `title-${name}` }, title), parts[name]);
  fill(root,
    el('h1', { tabindex: '-1' }, t('overview.title')),
    el('div', { class: 'controls' }, picker.element, form.element), accounts.element,
    parts.warning,
    el('section', { 'aria-label': t('overview.totals') }, parts.totals),
    parts.timeline,
    card('reasons', t('overview.reasons')),
    card('accounts', t('overview.accounts')));
  parts.timeline.className = 'figures';

  const loaders = {
    warning: new Loader(parts.warning, ([sealed, all, unparsed]) => [sealedNote(sealed), namesNote(all, params), unparsedNote(unparsed)], signal),
    totals: new Loader(parts.totals, ({ stats, latest }) => totals(stats, latest, params), signal),
    timeline: new Loader(parts.timeline, ({ items, bucket }) => [outcomesFigure(items, bucket, signal), rateFigure(items, bucket, signal)], signal),
    reasons: new Loader(parts.reasons, ({ items }) => reasonsList(items, listParams(params)), signal),
    accounts: new Loader(parts.accounts, (data) => accountsTable(data, listParams(params), shown), signal),
  };
  const load = (options) => {
    const { from, to, bucket } = rangeOf(params);
    const filter = { account: params.account, from, to };
    const { account } = params;
    const latest = (state, stop) => get('deliveries', { account, state, limit: 1 }, stop);
    loaders.warning.load((stop) => Promise.all([latest('sealed', stop), get('accounts', {}, stop), latest('unparsed', stop)]), { quietly: true });
    loaders.totals.load(async (stop) => {
      const stats = await get('stats', filter, stop);
      return { stats, latest: stats.jobs === 0 ? await latestJob(account, stop) : null };
    }, options);
    loaders.timeline.load(async (stop) => {
      const { items } = await get('stats/timeline', { ...filter, bucket, tz: ZONE }, stop);
      return { items, bucket };
    }, options);
    loaders.reasons.load((stop) => get('stats/reasons', filter, stop), options);
    // Silent accounts may have no jobs in the range, so list all accounts.
    loaders.accounts.load(async (stop) => {
      const [totals, all] = await Promise.all([get('stats/accounts', filter, stop), get('accounts', {}, stop)]);
      return { totals: totals.items, accounts: all.items.filter((item) => !account || item.account === account) };
    }, options);
  };

  onChanges(() => load({ quietly: true }), signal);
  return {
    title: () => t('overview.title'),
    update(route) {
      params = route.params;
      picker.set(params);
      form.set(params);
      load();
    },
  };
}

/** The parameters of a job list with the same range. */
function listParams(params) {
  const { first, last } = rangeOf(params);
  return { account: params.account, from: first, to: last };
}

/** Tells that pushes are sealed, and what to correct. */
function sealedNote({ items: [delivery] }) {
  return delivery !== undefined && el('p', { class: 'note warning' },
    t('overview.sealed', delivery.account, t(`overview.sealed.${misfit(delivery.error ?? '')}`)), ' ',
    el('a', { href: href(['received'], { state: 'sealed' }) }, t('overview.unparsedLink')));
}

function misfit(error) {
  if (error.includes('plain mode')) return 'mode';
  if (error.includes('ToUserName')) return 'originalId';
  return error.includes('another AppID') ? 'appId' : 'key';
}

/** Tells which accounts also receive results of another WeChat account. */
function namesNote({ items }, { account }) {
  return items.filter((item) => item.other_to_user_name && (!account || item.account === account))
    .map((item) => el('p', { class: 'note warning' },
      t('overview.otherName', item.account, item.to_user_name, item.other_to_user_name)));
}

function unparsedNote({ items }) {
  return items.length > 0 && el('p', { class: 'note warning' }, t('overview.unparsed'), ' ',
    el('a', { href: href(['received'], { state: 'unparsed' }) }, t('overview.unparsedLink')));
}

/** When the last job at any time finished, or null. */
async function latestJob(account, stop) {
  const { items } = await get('accounts', {}, stop);
  const times = items.filter((item) => item.last_finished_at !== null && (!account || item.account === account))
    .map((item) => new Date(item.last_finished_at));
  return times.length > 0 ? new Date(Math.max(...times)) : null;
}

function latestNote(latest, { account }) {
  const to = dayOf(latest);
  const link = href(['overview'], { account, from: dayBefore(to, DEFAULT_DAYS - 1), to });
  return [t('overview.latest', format(latest, { dateStyle: 'medium' })), ' ', el('a', { href: link }, t('overview.showLatest'))];
}

function totals(stats, latest, params) {
  if (stats.jobs === 0) return emptyNote(t('overview.empty'), latest === null ? t('overview.emptyDetail') : latestNote(latest, params));
  const notSent = stats.jobs - stats.by_outcome.sent;
  return el('dl', { class: 'tiles' },
    tile(t('overview.jobs'), number(stats.jobs), null),
    tile(t('overview.notSent'), number(notSent), t('overview.ofAllJobs', percent(notSent / stats.jobs)), notSent > 0 && 'bad'),
    tile(t('overview.deliveryRate'), percent(stats.filter_count > 0 ? stats.sent_count / stats.filter_count : null),
      t('overview.deliveryRateNote')),
    tile(t('count.sent'), number(stats.sent_count), t('overview.ofAddressed', number(stats.total_count))),
    tile(t('count.error'), number(stats.error_count), null));
}

function tile(term, value, note, kind) {
  return el('div', { class: `tile ${kind || ''}` }, el('dt', {}, term), el('dd', { class: 'value' }, value),
    note && el('dd', { class: 'muted small' }, note));
}
