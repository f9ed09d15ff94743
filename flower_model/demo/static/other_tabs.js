// The tabs "Many photos", "Teach" and "About", and what Gradio's components lack.

// ---- Upload boxes: photos are shrunk before Gradio uploads them ----
const ANSWERS = { files: "#summary .prose, #results .prose", "teach-try": "#teach-answer .prose" };
const BOXES = "#files, #teach-photos, #teach-try";
const AT_ONCE = 4; // photos that are shrunk at the same time

const shrunk = async (file) => {
  if (!file.type.startsWith("image/")) return file; // a zip need not be read
  const { blob } = await shrink(file);
  return blob === file ? file : new File([blob], file.name, { type: blob.type });
};

// Hands files to Gradio's box as if they had been chosen there.
const give = async (box, files) => {
  const answers = ANSWERS[box.id] ?? "none";
  for (const answer of document.querySelectorAll(answers)) answer.replaceChildren();
  const text = box.querySelector(".wrap");
  const left = [...files.entries()];
  const ready = new DataTransfer();
  const photos = [];
  const work = async () => {
    for (let next; (next = left.shift()); ) {
      if (text) text.dataset.preparing = `${files.length - left.length} of ${files.length}`;
      photos[next[0]] = await shrunk(next[1]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (text) delete text.dataset.preparing;
  for (const photo of photos) ready.items.add(photo);
  let input;
  while (!(input = box.querySelector("input[type=file]"))) { // during an upload there is none
    if (!box.isConnected) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  input.files = ready.files;
  input.dispatchEvent(new CustomEvent("change", { detail: "shrunk" }));
};
let given = Promise.resolve(); // one after the other
const queue = (box, files) => (given = given.catch(console.error).then(() => give(box, files)));
document.addEventListener("change", (event) => {
  const box = event.target.closest(BOXES);
  if (!box || event.detail === "shrunk") return;
  event.stopPropagation();
  if (event.target.files.length) queue(box, [...event.target.files]);
}, true);

// A paste or a drop anywhere on a tab goes to its box; Gradio takes drops on an empty box alone.
const hand = (event, transfer) => {
  const files = [...(transfer?.files ?? [])];
  if (!files.length) return;
  event.preventDefault(); // or the browser would leave the page for the photo
  const boxes = [...document.querySelectorAll(BOXES)].filter((box) => box.offsetParent);
  const box = event.target.closest?.(BOXES) ?? boxes[0];
  if (!box) return;
  event.stopPropagation();
  event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true }));
  queue(box, box.id === "teach-try" ? files.slice(0, 1) : files);
};
document.addEventListener("paste", (event) => {
  // Some programs copy a text with a picture of it.
  if (!event.target.matches?.("input, textarea")) hand(event, event.clipboardData);
}, true);
document.addEventListener("drop", (event) => hand(event, event.dataTransfer), true);

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

// Buttons in buttons, which assistive technology can't press, and a raw error.
const mend = () => {
  for (const outer of document.querySelectorAll("button[title='common.upload']"))
    outer.title = outer.ariaLabel = "Add files";
  for (const header of document.querySelectorAll(".toast-header[role]")) {
    header.removeAttribute("role");
    header.removeAttribute("tabindex");
  }
  for (const text of document.querySelectorAll(".toast-message-text"))
    if (text.textContent.includes("Connection errored out")) text.textContent = OFFLINE;
};
on("click", "button:has(button)", (outer, event) => {
  const inner = outer.querySelector("button"); // hidden by style.css
  if (!inner.contains(event.target)) inner.click();
});
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });
