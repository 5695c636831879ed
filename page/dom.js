// Builds elements. Text becomes text nodes; nothing here parses markup.

/**
 * An element with attributes, listeners (`onclick`, …) and children. Null and false ones are left
 * out.
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...present(children));
  return element;
}

/** Replaces all children. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

function present(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Text from outside, isolated so that its direction does not affect the text around it. */
export function outside(text) {
  return el('bdi', {}, text);
}

/** A link if the text is an http or https URL, else the text. */
export function externalLink(text) {
  if (!isWebUrl(text)) return el('code', { class: 'raw' }, text);
  return el('a', { href: text, rel: 'noopener noreferrer', target: '_blank', class: 'external' }, outside(text));
}

function isWebUrl(text) {
  // A relative URL would lead to a page of this server.
  return /^https?:\/\//i.test(text) && URL.canParse(text);
}
