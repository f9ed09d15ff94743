// The tab "Identify".
const PASSING = [408, 429, 500, 503]; // statuses of errors that another attempt may not meet

// ---- The photos of one plant: {blob, name, decodable, url, preview, heatmaps} ----
const MAX_PHOTOS = 5;
let photos = [];
let shown = 0; // index of the photo in the box
let request = new AbortController();

// Identifies the plant in one or several new photos.
const identify = (...files) => {
  if (stream) stopCamera();
  for (const photo of photos) URL.revokeObjectURL(photo.url);
  photos = [];
  find("#photo .thumbnails").hidden = find("#photo .remove").hidden = true;
  return add(files);
};

// Adds photos of the same plant and asks again with all of them.
const add = async (files) => {
  const plant = photos;
  let current = restart();
  find("#photo figure").replaceChildren();
  find("#photo .heatmap").hidden = find("#photo .legend").hidden = true;
  for (const file of files) {
    const shrunk = await shrink(file);
    if (photos !== plant) return; // another plant was chosen meanwhile
    if (plant.length >= MAX_PHOTOS) break; // others may have been added meanwhile
    plant.push({ name: file.name, url: URL.createObjectURL(shrunk.blob), ...shrunk });
  }
  if (current.signal.aborted) current = restart(); // a photo was added meanwhile
  show(plant.length - 1);
  await send(current);
};

// Cancels the request of the previous photos and removes their answer.
const restart = () => {
  request.abort();
  request = new AbortController();
  showAnswer('<p class="waiting busy">Identifying …</p>');
  return request;
};

const send = async (current) => {
  const form = new FormData();
  for (const { blob, name } of photos) form.append("photos", blob, name || "photo.jpg");
  const missing = photos.flatMap(({ decodable, preview }, i) => decodable || preview ? [] : i + 1);
  const preview = missing.length ? `?preview=${missing}` : "";
  const path = photos.length > 1 ? "api/identify_plant" : "api/identify";
  try {
    const response = await fetch(address(path) + preview, {
      method: "POST", body: form, headers: { Accept: "text/html" }, signal: current.signal,
    });
    if (response.ok) showAnswer(await response.text());
    else {
      const { detail } = await response.json().catch(() => ({}));
      showError(detail ?? OFFLINE, PASSING.includes(response.status));
    }
  } catch (error) {
    if (error.name !== "AbortError") showError(OFFLINE, true);
  }
};

const showAnswer = (html) => {
  find("#answer").innerHTML = html;
  const evidence = [...document.querySelectorAll("#answer .evidence")];
  photos.forEach((photo, i) => {
    photo.heatmaps = evidence[i]?.querySelector(".heatmaps");
    photo.preview ??= evidence[i]?.querySelector(".preview");
  });
  for (const element of evidence) element.remove();
  if (photos.length) show(Math.min(shown, photos.length - 1));
};

const showError = (text, retry = false) => {
  showAnswer('<p class="error"></p>' + (retry ? '<button class="secondary retry">Try again</button>' : ""));
  find("#answer .error").textContent = text;
};

const picture = (photo, alt) => {
  if (!photo.decodable) { // the server sends a preview with the answer
    const copy = photo.preview?.cloneNode();
    if (copy) copy.alt = alt;
    return copy ?? "";
  }
  return Object.assign(new Image(), { src: photo.url, alt });
};

// Shows a photo in the box, and thumbnails if there are several.
const show = (index) => {
  shown = index;
  const several = photos.length > 1;
  find("#photo .empty").hidden = true;
  find("#photo .actions").hidden = false;
  find("#photo .add").hidden = photos.length >= MAX_PHOTOS;
  find("#photo .full").hidden = photos.length < MAX_PHOTOS;
  find("#photo .remove").hidden = !several;
  const figure = find("#photo figure");
  figure.hidden = false;
  figure.replaceChildren(picture(photos[shown], "Your photo"), photos[shown].heatmaps ?? "");
  showHeatmap(null);
  find("#photo .heatmap").hidden = !photos[shown].heatmaps;
  const thumbnails = find("#photo .thumbnails");
  thumbnails.hidden = !several;
  while (thumbnails.children.length > (several ? photos.length : 0)) thumbnails.lastChild.remove();
  if (several) photos.forEach((photo, i) => {
    // A button that is there stays, with its focus: the answer arrives while a visitor tabs through.
    const button = thumbnails.children[i] ?? thumbnails.appendChild(document.createElement("button"));
    button.ariaLabel = `Photo ${i + 1}`;
    button.ariaPressed = String(i === shown);
    button.dataset.number = i + 1;
    button.replaceChildren(picture(photo, ""));
  });
};
on("click", "#photo .thumbnails button", (button) => show(button.dataset.number - 1));
on("click", "#photo .remove", () => {
  const [removed] = photos.splice(shown, 1);
  URL.revokeObjectURL(removed.url);
  const current = restart();
  find(photos.length > 1 ? "#photo .remove" : "#photo .choose:not(.primary)").focus();
  send(current);
});

// ---- Ways to choose a photo ----
let adding = false; // whether the chosen photos show the same plant
const choose = (another) => {
  const input = find("#photo input[type=file]");
  adding = input.multiple = another;
  input.click();
};
on("click", "#photo .choose", () => choose(false));
on("click", "#photo .add", () => choose(true));
on("change", "#photo input[type=file]", (input) => {
  const files = [...input.files];
  input.value = ""; // so that the same file can be chosen again
  if (files.length) adding ? add(files) : identify(files[0]);
});
on("click", "#answer .retry", () => {
  find("#photo .choose:not(.primary)").focus(); // the button goes, and its focus would go with it
  send(restart());
});
on("click", "#identify .sample", async (button) => {
  const before = request;
  try {
    const response = await fetch(address(button.dataset.sample));
    const blob = await response.blob();
    if (request !== before) return; // another photo was chosen meanwhile
    identify(new File([blob], "sample.jpg", { type: "image/jpeg" }));
  } catch {
    showError(OFFLINE);
  }
});

// The browser names no type for formats that the system doesn't know, such as HEIC on Windows.
const isPhoto = ({ type, name }) => {
  const suffixes = find("#photo input[type=file]").accept.split(",").filter((each) => each[0] === ".");
  return type.startsWith("image/") || suffixes.some((suffix) => name.toLowerCase().endsWith(suffix));
};

// A paste or a drop anywhere on the tab.
const take = async (event, transfer) => {
  if (!find("#photo")?.offsetParent || !transfer?.files.length) return;
  event.preventDefault();
  event.stopPropagation();
  const files = await filesOf(transfer);
  const images = files.filter(isPhoto);
  if (images.length > MAX_PHOTOS) {
    restart();
    const limit = find("#photo .full").textContent;
    return showError(`${limit} For more, use the “Many photos” tab.`, photos.length > 0);
  }
  if (files.length) identify(...(images.length ? images : [files[0]]));
};
document.addEventListener("paste", (event) => take(event, event.clipboardData), true);
document.addEventListener("drop", (event) => {
  find("#photo")?.classList.remove("over");
  take(event, event.dataTransfer);
}, true);
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return; // a text or a link
  event.preventDefault();
  find("#photo")?.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) find("#photo")?.classList.remove("over");
});

// The webcam of a laptop; a phone's file chooser offers its camera.
const touch = matchMedia("(pointer: coarse)").matches;
let stream = null;
const stopCamera = () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  find("#photo .live").hidden = true;
  find("#photo .empty").hidden = photos.length > 0;
  find("#photo figure").hidden = find("#photo .actions").hidden = !photos.length;
};
on("click", "#photo .camera", async (button) => {
  const video = find("#photo video");
  const wish = { video: { facingMode: "environment" } };
  const before = request;
  button.disabled = true; // until the visitor has allowed it
  stream = await navigator.mediaDevices.getUserMedia(wish).catch(() => null);
  button.disabled = false;
  // Meanwhile the visitor chose another photo or left the tab.
  if (request !== before || !find("#photo").offsetParent) return stopCamera();
  if (!stream) return showError("The camera can't be used. Allow it in your browser or choose a photo.");
  for (const part of [".empty", "figure", ".heatmap", ".actions"]) find(`#photo ${part}`).hidden = true;
  find("#photo .live").hidden = false;
  video.srcObject = stream;
  video.play();
});
on("click", "#photo .stop", stopCamera);
on("click", "[role=tab]", () => stream && stopCamera());
on("click", "#photo .shoot", async () => {
  const video = find("#photo video");
  if (!video.videoWidth) return; // before the first frame
  const blob = await toJpeg(video, video.videoWidth, video.videoHeight, 0.95);
  stopCamera();
  identify(new File([blob], "camera.jpg", { type: "image/jpeg" }));
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
  if (!find("#photo .heatmaps")) return;
  showHeatmap(button.ariaPressed === "true" ? null : button.dataset.name);
  find("#photo figure").scrollIntoView({ block: "nearest" });
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

// Gradio adds the tab's content a moment later.
const start = () => {
  if (!find("#photo .camera")) return setTimeout(start, 20);
  for (const button of document.querySelectorAll("#photo .camera"))
    button.hidden = touch || !navigator.mediaDevices?.getUserMedia;
  const input = find("#photo input[type=file]");
  // Since Android 14, Chrome offers the camera only if another type is accepted too.
  if (/Android.*Chrome/.test(navigator.userAgent)) input.accept += ",android/allowCamera";
  const [early] = input.files; // chosen before this script ran
  if (early) identify(early);
  document.documentElement.dataset.page = "ready";
};
start();
