// Texts, numbers and times in the current language. Times are in the reader's time zone.

import { en } from './words-en.js';
import { zh } from './words-zh.js';
import { language } from './settings.js';
import { el } from './dom.js';

const TEXTS = { en, zh };
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The text for a key; some texts take values. */
export function t(key, ...values) {
  const text = TEXTS[language()][key];
  if (text === undefined) throw new Error(`no text for ${key}`);
  return typeof text === 'function' ? text(...values) : text;
}

/**
 * The text of `{ zh, en }` in the current language, or in the other one; null if it has neither.
 */
export function either(texts) {
  return texts[language()] ?? texts.en ?? texts.zh ?? null;
}

export function locale() {
  return language() === 'zh' ? 'zh-CN' : 'en-GB';
}

/** A whole number, or a dash for null. */
export function number(value) {
  return value === null || value === undefined ? '–' : new Intl.NumberFormat(locale()).format(value);
}

/** A share from 0 to 1 as a percentage. A share below 1 is never rounded to 100 %. */
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

/** A relative time, with the exact time on hover. */
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
