// Watches whether the database is available. Without it the server spools results, and the figures
// on the page get old.

const INTERVAL = 15000;
const TIMEOUT = 10000;

const bus = new EventTarget();
/** The last response of `/readyz`; null if there is none. */
let ready = null;
/** The API's last response was 503. */
let isUnavailable = false;
let wasAway = false;
let asking = false;
let timer = null;

/**
 * `{ isAway, waiting }` while figures may be out of date, else null. `waiting`: results that are
 * not in the database yet.
 */
export function trouble() {
  const waiting = ready?.spool?.waiting ?? 0;
  const isAway = ready?.status === 'unavailable' || (isUnavailable && ready?.status !== 'ready');
  return isAway || waiting > 0 ? { isAway, waiting } : null;
}

/** Calls `listener()` when `trouble()` may have changed, until the signal. */
export function onTrouble(listener, signal) {
  bus.addEventListener('trouble', listener, { signal });
}

/** Calls `listener()` when the database is available again, until the signal. */
export function onRecovery(listener, signal) {
  bus.addEventListener('recovery', listener, { signal });
}

/** Starts to ask `/readyz`, as long as the page is visible. */
export function startHealth() {
  ask();
  document.addEventListener('visibilitychange', () => !document.hidden && ask());
}

/** Notes the status of a response that needed the database. */
export function noteStatus(status) {
  const wasUnavailable = isUnavailable;
  if (status === 503) isUnavailable = true;
  else if (status < 400) isUnavailable = false;
  if (isUnavailable) ask();
  if (isUnavailable !== wasUnavailable) notify();
}

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const response = await fetch(new URL('readyz', document.baseURI), { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT) });
    ready = await response.json();
  } catch {
    // A proxy may block it, or the server is down, which the stream notices.
    ready = null;
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(ask, INTERVAL);
  notify();
}

function notify() {
  const isAway = trouble()?.isAway === true;
  bus.dispatchEvent(new Event('trouble'));
  if (wasAway && !isAway) bus.dispatchEvent(new Event('recovery'));
  wasAway = isAway;
}
