// One result, large, with what is known of it.

import { pictureOf, siteName, webAddress } from './pictures.js';
import { similarityOf } from './tiles.js';

const byId = (id) => document.getElementById(id);

export class Viewer {
  constructor({ similar, move, closed }) {
    this.dialog = byId('viewer');
    this.result = null;
    this.dialog.addEventListener('close', closed);
    byId('viewer-close').addEventListener('click', () => this.dialog.close());
    byId('viewer-similar').addEventListener('click', () => similar(this.result));
    this.dialog.addEventListener('click', (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
    this.dialog.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === 'ArrowRight' || event.key === 'ArrowLeft') move(event.key === 'ArrowRight' ? 1 : -1);
      else if (event.key === 's') similar(this.result);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  show(result, context) {
    this.result = result;
    byId('viewer-picture').replaceChildren(pictureOf(result, { ...context, lazy: false }));
    byId('viewer-caption').textContent = result.caption || 'No caption';
    byId('viewer-facts').replaceChildren(...factsOf(result));
    const address = webAddress(result.url);
    const source = byId('viewer-source');
    source.hidden = !address;
    if (address) {
      source.href = address;
      source.textContent = `Open at ${siteName(address)}`;
    } else source.removeAttribute('href');
    if (!this.isOpen) this.dialog.showModal();
  }

  close() {
    if (this.isOpen) this.dialog.close();
  }
}

function factsOf(result) {
  const { latitude, longitude } = result;
  const hasPlace = Number.isFinite(latitude) && Number.isFinite(longitude);
  const facts = [
    ['Similarity', similarityOf(result)],
    ['Place', [result.place, result.country].filter(Boolean).join(', ')],
    ['Coordinates', hasPlace ? `${latitude.toFixed(3)}, ${longitude.toFixed(3)}` : ''],
    ['Size', result.original_width && result.original_height ? `${result.original_width} × ${result.original_height}` : ''],
    ['Map score', Number.isFinite(result.map_score) ? result.map_score.toFixed(2) : ''],
    ['Identifier', result.uid ?? ''],
  ];
  return facts.filter(([, value]) => value).flatMap(([name, value]) => {
    const term = document.createElement('dt');
    term.textContent = name;
    const description = document.createElement('dd');
    description.textContent = value;
    if (name === 'Identifier') description.className = 'uid';
    return [term, description];
  });
}
