// The key of the API: asked for when the API wants one, and kept for this session of this tab alone.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

const NAME = 'qunfa.key';
const changed = new EventTarget();
let asking = null;

/** The key that was given; null when none was. */
export function key() {
  return sessionStorage.getItem(NAME);
}

/** Forgets it, here and in the session. */
export function forgetKey() {
  sessionStorage.removeItem(NAME);
  changed.dispatchEvent(new Event('change'));
}

export function onKeyChange(listener) {
  changed.addEventListener('change', listener);
}

/** Asks for a key after `refused` (null: none was sent) was not accepted. True once there is another to try. */
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
      // A header carries nothing else.
      if (!/^[\x21-\x7e]+$/.test(text)) {
        note.className = 'bad';
        fill(note, t('key.malformed'));
        return;
      }
      sessionStorage.setItem(NAME, text);
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
