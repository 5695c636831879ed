// What a view shows while it loads, when there is nothing, and when something went wrong.

import { el, fill } from './dom.js';
import { onRecovery } from './health.js';
import { t } from './i18n.js';

/** These pass by themselves: no answer, a proxy without its server, a server without its database. */
const PASSING = [0, 502, 503, 504];
/** Milliseconds from a failure to the next try, unless the answer asks for more: at first, and at most. */
const FIRST_WAIT = 5000;
const LONGEST_WAIT = 30000;

/** A part of a view that is loaded, drawn, and loaded again; the last call wins. What failed is tried again by itself. */
export class Loader {
  /** `draw(data)` gives the children of `area`. */
  constructor(area, draw, signal) {
    Object.assign(this, { area, draw, signal, fetcher: null, running: null, failed: false, timer: null, wait: FIRST_WAIT });
    addEventListener('online', () => this.retry(), { signal });
    onRecovery(() => this.retry(), signal);
    signal.addEventListener('abort', () => clearTimeout(this.timer));
  }

  /** Shows what `fetcher(signal)` answers. With `quietly`, what is there stays until then, and after a failure. */
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
      this.wait = FIRST_WAIT;
      redraw(this.area, this.draw(data));
    } catch (error) {
      if (signal.aborted) return;
      this.failed = true;
      if (!quietly || this.area.querySelector(':scope > .loading')) fill(this.area, errorNote(error, () => this.again()));
      if (PASSING.includes(error.status)) this.retryLater(error.retryAfter);
    }
    this.area.removeAttribute('aria-busy');
  }

  again() {
    return this.fetcher && this.load(this.fetcher);
  }

  /** Loads what failed; what is shown stays until there is something better. */
  retry() {
    if (this.failed) this.load(this.fetcher, { quietly: true });
  }

  retryLater(seconds) {
    // Spread, so that not all pages come at once.
    const wait = Math.max(this.wait, (seconds ?? 0) * 1000) * (1 + Math.random() / 2);
    this.timer = setTimeout(() => this.retry(), wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }
}

/** Puts new children in the place of old ones; what was open stays open, and the focus where it was. */
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
  // A fault of this page's own is not the reader's: it belongs on the console, too.
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
