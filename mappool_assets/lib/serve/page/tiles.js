// The results as tiles in rows of one height, and how the keyboard moves among them.

import { pictureOf, siteName } from './pictures.js';

const LEAST_RATIO = 0.62;
const MOST_RATIO = 2.6;

export function tileOf(result, context) {
  const tile = document.createElement('li');
  const ratio = (result.original_width || 4) / (result.original_height || 3);
  tile.style.setProperty('--ratio', String(Math.min(Math.max(ratio, LEAST_RATIO), MOST_RATIO)));
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'tile';
  button.dataset.id = String(result.id);
  const caption = result.caption || 'No caption';
  button.setAttribute('aria-label', caption);
  button.title = caption;
  const line = document.createElement('span');
  line.className = 'caption';
  line.dir = 'auto';
  line.textContent = caption;
  const facts = document.createElement('span');
  facts.className = 'facts';
  facts.append(...factsOf(result));
  button.append(pictureOf(result, { ...context, lazy: true }), line, facts);
  tile.append(button);
  return tile;
}

function factsOf(result) {
  const parts = [];
  const add = (text, name, meaning) => {
    if (!text) return;
    const part = document.createElement('span');
    part.className = name;
    part.dir = 'auto';
    part.textContent = text;
    part.title = meaning;
    parts.push(part);
  };
  add(similarityOf(result), 'score', 'Similarity with the query');
  add(result.place, 'place', 'The place it was found for');
  add(siteName(result.url), 'site', 'The site it is from');
  return parts;
}

export function similarityOf(result) {
  return Number.isFinite(result.similarity) ? result.similarity.toFixed(3) : '';
}

// Return the tile that an arrow key leads to: the next one in a row, or the one below or above.
export function neighbour(tiles, from, key) {
  const place = tiles.indexOf(from);
  if (key === 'ArrowRight') return tiles[place + 1];
  if (key === 'ArrowLeft') return tiles[place - 1];
  const box = from.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const isBelow = key === 'ArrowDown';
  let best;
  let bestDistance = Infinity;
  for (const tile of isBelow ? tiles.slice(place + 1) : tiles.slice(0, place).reverse()) {
    const other = tile.getBoundingClientRect();
    if (Math.abs(other.top - box.top) < 2) continue;
    if (best && Math.abs(other.top - best.getBoundingClientRect().top) > 2) break;
    const distance = Math.abs(other.left + other.width / 2 - middle);
    if (distance < bestDistance) [best, bestDistance] = [tile, distance];
  }
  return best;
}
