// A delivery: one content that was received, with its raw body.

import { el, fill, outside } from './dom.js';
import { t, time } from './i18n.js';
import { href } from './route.js';

/**
 * `position`: its place in a list, such as "1 / 2". `withJob`: also show the account, and link to
 * the job.
 */
export function deliveryCard(delivery, { position = null, withJob = false } = {}) {
  const isStored = delivery.state === 'stored';
  const body = delivery.body ?? delivery.body_base64;
  return el('article', { class: `card delivery ${delivery.state}`, 'data-key': delivery.id },
    el('header', {},
      position && el('span', { class: 'code' }, position),
      el('span', { class: `badge ${isStored ? 'neutral' : 'rejected'}` }, t(`received.state.${delivery.state}`)),
      withJob && el('strong', {}, outside(delivery.account)),
      el('span', {}, delivery.event === null ? t('received.noEvent') : outside(delivery.event)),
      withJob && jobLink(delivery),
      el('span', { class: 'when' }, time(delivery.received_at),
        delivery.times > 1 && [' · ', t('received.times', delivery.times), ', ', t('received.lastTime'), ' ', time(delivery.last_received_at)])),
    delivery.error && el('p', { class: isStored ? 'muted' : 'bad' }, `${t('received.error')}: `, outside(delivery.error)),
    el('details', {},
      el('summary', {}, t(delivery.body === null ? 'received.base64' : 'received.body')),
      el('div', { class: 'raw-body' }, copyButton(body), el('pre', { tabindex: '0' }, body)),
      el('p', { class: 'muted small' }, `${t('received.sha')} `, el('code', { class: 'raw' }, delivery.body_sha256))));
}

/** Only a job result that could be parsed has a job. */
function jobLink({ account, event, msg_id: msgId, state }) {
  if (state !== 'stored' || msgId === null || event?.toUpperCase() !== 'MASSSENDJOBFINISH') return null;
  return el('a', { href: href(['jobs', account, msgId]) }, t('received.toJob', msgId));
}

function copyButton(text) {
  // Browsers offer no clipboard to pages served over plain HTTP.
  if (!navigator.clipboard) return null;
  const button = el('button', {
    type: 'button', class: 'quiet',
    onclick: async () => {
      await navigator.clipboard.writeText(text);
      fill(button, t('received.copied'));
    },
  }, t('received.copy'));
  return button;
}
