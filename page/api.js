// Reads the API, as any other client does.

import { heard } from './health.js';
import { askForKey, isRefused, key } from './key.js';

/** What the API answered instead of data; `status` is 0 when there was no answer. `retryAfter`: seconds, where it says so. */
export class ApiError extends Error {
  constructor(status, title, detail, requestId, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, detail, requestId, retryAfter });
  }
}

/** What the server answers without its database. */
const STATIC = ['reasons'];

/** The JSON of `/api/v1/PATH`. Asks for a key when the API wants one. Throws ApiError, or AbortError. */
export async function get(path, params, signal) {
  const response = await request(path, params, { signal });
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, null, null, response.headers.get('x-request-id'));
  }
}

/** The answer to a GET of `/api/v1/PATH`, which is no error. */
export async function request(path, params, { signal, headers } = {}) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  for (;;) {
    const sent = key();
    const response = await answer(url, { signal, headers: withKey(headers, sent) });
    if (!STATIC.includes(path)) heard(response.status);
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

async function answer(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, null, null, null);
  }
}

async function problem(response) {
  const said = await response.json().catch(() => ({}));
  return new ApiError(response.status, said.title ?? null, said.detail ?? null,
    said.request_id ?? response.headers.get('x-request-id'), Number(response.headers.get('retry-after')) || null);
}

/** The path of a job. */
export function jobPath(account, msgId) {
  return `jobs/${encodeURIComponent(account)}/${encodeURIComponent(msgId)}`;
}
