// The tabs "Many photos", "Teach" and "About", and what Gradio's components lack.

// ---- Upload boxes: photos are shrunk before Gradio uploads them ----
// A box -> the places of the answers to its photos.
const BOXES = { files: "#summary, #results", "teach-photos": null, "teach-try": "#teach-answer" };
const BOX = Object.keys(BOXES).map((id) => `#${id}`).join();
const AT_ONCE = 4; // photos that are shrunk at the same time
const given = {}; // a box -> resolves when its last files are uploaded
const waiting = { files: 0, "teach-photos": 0, "teach-try": 0 }; // sets of files that are not uploaded yet

const shrunk = async (file) => {
  if (!file.type.startsWith("image/")) return file; // a zip need not be read
  const { blob } = await shrink(file);
  return blob === file ? file : new File([blob], file.name, { type: blob.type });
};

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const until = async (condition) => {
  while (!condition()) await pause(50);
};

// Returns the button of a box that takes files, which Gradio draws anew after an upload. A box with answers
// takes files when it is empty: that is, when the request with its last files has started.
const slot = (box) =>
  box.querySelector(BOXES[box.id] ? ".upload-container:has([data-testid=upload-text])" : ".upload-container");

const places = (box) => (BOXES[box.id] ? [...document.querySelectorAll(BOXES[box.id])] : []);

const say = (box, text) => {
  const place = box.querySelector("[data-testid=upload-text]");
  if (place && text) place.dataset.status = text;
  else if (place) delete place.dataset.status;
};

// Boxes whose answers belong to earlier photos -> their slot before the upload of the new ones.
const stale = new Map();
const clearAnswers = () => {
  for (const [box, before] of stale) {
    if (!waiting[box.id] && before && slot(box) && slot(box) !== before) stale.delete(box);
    else for (const place of places(box)) place.querySelector(".prose")?.replaceChildren();
  }
};

// Hands files to Gradio's box as if they had been chosen there; resolves after the upload.
const give = async (box, files, focused) => {
  const ready = await prepare(box, files);
  // Two requests at once would share a connection, which Gradio may close after the first. See replace.py.
  say(box, "running" in box.dataset ? "Finishing the previous photos" : "");
  await until(() => (slot(box) && !("running" in box.dataset)) || !box.isConnected);
  say(box, "");
  waiting[box.id] -= 1;
  const before = slot(box);
  const superseded = BOXES[box.id] && waiting[box.id];
  if (!ready.files.length || !before || superseded) return;
  if (BOXES[box.id]) {
    stale.set(box, before);
    box.dataset.running = "";
  }
  const input = before.querySelector("input");
  input.files = ready.files;
  input.dispatchEvent(new CustomEvent("change", { detail: "shrunk" }));
  if (focused) refocus(box);
  await pause(300);
  await until(() => slot(box) !== before || find(".toast-body")); // the upload starts, or Gradio refuses the files
  if (slot(box) === before) delete box.dataset.running;
  await until(() => slot(box) || !box.isConnected);
};

const prepare = async (box, files) => {
  const limit = window.gradio_config?.max_file_size ?? Infinity; // Gradio would refuse all for one
  const photos = [];
  const left = [...files.entries()];
  const work = async () => {
    for (let next; (next = left.shift()); ) {
      say(box, `Preparing ${files.length - left.length} of ${files.length}`);
      photos[next[0]] = await shrunk(next[1]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const large = photos.filter((photo) => photo.size > limit).map((photo) => photo.name).join(", ");
  const note = box.parentElement.querySelector(`[data-of=${box.id}]`) ?? document.createElement("p");
  Object.assign(note, { className: "error", role: "alert", hidden: !large });
  note.dataset.of = box.id;
  note.textContent = `Left out, because a file may have at most ${limit / 1e6} MB: ${large}`;
  box.after(note);
  const ready = new DataTransfer();
  for (const photo of photos) if (photo.size <= limit) ready.items.add(photo);
  return ready;
};

// Gradio draws its buttons anew, and their focus would be lost.
const refocus = async (box) => {
  const body = () => document.activeElement === document.body;
  await until(() => !box.contains(document.activeElement));
  await until(() => {
    const button = box.querySelector(".icon-button, .upload-container");
    if (body() && button?.offsetParent) button.focus({ preventScroll: true });
    return !body() || !box.isConnected;
  });
};
on("click", ".icon-button[title=Clear]", (button, event) => {
  const box = button.closest(BOX);
  if (box && event.isTrusted) refocus(box);
});

const queue = async (box, files) => {
  const before = given[box.id];
  const focused = box.contains(document.activeElement);
  waiting[box.id] += 1;
  if (BOXES[box.id]) stale.set(box, null);
  clearAnswers();
  const now = (async () => {
    await before;
    await give(box, files, focused).catch(console.error);
  })();
  given[box.id] = now;
  await now;
  if (given[box.id] === now) delete given[box.id];
};
document.addEventListener("change", (event) => {
  const box = event.target.closest(BOX);
  if (!box || event.detail === "shrunk") return;
  event.stopPropagation();
  if (event.target.files.length) queue(box, [...event.target.files]);
}, true);
document.addEventListener("click", async (event) => {
  const button = event.target.closest("#teach-button");
  if (!button || !given["teach-photos"]) return;
  event.stopPropagation();
  await until(() => !given["teach-photos"]);
  button.click();
}, true);

// A paste or a drop anywhere on a tab goes to its box; Gradio takes drops on an empty box alone.
const hand = async (event, transfer) => {
  if (!transfer?.files.length) return;
  event.preventDefault(); // or the browser would leave the page for the photo
  const boxes = [...document.querySelectorAll(BOX)].filter((box) => box.offsetParent);
  const box = event.target.closest?.(BOX) ?? boxes[0];
  if (!box) return;
  event.stopPropagation();
  event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
  const files = await filesOf(transfer);
  if (files.length) queue(box, box.id === "teach-try" ? files.slice(0, 1) : files);
};
document.addEventListener("paste", (event) => {
  // Some programs copy a text with a picture of it.
  if (!event.target.matches?.("input, textarea")) hand(event, event.clipboardData);
}, true);
document.addEventListener("drop", (event) => hand(event, event.dataTransfer), true);

// ---- Names and results ----
on("input", "#names input", (box) => {
  const wanted = box.value.trim().toLowerCase();
  const rows = [...document.querySelectorAll("#names li")];
  const name = (row) => [...row.querySelectorAll("b, i")].map((part) => part.textContent).join(" ");
  for (const row of rows) row.hidden = !name(row).toLowerCase().includes(wanted);
  const found = rows.filter((row) => !row.hidden).length;
  find("#names details").open = wanted !== "" && found > 0;
  find("#names .note").textContent = wanted === "" ? "" : `${found} found`;
});

// A click on a column's heading sorts the table by it; a second click reverses the order.
on("click", "#results th button", (button) => {
  const heading = button.parentElement;
  const body = heading.closest("table").tBodies[0];
  const key = ({ cells }) =>
    cells[heading.cellIndex].dataset.value ?? cells[heading.cellIndex].textContent;
  const rows = [...body.rows].sort((a, b) => key(a).localeCompare(key(b)));
  const rising = heading.ariaSort !== "ascending";
  for (const other of heading.parentElement.cells) other.ariaSort = null;
  heading.ariaSort = rising ? "ascending" : "descending";
  body.append(...(rising ? rows : rows.reverse()));
});

// ---- Mending of Gradio ----
find("link[rel=manifest]").href = address("manifest.json"); // with the root path

// Buttons in buttons, which assistive technology can't press, and raw errors.
const mend = () => {
  clearAnswers();
  for (const outer of document.querySelectorAll("button[title='common.upload']"))
    outer.title = outer.ariaLabel = "Add files";
  for (const header of document.querySelectorAll(".toast-header[role]")) {
    header.removeAttribute("role");
    header.removeAttribute("tabindex");
  }
  for (const text of document.querySelectorAll(".toast-message-text"))
    for (const [raw, sentence] of [[/^HTTP \d+: /, ""], [/^\s*Connection errored out.*$/s, OFFLINE]])
      if (raw.test(text.textContent)) text.textContent = text.textContent.replace(raw, sentence);
};
on("click", "button:has(button)", (outer, event) => {
  const inner = outer.querySelector("button"); // hidden by style.css
  if (!inner.contains(event.target)) inner.click();
});
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
