// Describes schemas of the OpenAPI document: the type of a value, and the fields of an object.

import { el } from './dom.js';
import { t } from './i18n.js';

/** Larger bounds only say how a number is stored, and are not shown. */
const MAX_SHOWN = 2 ** 31 - 1;

/** A description: paragraphs with `code` and **strong** words. */
export function described(text) {
  return (text ?? '').split('\n\n').filter(Boolean).map((paragraph) => el('p', {}, inline(paragraph)));
}

/** One line of a description. */
export function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`') && part.length > 1) return el('code', {}, part.slice(1, -1));
    if (part.startsWith('**') && part.length > 3) return el('strong', {}, part.slice(2, -2));
    return part;
  });
}

/** The type and bounds of a schema, and its fields if it has any. */
export function shape(api, schema) {
  const fields = fieldsOf(api, schema);
  return [el('p', {}, typeOf(api, schema)), fieldList(api, fields)];
}

function fieldList(api, fields) {
  return fields.length > 0 && el('dl', { class: 'fields' }, fields.map(([name, field]) => [
    el('dt', {}, el('code', {}, name), ' ', typeOf(api, field)),
    el('dd', {}, described(merged(api, field).description), fieldList(api, fieldsOf(api, field))),
  ]));
}

/** The fields of an object, or of the objects in a list. */
function fieldsOf(api, schema) {
  const whole = merged(api, schema);
  const inner = whole.items ? merged(api, whole.items) : whole;
  return Object.entries(inner.properties ?? {});
}

/** A schema with its references and parts merged; its own members win over those of a reference. */
function merged(api, schema) {
  const { $ref, allOf = [], oneOf = [], ...own } = schema;
  const parts = [...allOf, ...oneOf.filter((part) => part.type !== 'null')].map((part) => merged(api, part));
  if ($ref) parts.unshift(merged(api, $ref.split('/').slice(1).reduce((at, name) => at[name], api)));
  const properties = Object.assign({}, ...parts.map((part) => part.properties ?? {}), own.properties);
  return Object.assign({}, ...parts, own, Object.keys(properties).length > 0 && { properties });
}

function typeOf(api, schema) {
  const words = schema.anyOf ? schema.anyOf.map((part) => wordsFor(api, part)).join(t('docs.or')) : wordsFor(api, schema);
  return el('span', { class: 'type small' }, words);
}

function wordsFor(api, schema) {
  const whole = merged(api, schema);
  const types = [whole.type ?? 'object'].flat().filter((type) => type !== 'null');
  const isNullable = [whole.type].flat().includes('null') || (schema.oneOf ?? []).some((part) => part.type === 'null');
  const words = [
    whole.enum ? whole.enum.join(' | ') : types.map((type) => t(`docs.type.${type}`)).join(t('docs.or')),
    whole.format === 'date-time' && 'RFC 3339',
    whole.maximum <= MAX_SHOWN ? `${whole.minimum} … ${whole.maximum}` : whole.minimum >= 0 && `≥ ${whole.minimum}`,
    whole.maxLength && `≤ ${whole.maxLength}`,
    whole.default !== undefined && t('docs.default', whole.default),
    isNullable && t('docs.nullable'),
  ];
  return words.filter(Boolean).join(' · ');
}
