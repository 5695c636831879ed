// Words, numbers and times in the language that is set. Times are those of the reader's zone.

import { en } from './words-en.js';
import { zh } from './words-zh.js';
import { language } from './settings.js';
import { el } from './dom.js';

const WORDS = { en, zh };
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The words for a key; some take values. */
export function t(key, ...values) {
  const words = WORDS[language()][key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return typeof words === 'function' ? words(...values) : words;
}

/** A text that comes in both languages, as `{ zh, en }`; null when it has none. */
export function either(texts) {
  return texts[language()] ?? texts.en ?? texts.zh ?? null;
}

export function locale() {
  return language() === 'zh' ? 'zh-CN' : 'en-GB';
}

/** A whole number; a dash where there is none. */
export function number(value) {
  return value === null || value === undefined ? '–' : new Intl.NumberFormat(locale()).format(value);
}

/** A share from 0 to 1 as per cent. What is not all never reads as 100 %. */
export function percent(share) {
  if (share === null || share === undefined) return '–';
  const shown = share < 1 ? Math.min(share, 0.9999) : share;
  return new Intl.NumberFormat(locale(), { style: 'percent', maximumFractionDigits: 2 }).format(shown);
}

/** A time, with the exact value on hover. */
export function time(text) {
  const shown = format(new Date(text), { dateStyle: 'medium', timeStyle: 'short' });
  return el('time', { datetime: text, title: `${text} (${t('time.shownIn', ZONE)})` }, shown);
}

/** How long ago, with the time on hover. */
export function ago(text) {
  const shown = format(new Date(text), { dateStyle: 'medium', timeStyle: 'medium' });
  return el('time', { datetime: text, title: `${shown} · ${text}` }, since(text));
}

function since(text) {
  const seconds = (Date.now() - new Date(text)) / 1000;
  const relative = new Intl.RelativeTimeFormat(locale(), { numeric: 'auto' });
  for (const [unit, size] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= size) return relative.format(-Math.trunc(seconds / size), unit);
  }
  return t('time.now');
}

export function format(date, options) {
  return new Intl.DateTimeFormat(locale(), options).format(date);
}
