// A form of filters whose values stand in the address.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

/** A form; `apply(params)` is called when a value has changed. Parameters: those that are not empty. */
export function filterForm(fields, apply) {
  const controls = fields.map(([name, control]) => Object.assign(control, { id: `filter-${name}`, name }));
  const read = () => Object.fromEntries(
    controls.map((control) => [control.name, control.value.trim()]).filter(([, value]) => value !== ''));
  const clear = el('button', {
    type: 'button', class: 'quiet',
    onclick: () => {
      // The button goes away; the focus must not.
      controls[0].focus();
      apply({});
    },
  }, t('filter.clear'));
  const form = el('form', { class: 'filters', role: 'search', 'aria-label': t('filter.legend') },
    controls.map((control) => el('div', { class: 'field' },
      el('label', { for: control.id }, t(`filter.${FIELD_WORDS[control.name] ?? control.name}`)), control)),
    clear);
  form.addEventListener('change', () => apply(read()));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    apply(read());
  });
  return {
    element: form,
    /** Makes the form say what the address says. */
    set(params) {
      for (const control of controls) show(control, params[control.name] ?? '');
      clear.hidden = controls.every((control) => control.value === '');
    },
  };
}

const FIELD_WORDS = { check_state: 'checkState', msg_id: 'msgId' };

function show(control, value) {
  // What the address asks for is shown even if it is none of our options.
  if (control.tagName === 'SELECT' && ![...control.options].some((option) => option.value === value)) {
    control.append(el('option', { value }, value));
  }
  control.value = value;
}

/** A choice of `[value, words]`, and all. */
export function choice(options) {
  return el('select', {}, el('option', { value: '' }, t('filter.all')),
    options.map(([value, words]) => el('option', { value }, words)));
}

export function textField(attributes = {}) {
  return el('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'none', ...attributes });
}

export function dayField() {
  return el('input', { type: 'date' });
}

/** A list of suggestions for text fields, to be filled once they are known. */
export function suggestions(id) {
  const list = el('datalist', { id });
  return {
    element: list,
    set: (options) => fill(list, options.map(([value, words]) => el('option', { value, label: words }))),
  };
}
