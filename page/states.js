// What a view shows while it loads, when it is empty, and when loading failed.

import { el, fill } from './dom.js';
import { onRecovery } from './health.js';
import { t } from './i18n.js';

/** Worth a retry: no response, a proxy without its server, a server without its database. */
const TRANSIENT = [0, 502, 503, 504];
/** Milliseconds before a retry, unless the response asks for more. */
const FIRST_BACKOFF = 5000;
const LONGEST_BACKOFF = 30000;

/** Loads and draws a part of a view. The last call wins; transient failures are retried. */
export class Loader {
  /** `draw(data)` returns the children of `area`. */
  constructor(area, draw, signal) {
    Object.assign(this, { area, draw, signal, fetcher: null, running: null, failed: false, timer: null, backoff: FIRST_BACKOFF });
    addEventListener('online', () => this.retry(), { signal });
    onRecovery(() => this.retry(), signal);
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  /**
   * Draws the data of `fetcher(signal)`. With `quietly`, the old content stays while it loads and
   * if that fails.
   */
  async load(fetcher, { quietly = false } = {}) {
    this.running?.abort();
    clearTimeout(this.timer);
    const running = (this.running = new AbortController());
    const signal = AbortSignal.any([this.signal, running.signal]);
    this.fetcher = fetcher;
    if (!quietly) {
      this.area.setAttribute('aria-busy', 'true');
      if (this.area.childElementCount === 0) fill(this.area, loadingNote());
    }
    try {
      const data = await fetcher(signal);
      if (signal.aborted) return;
      this.failed = false;
      this.backoff = FIRST_BACKOFF;
      redraw(this.area, this.draw(data));
    } catch (error) {
      if (signal.aborted) return;
      this.failed = true;
      if (!quietly || this.area.querySelector(':scope > .loading')) fill(this.area, errorNote(error, () => this.again()));
      if (TRANSIENT.includes(error.status)) this.retryLater(error.retryAfter);
    }
    this.area.removeAttribute('aria-busy');
  }

  again() {
    return this.fetcher && this.load(this.fetcher);
  }

  /** Loads again if the last load failed; the old content stays until then. */
  retry() {
    if (this.failed) this.load(this.fetcher, { quietly: true });
  }

  retryLater(seconds) {
    // With jitter, so that not all pages retry at once.
    const delay = Math.max(this.backoff, (seconds ?? 0) * 1000) * (1 + Math.random() / 2);
    this.timer = setTimeout(() => this.retry(), delay);
    this.backoff = Math.min(this.backoff * 2, LONGEST_BACKOFF);
  }
}

/** Replaces the children, keeping open details open and the focus where it was. */
function redraw(area, children) {
  const controls = () => [...area.querySelectorAll('a, button, summary, pre')];
  const open = [...area.querySelectorAll('details')].map((details) => details.open);
  const focused = controls().indexOf(document.activeElement);
  fill(area, children);
  area.querySelectorAll('details').forEach((details, index) => (details.open = open[index] ?? false));
  if (focused >= 0) controls()[focused]?.focus({ preventScroll: true });
}

function loadingNote() {
  return el('p', { class: 'state loading', role: 'status' }, el('span', { class: 'spinner', 'aria-hidden': 'true' }),
    t('state.loading'));
}

export function emptyNote(title, detail) {
  return el('div', { class: 'state empty' }, el('p', { class: 'state-title' }, title),
    detail && el('p', { class: 'muted' }, detail));
}

function errorNote(error, retry) {
  // Without a status it is a bug of this page.
  if (error.status === undefined) console.error(error);
  const [title, detail] = wording(error);
  return el('div', { class: 'state error', role: 'alert' },
    el('p', { class: 'state-title' }, title),
    detail && el('p', {}, detail),
    error.requestId && el('p', { class: 'muted small' }, t('state.request', error.requestId)),
    el('button', { type: 'button', onclick: retry }, t(error.status === 401 ? 'state.enterKey' : 'state.retry')));
}

function wording(error) {
  if (error.status === 0 && !error.requestId) return [t('state.unreachable'), t('state.unreachableDetail')];
  if (error.status === 401) return [t('state.keyNeeded'), t('state.keyNeededDetail')];
  const title = error.status ? `${t('state.failed')} (${error.status})` : t('state.failed');
  return [title, error.detail ?? error.title ?? null];
}
