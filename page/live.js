// The live stream of changed jobs: one connection for all views, which reconnects by itself and
// resumes after the last event.

import { request } from './api.js';
import { serverSentEvents } from './events.js';
import { onRecovery } from './health.js';
import { onKeyChange } from './key.js';

const START_TIMEOUT = 300;
const FIRST_BACKOFF = 1000;
const LONGEST_BACKOFF = 30000;
/** Totals and lists reload this long after the first of a series of changes. */
const RELOAD_DELAY = 2000;
/**
 * A hidden tab closes its connection after this time: browsers allow only a few for each server.
 */
const HIDDEN_TIMEOUT = 60000;

const bus = new EventTarget();
let state = 'connecting';
let lastId = null;
let connection = null;
let hiddenTimer = null;

/** "connecting", "open", "waiting" (to reconnect) or "off" (the server has no stream). */
export function liveState() {
  return state;
}

/** Calls `listener(job)` for each job that changes, until the signal. */
export function onJob(listener, signal) {
  bus.addEventListener('job', (event) => listener(event.detail), { signal });
}

/**
 * Calls `listener()` when changes may have been missed: the stream has started without resuming.
 */
export function onGap(listener, signal) {
  bus.addEventListener('gap', listener, { signal });
}

/**
 * Calls `listener()` shortly after jobs have changed, or may have, once for a series of changes.
 */
export function onChanges(listener, signal) {
  let timer = null;
  const later = () => (timer ??= setTimeout(() => {
    timer = null;
    listener();
  }, RELOAD_DELAY));
  onJob(later, signal);
  onGap(later, signal);
  signal.addEventListener('abort', () => clearTimeout(timer));
}

export function onLiveState(listener, signal) {
  bus.addEventListener('state', listener, { signal });
}

/**
 * Connects. Resolves when the stream is open, or after a short time: views loaded after that need
 * no reload.
 */
export function startLive() {
  const settled = new Promise((resolve) => {
    bus.addEventListener('gap', resolve, { once: true });
    setTimeout(resolve, START_TIMEOUT);
  });
  connect();
  onKeyChange(connect);
  addEventListener('online', connect);
  onRecovery(() => state === 'waiting' && connect());
  // A page in the back/forward cache must not keep its connection.
  addEventListener('pagehide', () => connection.abort());
  addEventListener('pageshow', (event) => event.persisted && connect());
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => connection?.abort(), HIDDEN_TIMEOUT);
    else if (connection.signal.aborted) connect();
  });
  return settled;
}

function connect() {
  connection?.abort();
  connection = new AbortController();
  keepConnected(connection.signal);
}

async function keepConnected(signal) {
  let backoff = FIRST_BACKOFF;
  while (!signal.aborted) {
    try {
      set('connecting');
      await read(signal, () => (backoff = FIRST_BACKOFF));
    } catch (error) {
      if (signal.aborted) return;
      // The server has no stream, or the reader gave no key and must not be asked again and again.
      if (error.status === 404 || error.status === 401) return set('off');
      // The server may not know the id any more.
      if (error.status === 400) lastId = null;
    }
    if (signal.aborted) return;
    set('waiting');
    // With jitter, so that not all pages reconnect to a restarted server at once.
    await delay(backoff * (0.5 + Math.random()), signal);
    backoff = Math.min(backoff * 2, LONGEST_BACKOFF);
  }
}

async function read(signal, opened) {
  const headers = { Accept: 'text/event-stream' };
  if (lastId !== null) headers['Last-Event-ID'] = lastId;
  const response = await request('stream', {}, { signal, headers });
  opened();
  set('open');
  if (lastId === null) bus.dispatchEvent(new Event('gap'));
  for await (const { id, event, data } of serverSentEvents(response.body)) {
    if (id !== null) lastId = id;
    if (event === 'job' && data !== null) {
      bus.dispatchEvent(new CustomEvent('job', { detail: JSON.parse(data) }));
    }
  }
}

function set(next) {
  if (next === state) return;
  state = next;
  bus.dispatchEvent(new Event('state'));
}

function delay(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
