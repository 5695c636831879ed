// Accounts to choose from.

import { get } from './api.js';
import { suggestions } from './filters.js';

/** A list of suggestions that fills itself. */
export function accountSuggestions(signal) {
  const list = suggestions('accounts');
  // Without suggestions the field works as well.
  get('accounts', {}, signal).then(
    ({ items }) => list.set(items.map((item) => [item.account, null])),
    () => list.set([]));
  return { id: 'accounts', element: list.element };
}
