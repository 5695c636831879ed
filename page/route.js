// The address. Its fragment has everything that a view shows, so that views can be shared and
// reloaded.

/** The segments and parameters of an address like `#/jobs/main/42?x=y`. */
export function currentRoute() {
  const [path, query] = split(location.hash.replace(/^#\/?/, ''), '?');
  return {
    segments: path.split('/').filter(Boolean).map(decode),
    params: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The address of a view; parameters without a value are left out. */
export function href(segments, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== '');
  const query = new URLSearchParams(given).toString();
  return `#/${segments.map(encodeURIComponent).join('/')}${query && `?${query}`}`;
}

export function go(segments, params) {
  location.hash = href(segments, params);
}

function split(text, separator) {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
