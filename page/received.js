// Every delivery that is kept, with its raw body.

import { get } from './api.js';
import { endOf, startOf } from './dates.js';
import { deliveryCard } from './delivery.js';
import { el, fill } from './dom.js';
import { choice, dayField, filterForm, textField } from './filters.js';
import { t } from './i18n.js';
import { onChanges } from './live.js';
import { pager } from './pager.js';
import { go } from './route.js';
import { Loader, emptyNote } from './states.js';
import { accountSuggestions } from './suggest.js';

const PAGE = 25;
/** Unparsed and sealed deliveries change no job, so the stream does not report them. */
const INTERVAL = 30000;

export function receivedView(root, signal) {
  const accounts = accountSuggestions(signal);
  const form = filterForm([
    ['account', textField({ list: accounts.id })],
    ['state', choice(['stored', 'unparsed', 'sealed'].map((state) => [state, t(`received.state.${state}`)]))],
    ['event', textField()],
    ['from', dayField()],
    ['to', dayField()],
  ], (params) => go(['received'], params));
  const area = el('section', { 'aria-label': t('received.title') });
  fill(root, el('h1', { tabindex: '-1' }, t('received.title')), el('p', { class: 'muted' }, t('received.note')),
    form.element, accounts.element, area);

  let params = {};
  const loader = new Loader(area, (page) => {
    if (page.items.length === 0) return emptyNote(nothing(params));
    return [page.items.map((delivery) => deliveryCard(delivery, { withJob: true })),
      pager(['received'], params, page.next_cursor)];
  }, signal);
  const load = (options) => {
    const { from, to, ...others } = params;
    loader.load((stop) => get('deliveries', { ...others, from: startOf(from), to: endOf(to), limit: PAGE }, stop), options);
  };
  // New deliveries are on the first page. Nothing moves while the reader has one open.
  const again = () => {
    if (!params.cursor && !document.hidden && !area.querySelector('details[open]')) load({ quietly: true });
  };
  onChanges(again, signal);
  const timer = setInterval(again, INTERVAL);
  signal.addEventListener('abort', () => clearInterval(timer));
  return {
    title: () => t('received.title'),
    update(route) {
      params = route.params;
      form.set(params);
      load();
    },
  };
}

function nothing(params) {
  const filters = Object.keys(params);
  if (filters.length === 0) return t('received.none');
  const none = { unparsed: 'received.noUnparsed', sealed: 'received.noSealed' };
  return t((filters.length === 1 && none[params.state]) || 'received.empty');
}
