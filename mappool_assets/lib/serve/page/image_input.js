// Images to search with, as people give them: chosen, pasted or dropped.

const byId = (id) => document.getElementById(id);

// Text may be dropped too, into the fields.
const hasFiles = (event) => event.dataTransfer.types.includes('Files');

export function takeImages(take) {
  byId('file').addEventListener('change', (event) => {
    if (event.target.files[0]) take(event.target.files[0]);
    event.target.value = '';
  });
  document.addEventListener('paste', (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith('image/'));
    if (file) {
      event.preventDefault();
      take(file);
    }
  });
  document.addEventListener('dragenter', (event) => {
    if (hasFiles(event)) byId('drop').hidden = false;
  });
  document.addEventListener('dragover', (event) => {
    if (hasFiles(event)) event.preventDefault();
  });
  byId('drop').addEventListener('dragleave', () => { byId('drop').hidden = true; });
  document.addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    byId('drop').hidden = true;
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
