// Whether the database is there, which the server can do without for a while: what comes in waits, and figures get old.

const INTERVAL = 15000;
const TIMEOUT = 10000;

const bus = new EventTarget();
/** The last answer of `/readyz`; null while there is none. */
let ready = null;
/** Whether the API's last answer was 503. */
let isRefused = false;
let wasAway = false;
let asking = false;
let timer = null;

/** `{ isAway, waiting }` while figures may be out of date, else null. `waiting`: how many results are not in the database. */
export function trouble() {
  const waiting = ready?.spool?.waiting ?? 0;
  const isAway = ready?.status === 'unavailable' || (isRefused && ready?.status !== 'ready');
  return isAway || waiting > 0 ? { isAway, waiting } : null;
}

/** Calls `listener()` when `trouble()` may have changed, until the signal. */
export function onTrouble(listener, signal) {
  bus.addEventListener('trouble', listener, { signal });
}

/** Calls `listener()` when the database was away and is back. */
export function onRecovery(listener, signal) {
  bus.addEventListener('recovery', listener, { signal });
}

/** Asks from now on, as long as somebody looks at the page. */
export function startHealth() {
  ask();
  document.addEventListener('visibilitychange', () => !document.hidden && ask());
}

/** Takes note of the status of an answer that needed the database. */
export function heard(status) {
  const wasRefused = isRefused;
  if (status === 503) isRefused = true;
  else if (status < 400) isRefused = false;
  if (isRefused) ask();
  if (isRefused !== wasRefused) tell();
}

async function ask() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const response = await fetch(new URL('readyz', document.baseURI), { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT) });
    ready = await response.json();
  } catch {
    // A proxy may keep it from us, or the server is away, which the stream tells.
    ready = null;
  }
  asking = false;
  if (!document.hidden) timer = setTimeout(ask, INTERVAL);
  tell();
}

function tell() {
  const isAway = trouble()?.isAway === true;
  bus.dispatchEvent(new Event('trouble'));
  if (wasAway && !isAway) bus.dispatchEvent(new Event('recovery'));
  wasAway = isAway;
}
