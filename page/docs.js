// The API documentation: renders the OpenAPI document that the server serves.

import { el, fill } from './dom.js';
import { described, inline, shape } from './docs-schema.js';
import { trial } from './docs-trial.js';
import { languageSwitch, themeChoice } from './frame.js';
import { t } from './i18n.js';
import { applySettings, onSetting } from './settings.js';

const SOURCE = 'openapi.json';

function draw(api) {
  const groups = api.tags.map((tag) => ({ tag, operations: operations(api, tag.name) }));
  const skip = el('a', { class: 'skip', href: '#main' }, t('app.skip'));
  const main = el('main', { id: 'main', tabindex: '-1' },
    el('section', { class: 'about' },
      el('h1', {}, t('docs.title'), ' ', el('span', { class: 'muted small' }, api.info.version)),
      described(api.info.description),
      el('p', {}, el('a', { href: SOURCE }, t('docs.source')))),
    groups.map(({ tag, operations: members }) => [
      el('h2', { class: 'group' }, tag.name, ' ', el('span', { class: 'muted' }, tag.description)),
      members.map((operation) => section(api, operation)),
    ]));
  document.body.replaceChildren(skip, top(), el('div', { class: 'docs' }, contents(groups), main));
  document.title = `${t('docs.title')} · qunfa`;
}

function operations(api, tag) {
  const all = Object.entries(api.paths).map(([path, item]) => ({ path, ...item.get }));
  return all.filter((operation) => operation.tags.includes(tag));
}

function top() {
  return el('header', { class: 'top' },
    el('a', { class: 'brand', href: './' }, el('span', { class: 'mark', 'aria-hidden': 'true' }), 'qunfa'),
    el('nav', { 'aria-label': t('app.nav') },
      el('a', { href: './' }, t('overview.title')), el('a', { href: 'docs', 'aria-current': 'page' }, t('docs.short'))),
    el('div', { class: 'settings', role: 'group', 'aria-label': t('app.settings') }, languageSwitch(), themeChoice()));
}

function contents(groups) {
  return el('nav', { class: 'contents', 'aria-label': t('docs.contents') },
    groups.map(({ tag, operations: members }) => [
      el('p', { class: 'muted small' }, tag.name),
      el('ul', {}, members.map(({ operationId, summary }) => el('li', {}, el('a', { href: `#${operationId}` }, inline(summary))))),
    ]));
}

function section(api, operation) {
  const { path, operationId, summary, description, parameters = [], responses } = operation;
  return el('section', { class: 'card operation', id: operationId },
    el('h3', {}, inline(summary)),
    el('p', { class: 'address' }, el('span', { class: 'badge sent' }, 'GET'), ' ', el('code', {}, path)),
    described(description),
    parameters.length > 0 && [el('h4', {}, t('docs.parameters')), parameterTable(api, parameters)],
    trial(api, operation),
    el('h4', {}, t('docs.answers')),
    Object.entries(responses).map(([status, response]) => answer(api, status, response)));
}

function parameterTable(api, parameters) {
  const rows = parameters.map((parameter) => el('tr', {},
    el('th', { scope: 'row' }, el('code', {}, parameter.name), ' ',
      el('span', { class: 'muted small' }, t(`docs.in.${parameter.in}`))),
    el('td', { 'data-label': t('docs.value') }, shape(api, parameter.schema)),
    el('td', { 'data-label': t('docs.meaning') }, described(parameter.description))));
  return el('div', { class: 'table' }, el('table', {},
    el('thead', {}, el('tr', {}, ['docs.name', 'docs.value', 'docs.meaning'].map((key) => el('th', { scope: 'col' }, t(key))))),
    el('tbody', {}, rows)));
}

function answer(api, status, response) {
  const { description, headers = {}, content = {} } = resolve(api, response);
  return el('details', { class: 'answer', open: status === '200' },
    el('summary', {}, el('span', { class: `badge ${status < 400 ? 'sent' : 'rejected'}` }, status), ' ', description),
    Object.entries(headers).map(([name, header]) => el('p', { class: 'small' }, el('code', {}, name), ' ',
      el('span', { class: 'muted' }, header.description ?? header.example))),
    Object.entries(content).map(([type, { schema, example }]) => [
      el('p', { class: 'small muted' }, type),
      shape(api, schema),
      example !== undefined && el('pre', { tabindex: '0', 'aria-label': t('docs.example') },
        typeof example === 'string' ? example : JSON.stringify(example, null, 2)),
    ]));
}

function resolve(api, value) {
  return value.$ref ? value.$ref.split('/').slice(1).reduce((at, name) => at[name], api) : value;
}

async function load() {
  applySettings();
  const response = await fetch(new URL(SOURCE, document.baseURI));
  if (!response.ok) throw new Error(`${SOURCE}: ${response.status}`);
  const api = await response.json();
  draw(api);
  onSetting('language', () => draw(api));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

load().catch((error) => {
  console.error(error);
  fill(document.body, el('p', { class: 'state error', role: 'alert' }, t('state.failed')));
});
