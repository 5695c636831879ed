// The page: the header and the view that the address names.

import { announcements } from './announce.js';
import { el, fill } from './dom.js';
import { header } from './frame.js';
import { onTrouble, startHealth, trouble } from './health.js';
import { t } from './i18n.js';
import { jobView } from './job.js';
import { jobsView } from './jobs.js';
import { key, onKeyChange } from './key.js';
import { startLive } from './live.js';
import { overviewView } from './overview.js';
import { receivedView } from './received.js';
import { currentRoute } from './route.js';
import { applySettings, onSetting } from './settings.js';
import { emptyNote } from './states.js';

const main = el('main', { id: 'main', tabindex: '-1' });
const offline = el('p', { class: 'note offline', role: 'status', hidden: navigator.onLine });
const outdated = el('p', { class: 'note warning outdated', role: 'status', hidden: true });
/** The current view: `view`, `abort`, `title()` and `update(route)`. */
let shown = null;

function viewOf({ segments }) {
  const [name, ...rest] = segments;
  if (name === 'overview' && rest.length === 0) return overviewView;
  if (name === 'jobs' && rest.length === 0) return jobsView;
  if (name === 'jobs' && rest.length === 2) return jobView;
  if (name === 'received' && rest.length === 0) return receivedView;
  return notFoundView;
}

function notFoundView(root) {
  fill(root, el('h1', { tabindex: '-1' }, t('app.notFound')), emptyNote(el('a', { href: '#/overview' }, t('app.toOverview'))));
  return { title: () => t('app.notFound'), update() {} };
}

/** Shows the view of the address. If it is shown already, it keeps its form and the focus in it. */
function show({ anew = false } = {}) {
  const route = currentRoute();
  const view = viewOf(route);
  const isFirst = shown === null;
  const changes = isFirst || shown.view !== view || view === jobView;
  if (changes || anew) {
    shown?.abort.abort();
    const abort = new AbortController();
    const root = el('div', { class: `view ${view.name}` });
    fill(main, root);
    shown = { view, abort, ...view(root, abort.signal) };
  }
  shown.update(route);
  document.title = `${shown.title()} · qunfa`;
  top.show(route);
  if (changes && !isFirst && !anew) {
    scrollTo(0, 0);
    main.querySelector('h1').focus({ preventScroll: true });
  }
}

function drawFrame() {
  const abort = new AbortController();
  const next = header(abort.signal);
  top?.abort.abort();
  top?.element.replaceWith(next.element);
  top = { abort, ...next };
  fill(skip, t('app.skip'));
  fill(offline, t('state.offline'));
  showTrouble();
}

function showTrouble() {
  const now = trouble();
  outdated.hidden = now === null;
  const words = now === null ? '' : t(now.isAway ? 'state.away' : 'state.behind', now.waiting);
  // Setting the same text again would make screen readers repeat it.
  if (outdated.textContent !== words) fill(outdated, words);
}

let top = null;
const skip = el('a', {
  class: 'skip', href: '#main',
  onclick: (event) => {
    // The fragment of the address names the view.
    event.preventDefault();
    main.focus();
  },
});

applySettings();
drawFrame();
document.body.replaceChildren(skip, top.element, offline, outdated, main, announcements());
onTrouble(showTrouble);
addEventListener('hashchange', () => show());
addEventListener('online', () => (offline.hidden = true));
addEventListener('offline', () => (offline.hidden = false));
onSetting('language', () => {
  drawFrame();
  show({ anew: true });
});
onKeyChange(() => {
  top.show(currentRoute());
  // Data loaded with the key must disappear with it.
  if (key() === null) show({ anew: true });
});
if (currentRoute().segments.length === 0) history.replaceState(null, '', '#/overview');
startHealth();
await startLive();
show();
