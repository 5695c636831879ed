// The stream of jobs as they change: one connection for all views, which comes again by itself and resumes where it was.

import { request } from './api.js';
import { serverSentEvents } from './events.js';
import { onRecovery } from './health.js';
import { onKeyChange } from './key.js';

const FIRST_PATIENCE = 300;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 30000;
/** Sums and lists are read again this long after the first of many changes. */
const CHANGES_PATIENCE = 2000;
/** A tab that is not looked at gives its connection back after this time; browsers have few for each server. */
const HIDDEN_PATIENCE = 60000;

const bus = new EventTarget();
let state = 'connecting';
let lastId = null;
let connection = null;
let hiddenTimer = null;

/** "connecting", "open", "waiting" (for the next try) or "off" (the server has no stream). */
export function liveState() {
  return state;
}

/** Calls `listener(job)` for each job that changes, until the signal. */
export function onJob(listener, signal) {
  bus.addEventListener('job', (event) => listener(event.detail), { signal });
}

/** Calls `listener()` when jobs may have changed unseen: the stream begins, and not where it ended. */
export function onGap(listener, signal) {
  bus.addEventListener('gap', listener, { signal });
}

/** Calls `listener()` some time after jobs have changed, or may have: changes come in floods. */
export function onChanges(listener, signal) {
  let timer = null;
  const later = () => (timer ??= setTimeout(() => {
    timer = null;
    listener();
  }, CHANGES_PATIENCE));
  onJob(later, signal);
  onGap(later, signal);
  signal.addEventListener('abort', () => clearTimeout(timer));
}

export function onLiveState(listener, signal) {
  bus.addEventListener('state', listener, { signal });
}

/** Begins. Settles once the stream is open, or cannot be so soon: what is loaded after it opens need not be loaded again. */
export function startLive() {
  const settled = new Promise((resolve) => {
    bus.addEventListener('gap', resolve, { once: true });
    setTimeout(resolve, FIRST_PATIENCE);
  });
  connect();
  onKeyChange(connect);
  addEventListener('online', connect);
  onRecovery(() => state === 'waiting' && connect());
  // A page that was left may be kept for the way back, and must not keep its connection.
  addEventListener('pagehide', () => connection.abort());
  addEventListener('pageshow', (event) => event.persisted && connect());
  document.addEventListener('visibilitychange', () => {
    clearTimeout(hiddenTimer);
    if (document.hidden) hiddenTimer = setTimeout(() => connection?.abort(), HIDDEN_PATIENCE);
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
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      set('connecting');
      await read(signal, () => (wait = FIRST_WAIT));
    } catch (error) {
      if (signal.aborted) return;
      // There is no stream; or no key is given, and must not be asked for again and again.
      if (error.status === 404 || error.status === 401) return set('off');
      // The id may be one that the server no longer knows.
      if (error.status === 400) lastId = null;
    }
    if (signal.aborted) return;
    set('waiting');
    // Spread, so that not all pages come back to a restarted server at once.
    await pause(wait * (0.5 + Math.random()), signal);
    wait = Math.min(wait * 2, LONGEST_WAIT);
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

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
