// Tries a route: a form for its parameters, the shell command, and the response of this server.

import { el, fill } from './dom.js';
import { t } from './i18n.js';
import { askForKey, isRefused, key } from './key.js';

/** The form of an operation. Streams and downloads are only shown as a command. */
export function trial(api, { path, operationId, parameters = [], security, responses }) {
  const fields = parameters.filter((parameter) => parameter.in !== 'header')
    .map((parameter) => ({ parameter, input: field(operationId, parameter) }));
  const command = el('pre', { class: 'command', tabindex: '0', 'aria-label': t('docs.command') });
  const answer = el('div', { 'aria-live': 'polite' });
  const show = () => fill(command, commandFor(address(path, fields), security));
  show();
  const isShown = Object.keys(responses['200'].content)[0] === 'application/json';
  const form = el('form', { class: 'trial', oninput: show, onchange: show, onsubmit: (event) => {
    event.preventDefault();
    send(address(path, fields), security, answer);
  } },
    el('div', { class: 'filters' }, fields.map(({ parameter, input }) =>
      el('div', { class: 'field' }, el('label', { for: input.id }, parameter.name), input)),
    isShown && el('button', { type: 'submit', class: 'primary' }, t('docs.send'))));
  return el('details', { class: 'try' }, el('summary', {}, t('docs.try')), form, command, answer);
}

function field(operationId, { name, required, schema }) {
  const id = `${operationId}-${name}`;
  const words = schema.enum ?? (schema.type === 'boolean' ? ['true', 'false'] : null);
  if (words) return el('select', { id, name }, ['', ...words].map((value) => el('option', { value }, value)));
  const [example] = schema.examples ?? [];
  return el('input', { id, name, required, placeholder: schema.default ?? example ?? null, autocomplete: 'off' });
}

function address(path, fields) {
  let filled = path;
  const query = new URLSearchParams();
  for (const { parameter, input } of fields) {
    const value = input.value.trim();
    if (parameter.in === 'path') filled = filled.replace(`{${parameter.name}}`, value ? encodeURIComponent(value) : `{${parameter.name}}`);
    else if (value) query.set(parameter.name, value);
  }
  const url = new URL(`.${filled}`, document.baseURI);
  url.search = query;
  return url;
}

function commandFor(url, security) {
  const headers = security ? ['-H "Authorization: Bearer $KEY"'] : [];
  const quoted = decodeURI(url.href).replaceAll("'", '%27');
  return ['curl', ...headers, `'${quoted}'`].join(' ');
}

async function send(url, security, area) {
  fill(area, el('p', { class: 'state loading', role: 'status' }, t('state.loading')));
  try {
    for (;;) {
      const sent = security ? key() : null;
      const response = await fetch(url, { headers: sent === null ? {} : { Authorization: `Bearer ${sent}` } });
      if (isRefused(sent, response.status) && (await askForKey(sent))) continue;
      const text = await response.text();
      fill(area,
        el('p', {}, el('span', { class: `badge ${response.ok ? 'sent' : 'rejected'}` }, response.status)),
        el('pre', { tabindex: '0', 'aria-label': t('docs.answer') }, pretty(text)));
      return;
    }
  } catch {
    fill(area, el('p', { class: 'bad', role: 'alert' }, t('state.unreachable')));
  }
}

function pretty(text) {
  // JavaScript would round numbers with this many digits: show the text as received.
  if (/\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
