// Suggestions for the account field.

import { get } from './api.js';
import { suggestions } from './filters.js';

/** Suggestions that load themselves. */
export function accountSuggestions(signal) {
  const list = suggestions('accounts');
  // The field also works without suggestions.
  get('accounts', {}, signal).then(
    ({ items }) => list.set(items.map((item) => [item.account, null])),
    () => list.set([]));
  return { id: 'accounts', element: list.element };
}
