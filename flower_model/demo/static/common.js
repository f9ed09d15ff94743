// What the tabs share. theme.py joins this file, identify.js and other_tabs.js in one function, which Gradio
// runs once the page is loaded.
const LONGEST_SIDE = 1280; // pixels of a photo as it is sent
const SMALL_FILE = 300_000; // bytes; a smaller file is sent as it is
const OFFLINE = "The server can't be reached. Check your connection and try again.";

const find = (selector) => document.querySelector(selector);
const on = (type, selector, act) =>
  document.addEventListener(type, (event) => {
    const element = event.target.closest?.(selector);
    if (element) act(element, event);
  });
const address = (path) => location.pathname.replace(/\/?$/, "/") + path;

// Returns the files of a drop or a paste, including those in folders.
const filesOf = async (transfer) => {
  const files = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const list = async (entry) => {
    if (entry.isFile) return new Promise((done, failed) => entry.file(done, failed));
    const reader = entry.createReader();
    const inside = [];
    for (let more; (more = await new Promise((...ends) => reader.readEntries(...ends))).length; )
      inside.push(...more); // Chrome returns at most 100 at a time
    return Promise.all(inside.filter(({ name }) => !name.startsWith(".")).map(list));
  };
  return (await Promise.all(entries.map(list))).flat(Infinity);
};

// Returns a photo as it is sent, {blob, decodable}.
const shrink = async (file) => {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (!bitmap) return { blob: file, decodable: false }; // a format that only the server knows
  if (file.size <= SMALL_FILE) return { blob: file, decodable: true };
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const blob = await toJpeg(bitmap, bitmap.width * scale, bitmap.height * scale, 0.85);
  bitmap.close();
  return { blob: blob && blob.size < file.size ? blob : file, decodable: true };
};

const toJpeg = (picture, width, height, quality) => {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(height));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // below transparent parts, as on the server
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", quality));
};
