// A form of filters. Their values are kept in the address.

import { el, fill } from './dom.js';
import { t } from './i18n.js';

/** Calls `apply(params)` with all non-empty values when one has changed. */
export function filterForm(fields, apply) {
  const controls = fields.map(([name, control]) => Object.assign(control, { id: `filter-${name}`, name }));
  const read = () => Object.fromEntries(
    controls.map((control) => [control.name, control.value.trim()]).filter(([, value]) => value !== ''));
  const clear = el('button', {
    type: 'button', class: 'quiet',
    onclick: () => {
      // The button disappears, so move the focus first.
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
    /** Shows the values of the address in the form. */
    set(params) {
      for (const control of controls) show(control, params[control.name] ?? '');
      clear.hidden = controls.every((control) => control.value === '');
    },
  };
}

const FIELD_WORDS = { check_state: 'checkState', msg_id: 'msgId' };

function show(control, value) {
  // Show the value of the address even if it is not one of the options.
  if (control.tagName === 'SELECT' && ![...control.options].some((option) => option.value === value)) {
    control.append(el('option', { value }, value));
  }
  control.value = value;
}

/** A select of `[value, text]` and "all". */
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

/** Suggestions for text fields; `set` fills them in once they are loaded. */
export function suggestions(id) {
  const list = el('datalist', { id });
  return {
    element: list,
    set: (options) => fill(list, options.map(([value, words]) => el('option', { value, label: words }))),
  };
}
