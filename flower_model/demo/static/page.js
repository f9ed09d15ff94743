// The page's behaviour in the browser; Gradio runs this function once the page is loaded.
() => {
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

  // ---- The photo: {blob, name, decodable, url} ----
  let photo = null;
  let request = new AbortController();

  const shrink = async (file) => {
    let bitmap;
    try {
      bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      return { blob: file, decodable: false }; // a format that only the server knows
    }
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    if (file.size <= SMALL_FILE) return { blob: file, decodable: true };
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const context = canvas.getContext("2d");
    context.fillStyle = "white"; // below transparent parts, as on the server
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
    return { blob: blob && blob.size < file.size ? blob : file, decodable: true };
  };

  const identify = async (file) => {
    const current = restart();
    if (photo) URL.revokeObjectURL(photo.url);
    find("#photo figure").replaceChildren();
    const shrunk = await shrink(file);
    if (current.signal.aborted) return;
    photo = { name: file.name, url: URL.createObjectURL(shrunk.blob), ...shrunk };
    showPhoto();
    await send(current);
  };

  // Cancels the request of the previous photo and removes its answer.
  const restart = () => {
    request.abort();
    request = new AbortController();
    showAnswer('<p class="waiting busy">Identifying …</p>');
    return request;
  };

  const send = async (current) => {
    const form = new FormData();
    form.append("photo", photo.blob, photo.name || "photo.jpg");
    const preview = photo.decodable ? "" : "?preview=1";
    try {
      const response = await fetch(address("api/identify") + preview, {
        method: "POST", body: form, headers: { Accept: "text/html" }, signal: current.signal,
      });
      if (response.ok) showAnswer(await response.text());
      else showError((await response.json().catch(() => ({}))).detail ?? OFFLINE);
    } catch (error) {
      if (error.name !== "AbortError") showError(OFFLINE, true);
    }
  };

  const showAnswer = (html) => {
    find("#answer").innerHTML = html;
    const figure = find("#photo figure");
    const preview = find("#answer .preview");
    if (preview) figure.replaceChildren(preview);
    const heatmaps = find("#answer .heatmaps");
    if (heatmaps) figure.append(heatmaps);
    showHeatmap(null);
    find("#photo .heatmap").hidden = !heatmaps;
  };

  const showError = (text, retry = false) => {
    const message = document.createElement("p");
    message.className = "error";
    message.textContent = text;
    showAnswer("");
    find("#answer").append(message);
    if (retry) find("#answer").insertAdjacentHTML("beforeend",
      '<button class="secondary retry">Try again</button>');
  };

  const showPhoto = () => {
    find("#photo .empty").hidden = true;
    find("#photo .actions").hidden = false;
    const figure = find("#photo figure");
    figure.hidden = false;
    figure.replaceChildren();
    if (!photo.decodable) return; // the server sends a preview with the answer
    const image = new Image();
    image.src = photo.url;
    image.alt = "Your photo";
    figure.append(image);
  };

  // ---- Ways to choose a photo ----
  const choose = ({ camera = false } = {}) => {
    const input = find("#photo input[type=file]");
    if (camera) input.setAttribute("capture", "environment");
    else input.removeAttribute("capture");
    input.click();
  };
  on("click", "#photo .choose", () => choose());
  on("change", "#photo input[type=file]", (input) => {
    const [file] = input.files;
    input.value = ""; // so that the same file can be chosen again
    if (file) identify(file);
  });
  on("click", "#answer .retry", () => send(restart()));
  on("click", "#identify .sample", async (button) => {
    try {
      const response = await fetch(address(button.dataset.sample));
      identify(new File([await response.blob()], "sample.jpg", { type: "image/jpeg" }));
    } catch {
      showError(OFFLINE);
    }
  });

  // A paste or a drop anywhere on the tab.
  const take = (event, transfer) => {
    const visible = find("#photo")?.offsetParent;
    const file = [...(transfer?.files ?? [])].find((item) => item.type.startsWith("image/"))
      ?? transfer?.files?.[0];
    if (!visible || !file) return;
    event.preventDefault();
    event.stopPropagation();
    identify(file);
  };
  document.addEventListener("paste", (event) => take(event, event.clipboardData), true);
  document.addEventListener("drop", (event) => {
    find("#photo")?.classList.remove("over");
    take(event, event.dataTransfer);
  }, true);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    find("#photo")?.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) find("#photo")?.classList.remove("over");
  });

  // A phone opens its camera app; elsewhere the page shows the webcam.
  const touch = matchMedia("(pointer: coarse)").matches;
  let stream = null;
  const stopCamera = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    find("#photo .live").hidden = true;
    find("#photo .empty").hidden = photo !== null;
  };
  on("click", "#photo .camera", async () => {
    if (touch) return choose({ camera: true });
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch {
      return showError("The camera can't be used. Allow it in your browser or choose a photo.");
    }
    find("#photo .empty").hidden = true;
    find("#photo .live").hidden = false;
    const video = find("#photo video");
    video.srcObject = stream;
    video.play();
  });
  on("click", "#photo .stop", stopCamera);
  on("click", "#photo .shoot", () => {
    const video = find("#photo video");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      stopCamera();
      identify(new File([blob], "camera.jpg", { type: "image/jpeg" }));
    }, "image/jpeg", 0.95);
  });

  // ---- The answer ----
  const showHeatmap = (name) => {
    const heatmaps = find("#photo .heatmaps");
    const layers = [...(heatmaps?.querySelectorAll("img") ?? [])];
    const layer = layers.find((image) => image.dataset.name === name) ?? null;
    for (const image of layers) image.hidden = image !== layer;
    if (heatmaps) heatmaps.hidden = !layer;
    for (const button of document.querySelectorAll("#answer .candidate"))
      button.ariaPressed = String(!!layer && button.dataset.name === name);
    const toggle = find("#photo .heatmap");
    toggle.ariaPressed = String(!!layer);
    toggle.textContent = layer ? "Hide heatmap" : "Show heatmap";
    find("#photo .legend").hidden = !layer;
    find("#photo .legend em").textContent = name;
  };
  on("click", "#photo .heatmap", (button) => {
    const shown = button.ariaPressed === "true";
    showHeatmap(shown ? null : find("#photo .heatmaps img").dataset.name);
  });
  on("click", "#answer .candidate", (button) => {
    if (find("#photo .heatmaps")) showHeatmap(button.dataset.name);
  });
  on("click", "#answer .copy", async (button) => {
    const text = button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page without https has no clipboard
      const area = Object.assign(document.createElement("textarea"), { value: text });
      button.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      button.focus();
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy name"), 2000);
  });

  // ---- The other tabs ----
  on("input", "#names input", (box) => {
    const wanted = box.value.toLowerCase();
    for (const row of document.querySelectorAll("#names tbody tr"))
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });

  // A click on a column's heading sorts the table by it; a second click reverses the order.
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

  // Gradio adds the tab's content a moment later.
  const start = () => {
    const camera = find("#photo .camera");
    if (!camera) return setTimeout(start, 20);
    camera.hidden = !touch && !navigator.mediaDevices?.getUserMedia;
    if (touch) camera.textContent = "Camera";
    const [early] = find("#photo input[type=file]").files; // chosen before this script ran
    if (early) identify(early);
    document.documentElement.dataset.page = "ready";
  };
  start();
};
