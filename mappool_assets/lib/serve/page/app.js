// The page: what is in its address is searched for and shown; the form, the keyboard and dropped images change it.

import { health, Problem, search } from './api.js';
import { takeImages } from './image_input.js';
import { readImage } from './pictures.js';
import { isSearch, MORE_RESULTS, readState, writeState } from './state.js';
import { neighbour, tileOf } from './tiles.js';
import { Viewer } from './viewer.js';

const EXAMPLES = ['an old city map', 'nautical chart of a harbour', 'subway map', 'hand-drawn treasure map',
  'geological map in many colours', 'weather map of Europe'];
const MOST_RESULTS = 10000;
const REMEMBERED = 20;

const byId = (id) => document.getElementById(id);
const form = byId('search');
const fields = Object.fromEntries(['caption', 'site', 'width', 'least', 'filter', 'index'].map((id) => [id, byId(id)]));

let service = null; // what /health says; null where it says nothing
let state = readState(location.hash);
let running = null; // the search under way
let results = [];
let imageCount = 0;
const images = new Map(); // those searched with in this visit: an address holds their number
const answers = new Map(); // by address, so that "back" is at once

const viewer = new Viewer({
  similar: searchSimilar,
  move: (step) => showResult(results.indexOf(viewer.result) + step),
  closed: () => tiles()[results.indexOf(viewer.result)]?.focus(),
});

// -- from the address to what is shown ---------------------------------------------------------------------------

async function show() {
  running?.abort();
  viewer.close();
  state = readState(location.hash);
  fillForm();
  byId('problem').hidden = true;
  byId('start').hidden = isSearch(state);
  document.title = state.q ? `${state.q} – search maps` : 'Search maps';
  if (!isSearch(state)) {
    results = [];
    renderResults([]);
    byId('status').textContent = '';
    byId('query').focus({ preventScroll: true });
    return;
  }
  const known = answers.get(location.hash);
  if (known) {
    render(known);
    scrollTo(0, known.scroll ?? 0);
    return;
  }
  if (state.image && !images.has(state.image)) {
    renderResults([]);
    showProblem(new Problem({ error: 'The image is no longer here', action: 'Choose it again.' }, 0));
    return;
  }
  await ask();
}

async function ask() {
  const address = location.hash;
  running = new AbortController();
  const { signal } = running;
  byId('results').setAttribute('aria-busy', 'true');
  byId('status').textContent = 'Searching…';
  try {
    await served; // it says which fields a search may have
    const waiting = (reason) => { byId('status').textContent = `${reason}; asking again…`; };
    const answer = await search(state, images.get(state.image), service, { signal, waiting });
    remember(address, answer);
    render(answer);
  } catch (error) {
    if (error.name === 'AbortError') return;
    renderResults([]);
    showProblem(error);
  }
  byId('results').removeAttribute('aria-busy');
}

function remember(address, answer) {
  answers.set(address, answer);
  if (answers.size > REMEMBERED) answers.delete(answers.keys().next().value);
}

function render(answer) {
  document.body.dataset.shown = location.hash;
  byId('results').removeAttribute('aria-busy');
  renderResults(answer.results);
  const count = answer.results.length;
  const images = count === 1 ? '1 image' : `${count.toLocaleString('en')} images`;
  const parts = count ? [images, `${Math.round(answer.milliseconds)} ms`] : ['No image is left'];
  if (!count) parts.push('loosen the filters, or say it in another way');
  byId('status').textContent = parts.join(' · ');
  byId('more-line').hidden = count < state.n || state.n >= MOST_RESULTS;
  const own = results.find((result) => String(result.id) === state.id);
  if (own) {
    const caption = document.createElement('bdi');
    caption.textContent = own.caption || own.uid;
    byId('chip-text').replaceChildren('Similar to “', caption, '”');
  }
}

// What is there already stays, so that "show more" does not load pictures again.
function renderResults(found) {
  const list = byId('results');
  const same = results.length && results.every((result, place) => found[place]?.id === result.id);
  const context = pictureContext();
  if (!same) list.replaceChildren();
  const added = found.slice(same ? results.length : 0);
  list.append(...added.map((result) => tileOf(result, context)));
  results = found;
  byId('more-line').hidden = true;
}

function showProblem(problem) {
  document.body.dataset.shown = location.hash;
  byId('status').textContent = '';
  const heading = document.createElement('h2');
  heading.textContent = problem.message;
  const lines = (problem.lines ?? []).map((line) => {
    const paragraph = document.createElement('p');
    paragraph.textContent = line;
    return paragraph;
  });
  byId('problem').replaceChildren(heading, ...lines);
  byId('problem').hidden = false;
}

function fillForm() {
  byId('query').value = state.id || state.image ? '' : state.q;
  for (const [name, field] of Object.entries(fields)) field.value = state[name];
  chooseIndex();
  byId('unique').checked = state.unique;
  byId('exact').checked = state.exact;
  const image = images.get(state.image);
  byId('chip').hidden = !(state.id || state.image);
  byId('chip-image').hidden = !image;
  if (image) byId('chip-image').src = image.preview;
  byId('chip-text').textContent = state.id ? 'Similar images' : image?.name ?? 'Image';
  const used = ['caption', 'site', 'width', 'least', 'filter'].filter((name) => state[name]).length + Number(state.exact);
  byId('filters-toggle').textContent = used ? `Filters · ${used}` : 'Filters';
}

function chooseIndex() {
  fields.index.value = state.index;
  if (!fields.index.value && fields.index.options.length) fields.index.selectedIndex = 0;
}

// -- from the form, the keyboard and images to the address -------------------------------------------------------

function go(changes) {
  const next = writeState({ ...state, n: 0, ...changes });
  const known = answers.get(location.hash);
  if (known) known.scroll = scrollY;
  if (next === (location.hash || '#')) show();
  else location.hash = next;
}

function formState() {
  const texts = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value.trim()]));
  if (fields.index.selectedIndex <= 0) texts.index = '';
  return { ...texts, unique: byId('unique').checked, exact: byId('exact').checked };
}

function searchSimilar(result) {
  if (!result) return;
  viewer.close();
  go({ q: '', image: '', id: String(result.id) });
}

async function searchImage(file) {
  byId('drop').hidden = true;
  try {
    if (!file.type.startsWith('image/')) throw new Error('no image');
    imageCount += 1;
    images.set(String(imageCount), await readImage(file));
    go({ ...formState(), q: '', id: '', image: String(imageCount) });
  } catch {
    renderResults([]);
    byId('start').hidden = true;
    showProblem(new Problem({ error: 'This file cannot be searched with', action: 'Choose a picture.' }, 0));
  }
}

function pictureContext() {
  const index = state.index || Object.keys(service?.indexes ?? {})[0];
  return { hasImages: Boolean(service?.indexes?.[index]?.has_images), index: state.index };
}

function showResult(place) {
  const result = results[place];
  if (result) viewer.show(result, pictureContext());
}

function tiles() {
  return [...document.querySelectorAll('#results .tile')];
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  const q = byId('query').value.trim();
  const keepsImage = !q && (state.id || state.image);
  go({ ...formState(), q, ...(keepsImage ? {} : { id: '', image: '' }) });
  if (q) document.activeElement?.blur();
});

function showFilters(isShown) {
  byId('filters').hidden = !isShown;
  byId('filters-toggle').setAttribute('aria-expanded', String(isShown));
}

byId('filters-toggle').addEventListener('click', () => {
  showFilters(byId('filters').hidden);
  if (!byId('filters').hidden) fields.caption.focus();
});
// A field that keeps the form from being sent is shown: the browser says there what is wrong.
byId('filters').addEventListener('invalid', () => showFilters(true), true);

byId('home').addEventListener('click', (event) => {
  event.preventDefault();
  go({ q: '', id: '', image: '', caption: '', site: '', width: '', least: '', filter: '', index: '', unique: true, exact: false });
});
byId('chip-remove').addEventListener('click', () => go({ id: '', image: '', q: '' }));
byId('more').addEventListener('click', () => {
  const before = tiles().length;
  history.replaceState(null, '', writeState({ ...state, n: Math.min(state.n + MORE_RESULTS, MOST_RESULTS) }));
  state = readState(location.hash);
  ask().then(() => tiles()[before]?.focus({ preventScroll: true }));
});

byId('results').addEventListener('click', (event) => {
  const tile = event.target.closest('.tile');
  if (tile) showResult(tiles().indexOf(tile));
});

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || viewer.isOpen) return;
  const isTyping = event.target.matches('input:not([type=checkbox]), select, textarea');
  const tile = event.target.closest?.('.tile');
  if (event.key === '/' && !isTyping) {
    byId('query').focus();
    byId('query').select();
  } else if (event.key === 'Escape' && isTyping) event.target.blur();
  else if (event.key === 's' && tile) searchSimilar(results[tiles().indexOf(tile)]);
  else if (event.key.startsWith('Arrow') && tile) {
    const next = neighbour(tiles(), tile, event.key);
    if (!next && event.key === 'ArrowUp') byId('query').focus();
    next?.focus();
  } else if (event.key === 'ArrowDown' && (event.target === byId('query') || event.target === document.body)) {
    if (!tiles().length) return;
    tiles()[0].focus();
  } else return;
  event.preventDefault();
});

takeImages(searchImage);

addEventListener('hashchange', show);
history.scrollRestoration = 'manual';

// -- the beginning -----------------------------------------------------------------------------------------------

byId('examples').append(...EXAMPLES.map((text) => {
  const link = document.createElement('a');
  link.href = writeState({ q: text, unique: true });
  link.textContent = text;
  const item = document.createElement('li');
  item.append(link);
  return item;
}));

// While it is waited for, people type already.
const served = health().then((found) => {
  const names = Object.keys(found.indexes);
  fields.index.append(...names.map((name) => new Option(name, name)));
  chooseIndex();
  byId('index-field').hidden = names.length < 2;
  const rows = Object.values(found.indexes).reduce((sum, index) => sum + index.rows, 0);
  byId('rows').textContent = rows.toLocaleString('en');
  service = found;
}).catch(() => {}); // a search will say what is wrong
show();
