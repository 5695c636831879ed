// The API key: asked for when the API requires one, and kept in this tab's session storage once the
// API has accepted it.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

const NAME = 'qunfa.key';
const changed = new EventTarget();
let asking = null;
// A key that was entered and that the API has not accepted yet.
let untried = null;

/** The current key, or null. */
export function key() {
  return untried ?? sessionStorage.getItem(NAME);
}

export function forgetKey() {
  untried = null;
  sessionStorage.removeItem(NAME);
  changed.dispatchEvent(new Event('change'));
}

export function onKeyChange(listener) {
  changed.addEventListener('change', listener);
}

/**
 * True if a response with this status to a request with the key `sent` (or null) means that another
 * key is needed. After too many wrong keys the API answers 429 instead of 401; for a key that was
 * accepted before, 429 only means too many requests.
 */
export function isRefused(sent, status) {
  if (status === 401) return true;
  if (sent === null || sent !== untried) return false;
  if (status < 400) {
    sessionStorage.setItem(NAME, sent);
    untried = null;
  }
  return status === 429;
}

/**
 * Asks for a key to replace `refused` (null if none was sent). Resolves to true when there is
 * another one to try.
 */
export function askForKey(refused) {
  if (key() !== refused) return Promise.resolve(true);
  if (refused !== null) forgetKey();
  asking ??= ask(refused !== null).finally(() => (asking = null));
  return asking;
}

function ask(wasRefused) {
  const input = el('input', {
    id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true,
    'aria-describedby': 'key-note',
  });
  const note = el('p', { id: 'key-note', role: 'alert', class: wasRefused ? 'bad' : 'muted' },
    t(wasRefused ? 'key.refused' : 'key.note'));
  const dialog = el('dialog', { class: 'key', 'aria-labelledby': 'key-title' });
  const form = el('form', {},
    el('h2', { id: 'key-title' }, t('key.title')),
    el('label', { for: 'key' }, t('key.label')),
    input,
    note,
    el('div', { class: 'actions' },
      el('button', { type: 'button', onclick: () => dialog.close() }, t('key.cancel')),
      el('button', { type: 'submit', class: 'primary' }, t('key.use'))));
  fill(dialog, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let given = false;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const text = input.value.trim();
      // HTTP headers allow only these characters.
      if (!/^[\x21-\x7e]+$/.test(text)) {
        note.className = 'bad';
        fill(note, t('key.malformed'));
        return;
      }
      untried = text;
      changed.dispatchEvent(new Event('change'));
      given = true;
      dialog.close();
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(given);
    });
    dialog.showModal();
  });
}
