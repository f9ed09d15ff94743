// What the page does by itself in the browser.
() => {
  const on = (type, selector, act) =>
    document.addEventListener(type, (event) => {
      const element = event.target.closest?.(selector);
      if (element) act(element, event);
    });

  // Gradio takes a photo that is dropped on its box or fetched from the clipboard by a button, which
  // browsers allow on https and localhost only. Here Ctrl+V and a drop anywhere on the page do it too.
  const take = (event, transfer) => {
    const input = document.querySelector("#photo input[type=file]");
    const shown = input && document.querySelector("#photo").offsetParent;
    const photo = [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));
    if (!shown || !photo || event.defaultPrevented) return;
    event.preventDefault();
    const files = new DataTransfer();
    files.items.add(photo);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  document.addEventListener("paste", (event) => take(event, event.clipboardData));
  document.addEventListener("drop", (event) => take(event, event.dataTransfer));
  document.addEventListener("dragover", (event) => event.preventDefault());

  // The slider between a photo and its heat.
  on("input", "#looked input", (slider) =>
    slider.closest("figure").style.setProperty("--heat", slider.value));

  // A name of the answer's shows what speaks for it.
  on("click", "#top button", (button) => {
    const name = button.querySelector("dt").textContent;
    const layers = [...document.querySelectorAll("#looked .heat")];
    if (!layers.some((layer) => layer.dataset.name === name)) return;
    for (const layer of layers) layer.hidden = layer.dataset.name !== name;
    document.querySelector("#looked em").textContent = name;
    document.querySelector("#looked").scrollIntoView({ block: "nearest", behavior: "smooth" });
  });

  // The box above the names.
  on("input", "#names input", (box) => {
    const wanted = box.value.toLowerCase();
    for (const row of document.querySelectorAll("#names tr"))
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });

  // A column's heading sorts the table by it, and once more the other way round.
  on("click", "#table th button", (button) => {
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

  document.documentElement.dataset.page = "ready"; // what is above has begun to listen
};
