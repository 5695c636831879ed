// Server-sent events, read from a stream of bytes: EventSource cannot send a key.

/** Yields `{ id, event, data }`; `data` is null where only an id came. `id` is the last one, null before the first. */
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
