// The header: links to the views, live state, language, theme and key.

import { el, fill } from './dom.js';
import { onTrouble, trouble } from './health.js';
import { t } from './i18n.js';
import { forgetKey, key } from './key.js';
import { liveState, onLiveState } from './live.js';
import { href } from './route.js';
import { THEMES, choose, language, theme } from './settings.js';

const VIEWS = ['overview', 'jobs', 'received'];

/** The header. It updates itself until the signal; `show(route)` marks the current view. */
export function header(signal) {
  const links = VIEWS.map((view) => el('a', { href: href([view]), 'data-view': view }, t(`${view}.title`)));
  const live = el('span', { class: 'live', role: 'status' });
  const showLive = () => {
    const now = trouble();
    const state = now === null ? liveState() : now.isAway ? 'away' : 'behind';
    live.dataset.state = state;
    fill(live, t(`live.${state}`));
  };
  showLive();
  onLiveState(showLive, signal);
  onTrouble(showLive, signal);
  const forget = el('button', { type: 'button', class: 'quiet', onclick: forgetKey }, t('app.forget'));
  const element = el('header', { class: 'top' },
    el('a', { class: 'brand', href: href(['overview']) }, el('span', { class: 'mark', 'aria-hidden': 'true' }), 'qunfa ',
      el('span', { class: 'subtitle' }, t('app.subtitle'))),
    el('nav', { 'aria-label': t('app.nav') }, links, el('a', { href: 'docs' }, t('docs.short'))),
    el('div', { class: 'settings', role: 'group', 'aria-label': t('app.settings') }, live, languageSwitch(), themeChoice(), forget));
  return {
    element,
    show({ segments }) {
      for (const link of links) {
        if (link.dataset.view === segments[0]) link.setAttribute('aria-current', 'page');
        else link.removeAttribute('aria-current');
      }
      forget.hidden = key() === null;
    },
  };
}

export function languageSwitch() {
  // The name of a language is written in that language.
  const [other, name, lang] = language() === 'zh' ? ['en', 'English', 'en'] : ['zh', '中文', 'zh-CN'];
  return el('button', { type: 'button', class: 'quiet', lang, id: 'language', onclick: () => {
    choose('language', other);
    document.getElementById('language').focus();
  } }, name);
}

export function themeChoice() {
  const select = el('select', { 'aria-label': t('app.theme'), id: 'theme', onchange: () => choose('theme', select.value) },
    THEMES.map((value) => el('option', { value }, t(`app.theme.${value}`))));
  select.value = theme();
  return select;
}
