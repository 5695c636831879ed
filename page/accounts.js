// The table of accounts, silent ones first.

import { el } from './dom.js';
import { ago, number, percent, t } from './i18n.js';
import { href } from './route.js';
import { table } from './table.js';

/** An account without a result for this long is marked as silent. */
const SILENT_DAYS = 7;
const SHOWN = 15;

const NOTHING = { jobs: 0, sent: 0, failed: 0, rejected: 0, unknown: 0, sent_count: 0, filter_count: 0, delivery_rate: null };

/**
 * `totals`: of each account with jobs in the range. `accounts`: all accounts, with their last job
 * at any time. `shown.all`: show all rows instead of the first ones; set when the reader asks for
 * them.
 */
export function accountsTable({ totals, accounts }, params, shown) {
  if (accounts.length === 0) return el('p', { class: 'muted' }, t('overview.noAccounts'));
  const totalsOf = new Map(totals.map((item) => [item.account, item]));
  const items = accounts.map((item) => ({
    ...NOTHING,
    ...totalsOf.get(item.account),
    account: item.account,
    last_finished_at: item.last_finished_at,
    // An account without any result counts as silent: its callback URL may never have been set.
    isSilent: !(Date.now() - Date.parse(item.last_finished_at) < SILENT_DAYS * 86400000),
  }));
  items.sort((one, other) => other.isSilent - one.isSilent || other.jobs - one.jobs);
  const silent = items.filter((item) => item.isSilent).length;
  const drawn = table(t('overview.accounts'), columns(params), shown.all ? items : items.slice(0, SHOWN), (item) => item.account);
  const more = items.length > SHOWN && !shown.all && el('button', {
    type: 'button',
    onclick: () => {
      shown.all = true;
      drawn.body.append(...items.slice(SHOWN).map(drawn.row));
      drawn.body.rows[SHOWN].querySelector('a').focus();
      more.remove();
    },
  }, t('overview.showAll', number(items.length)));
  return [el('p', { class: silent > 0 ? 'note warning' : 'muted' }, t('overview.silentNote', silent, SILENT_DAYS)), drawn.element, more];
}

function columns(params) {
  return [
    { label: t('overview.account'), kind: 'main', cell: ({ account }) => el('a', { href: href(['overview'], { account }) }, account) },
    {
      label: t('overview.lastFinished'), kind: 'time',
      cell: (item) => [item.last_finished_at ? ago(item.last_finished_at) : t('overview.never'), item.isSilent && [' ', el('span', { class: 'badge failed' }, t('overview.silent'))]],
    },
    { label: t('overview.jobs'), kind: 'number', cell: ({ account, jobs }) => el('a', { href: href(['jobs'], { ...params, account }) }, number(jobs)) },
    ...['sent', 'failed', 'rejected', 'unknown'].map((outcome) => (
      { label: t(`outcome.${outcome}`), kind: 'number', cell: (item) => number(item[outcome]) })),
    { label: t('count.sent'), kind: 'number', cell: (item) => number(item.sent_count) },
    { label: t('overview.deliveryRate'), kind: 'number', cell: (item) => percent(item.delivery_rate) },
  ];
}
