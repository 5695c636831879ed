// Reads server-sent events from a response: EventSource cannot send an Authorization header.

/**
 * Yields `{ id, event, data }`. `data` is null for an event with only an id; `id` is null before
 * the first one.
 */
export async function* serverSentEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let id = null;
  let event = 'message';
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    text = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0 || id !== null) yield { id, event, data: data.length > 0 ? data.join('\n') : null };
        event = 'message';
        data = [];
        continue;
      }
      const [, name, content] = /^([^:]*)(?:: ?)?(.*)$/.exec(line);
      if (name === 'id') id = content;
      else if (name === 'event') event = content;
      else if (name === 'data') data.push(content);
    }
  }
}
