// What the page shows, as the part of its address after "#": it is in the browser's history, and never sent.

export const FIRST_RESULTS = 60;
export const MORE_RESULTS = 60;

const TEXTS = ['q', 'id', 'image', 'caption', 'site', 'width', 'least', 'filter', 'index'];

export function readState(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ''));
  const state = Object.fromEntries(TEXTS.map((name) => [name, (fields.get(name) ?? '').trim()]));
  const count = Number.parseInt(fields.get('n') ?? '', 10);
  return {
    ...state,
    n: Number.isFinite(count) ? Math.min(Math.max(count, 1), 10000) : FIRST_RESULTS,
    unique: fields.get('unique') !== '0',
    exact: fields.get('exact') === '1',
  };
}

export function writeState(state) {
  const fields = new URLSearchParams();
  for (const name of TEXTS) if (state[name]) fields.set(name, state[name]);
  if (state.n && state.n !== FIRST_RESULTS) fields.set('n', String(state.n));
  if (!state.unique) fields.set('unique', '0');
  if (state.exact) fields.set('exact', '1');
  return `#${fields}`;
}

export function isSearch(state) {
  return Boolean(state.q || state.id || state.image);
}

// The fields of the form as one filter of the service's language.
export function filterOf(state) {
  const quoted = (text) => `'${text.replaceAll("'", "''")}'`;
  const parts = [];
  if (state.caption) parts.push(`text icontains ${quoted(state.caption)}`);
  if (state.site) parts.push(`domain = ${quoted(siteOf(state.site))}`);
  if (state.width) parts.push(`width >= ${/^\d+$/.test(state.width) ? state.width : quoted(state.width)}`);
  if (state.filter) parts.push(`(${state.filter})`);
  return parts.join(' and ');
}

// A site as the filter knows it: lower case, without "www.", whatever of an address was typed.
function siteOf(text) {
  const host = text.toLowerCase().replace(/^[a-z]+:\/\//, '').replace(/[/?#:].*$/, '');
  return host.replace(/^www\./, '');
}
