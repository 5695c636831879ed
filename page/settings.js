// Language and theme: the browser's, unless the reader chooses others, which are kept in local
// storage.

const changed = new EventTarget();

export const LANGUAGES = ['en', 'zh'];
export const THEMES = ['auto', 'light', 'dark'];

/** "en" or "zh". */
export function language() {
  return chosen('language', LANGUAGES) ?? (navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en');
}

/** "auto", "light" or "dark". */
export function theme() {
  return chosen('theme', THEMES) ?? 'auto';
}

export function choose(name, value) {
  localStorage.setItem(`qunfa.${name}`, value);
  applySettings();
  changed.dispatchEvent(new Event(name));
}

/**
 * Calls `listener` when the language or theme has changed, also by the system, until the signal.
 */
export function onSetting(name, listener, signal) {
  changed.addEventListener(name, listener, { signal });
}

export function applySettings() {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  document.documentElement.dataset.theme = theme();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => changed.dispatchEvent(new Event('theme')));

function chosen(name, allowed) {
  const value = localStorage.getItem(`qunfa.${name}`);
  return allowed.includes(value) ? value : null;
}
