// The service: one search at a time, and its errors as sentences.

import { filterOf } from './state.js';

const MOST_WAITS = 60;

export class Problem extends Error {
  constructor(document, status) {
    super(document.error ?? `The service answered ${status}`);
    this.status = status;
    this.lines = [
      document.rule ? `Expected: ${document.rule}` : '',
      document.got ? `Got: ${document.got}` : '',
      document.action ?? '',
    ].filter(Boolean);
    this.where = document.where ?? '';
  }
}

export async function health() {
  const answer = await fetch('/health');
  return answer.json();
}

// Return {results, milliseconds, warnings}. While the service is busy or starting it is asked again.
export async function search(state, image, service, { signal, waiting }) {
  const body = JSON.stringify(fieldsOf(state, image, service));
  for (let attempt = 0; ; attempt += 1) {
    const began = performance.now();
    const answer = await sent('/knn-service', body, signal);
    const document = await jsonOf(answer);
    if (answer.ok && Array.isArray(document)) {
      const warnings = answer.headers.get('Mappool-Warnings') ?? '';
      return { results: document, milliseconds: performance.now() - began, warnings };
    }
    const seconds = Number.parseInt(answer.headers.get('Retry-After') ?? '', 10);
    if (answer.status !== 503 || !Number.isFinite(seconds) || attempt === MOST_WAITS) {
      throw new Problem(document ?? {}, answer.status);
    }
    waiting(document?.error ?? 'The service is busy');
    await pause(Math.min(seconds, 30) * 1000, signal);
  }
}

function fieldsOf(state, image, service) {
  const fields = {
    modality: 'image',
    num_images: state.n,
    num_result_ids: state.n,
    deduplicate: state.unique,
    refill: true,
    use_safety_model: true,
    use_violence_detector: true,
    mode: state.exact ? 'exact' : 'ann',
  };
  if (state.index) fields.indice_name = state.index;
  const filter = filterOf(state);
  if (filter) fields.filter = filter;
  if (state.least) fields.min_similarity = state.least;
  if (state.id) fields.image_id = state.id;
  else if (image) fields.image = image.base64;
  else if (service?.image_url && /^https?:\/\/\S+$/i.test(state.q)) fields.image_url = state.q;
  else fields.text = state.q;
  return fields;
}

async function sent(path, body, signal) {
  try {
    return await fetch(path, { method: 'POST', body, signal, headers: { 'Content-Type': 'application/json' } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem({ error: 'The service does not answer', action: 'Look whether it runs, then search again.' }, 0);
  }
}

async function jsonOf(answer) {
  try {
    return await answer.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    return null;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(new DOMException('another search', 'AbortError'));
    }, { once: true });
  });
}
