// Language and theme: what the browser says, unless chosen here. The choice outlives the session; it is no secret.

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

/** Calls `listener` after another language or theme was chosen, or the system's theme changed. */
export function onSetting(name, listener, signal) {
  changed.addEventListener(name, listener, { signal });
}

/** Makes the document what is set. */
export function applySettings() {
  document.documentElement.lang = language() === 'zh' ? 'zh-CN' : 'en';
  document.documentElement.dataset.theme = theme();
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => changed.dispatchEvent(new Event('theme')));

function chosen(name, allowed) {
  const value = localStorage.getItem(`qunfa.${name}`);
  return allowed.includes(value) ? value : null;
}
