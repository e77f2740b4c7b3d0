// Pictures: of results, from our own store or the site that shows them; and the one that is searched with.

const SENT_BYTES = 4_000_000; // a larger file is made smaller first: the model sees 224 pixels of it
const SENT_SIDE = 1024;

// Return an address that may be opened or shown, or '' where it is another kind.
export function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : '';
  } catch {
    return '';
  }
}

export function siteName(text) {
  const address = webAddress(text);
  return address ? new URL(address).hostname.replace(/^www\./, '') : '';
}

// Return an <img> in a box that says so where no picture comes.
export function pictureOf(result, { hasImages, index, lazy }) {
  const box = document.createElement('div');
  box.className = 'picture';
  const sources = [];
  if (hasImages) sources.push(`/image/${result.id}${index ? `?index=${encodeURIComponent(index)}` : ''}`);
  const source = webAddress(result.url);
  if (source) sources.push(source);
  const image = document.createElement('img');
  image.alt = '';
  image.decoding = 'async';
  image.referrerPolicy = 'no-referrer';
  if (lazy) image.loading = 'lazy';
  const next = () => {
    const address = sources.shift();
    if (address) image.src = address;
    else {
      box.classList.add('gone');
      box.replaceChildren(document.createTextNode('The picture cannot be loaded'));
    }
  };
  image.addEventListener('error', next);
  image.addEventListener('load', () => box.classList.add('there'));
  box.append(image);
  next();
  return box;
}

// Return {base64, preview} of a file that was chosen, dropped or pasted.
export async function readImage(file) {
  let blob = file;
  if (file.size > SENT_BYTES) {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, SENT_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    blob = await new Promise((resolve) => { canvas.toBlob(resolve, 'image/jpeg', 0.92); });
  }
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const parts = [];
  for (let start = 0; start < bytes.length; start += 0x8000) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 0x8000)));
  }
  return { base64: btoa(parts.join('')), preview: URL.createObjectURL(blob), name: file.name || 'pasted image' };
}
