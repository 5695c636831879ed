// Reads the API as any other client does.

import { noteStatus } from './health.js';
import { askForKey, isRefused, key } from './key.js';

/** A failed request. `status`: 0 if there was no response. `retryAfter`: seconds, or null. */
export class ApiError extends Error {
  constructor(status, title, detail, requestId, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, detail, requestId, retryAfter });
  }
}

/** Paths that the server answers without its database. */
const WITHOUT_DATABASE = ['reasons'];

/**
 * The JSON of `/api/v1/PATH`. Asks for a key if the API requires one. Throws ApiError or
 * AbortError.
 */
export async function get(path, params, signal) {
  const response = await request(path, params, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, null, null, response.headers.get('x-request-id'));
  }
}

/** The successful response to a GET of `/api/v1/PATH`. */
export async function request(path, params, { signal, headers } = {}) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  for (;;) {
    const sent = key();
    const response = await fetchOrFail(url, { signal, headers: withKey(headers, sent) });
    if (!WITHOUT_DATABASE.includes(path)) noteStatus(response.status);
    if (isRefused(sent, response.status)) {
      if (await askForKey(sent)) continue;
    } else if (response.ok) {
      return response;
    }
    throw await problem(response);
  }
}

function withKey(headers, sent) {
  return sent === null ? { ...headers } : { ...headers, Authorization: `Bearer ${sent}` };
}

async function fetchOrFail(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, null, null, null);
  }
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body.title ?? null, body.detail ?? null,
    body.request_id ?? response.headers.get('x-request-id'), Number(response.headers.get('retry-after')) || null);
}

export function jobPath(account, msgId) {
  return `jobs/${encodeURIComponent(account)}/${encodeURIComponent(msgId)}`;
}
