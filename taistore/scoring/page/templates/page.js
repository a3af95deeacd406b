"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const fold = (text) => text.normalize("NFKC").toLowerCase();
const element = (name, text) => Object.assign(document.createElement(name), { textContent: text });
const cards = [...document.querySelectorAll(".card")];
const openers = cards.map((card) => card.querySelector(".open"));
const panelButtons = [...document.querySelectorAll(".label")];
const tagLists = cards.map((card) => card.querySelector(".tags"));
const tagItems = tagLists.map((list) => [...list.children]);
const tagButtons = [...document.querySelectorAll(".tag")];
const bareNotes = cards.map((card) => card.querySelector(".bare"));
const missedNotes = cards.map((card) => card.querySelector(".missed"));
const names = data.images.map((image) => fold(image.name));
const labels = data.labels.map(fold);
const chosen = new Set();
const MISSED_SHOWN = 8;
// Whether only photos without tags are shown.
let bareOnly = false;
// Of each image, the tags that reach the least score: label -> score.
let scores = [];
// Images that are shown, in their order, and the one that has the grid's tab stop.
let order = [];
let current = 0;

function select() {
  const least = Number($("least").value);
  $("least-shown").textContent = least.toFixed(2);
  scores = data.images.map((image) => new Map(image.tags.filter((tag) => tag[1] >= least)));
  data.images.forEach((image, index) => {
    image.tags.forEach((tag, place) => { tagItems[index][place].hidden = tag[1] < least; });
    tagLists[index].hidden = scores[index].size === 0;
    bareNotes[index].hidden = scores[index].size > 0;
    if (missedNotes[index]) tellMissed(missedNotes[index], index);
  });
}

// Known labels whose tag is below the cut, or not there.
function tellMissed(note, index) {
  const missed = data.images[index].positives.filter((label) => !scores[index].has(label));
  const told = missed.slice(0, MISSED_SHOWN).map((label) => data.labels[label]);
  if (missed.length > MISSED_SHOWN) told.push(`${missed.length - MISSED_SHOWN} more`);
  const key = told.join("\n");
  if (note.dataset.told === key) return;
  note.dataset.told = key;
  note.hidden = told.length === 0;
  note.replaceChildren("missed: ", ...told.flatMap((name, place) =>
    place ? [", ", element("bdi", name)] : [element("bdi", name)]));
}

// The score of an image for a word: that of its best tag with the word, 0 where only its file name
// has it, null where nothing has.
function wordScore(index, word) {
  let best = names[index].includes(word) ? 0 : null;
  for (const [label, score] of scores[index]) {
    if (labels[label].includes(word)) best = Math.max(best ?? 0, score);
  }
  return best;
}

// How well an image has all that is searched, null where it lacks some of it.
function score(index, words) {
  if (bareOnly && scores[index].size > 0) return null;
  let sum = 0;
  for (const label of chosen) {
    if (!scores[index].has(label)) return null;
    sum += scores[index].get(label);
  }
  for (const word of words) {
    const found = wordScore(index, word);
    if (found === null) return null;
    sum += found;
  }
  return sum;
}

function show() {
  select();
  const words = fold($("search").value).split(/\s+/).filter(Boolean);
  const counts = new Array(data.labels.length).fill(0);
  const sums = cards.map((_, index) => score(index, words));
  order = [];
  let bare = 0;
  cards.forEach((_, index) => {
    if (sums[index] === null) return;
    order.push(index);
    for (const label of scores[index].keys()) counts[label] += 1;
    if (scores[index].size === 0) bare += 1;
  });
  // The surest first; equal ones, and all where nothing is searched, in the order of the file.
  order.sort((a, b) => sums[b] - sums[a] || a - b);
  place();
  for (const button of panelButtons) {
    const label = button.dataset.label;
    const count = label === undefined ? bare : counts[label];
    const on = label === undefined ? bareOnly : chosen.has(Number(label));
    button.setAttribute("aria-pressed", String(on));
    button.classList.toggle("none", count === 0);
    button.querySelector(".count").textContent = count;
  }
  for (const tag of tagButtons) {
    const on = String(chosen.has(Number(tag.dataset.label)));
    if (tag.getAttribute("aria-pressed") !== on) tag.setAttribute("aria-pressed", on);
  }
  $("shown").textContent = `${order.length} of ${cards.length} images`;
  const asked = [...[...chosen].map((label) => data.labels[label]), ...words];
  $("order").hidden = bareOnly || !order.some((index) => sums[index] > 0);
  $("order").textContent = `by the score of ${asked.join(" + ")}`;
  $("chosen").replaceChildren(...[...chosen].map(chip));
  $("saved").textContent = "";
  $("clear").hidden = chosen.size === 0 && words.length === 0 && !bareOnly;
  $("nothing").hidden = order.length > 0 || cards.length === 0;
  for (const button of [$("save-paths"), $("save-tags")]) button.disabled = order.length === 0;
  remember();
}

// Cards that are not shown are taken out: hiding a thousand costs Chromium two seconds of style, this
// none. Only cards that are out of their place are moved.
function place() {
  const shown = new Set(order);
  for (const card of [...$("cards").children]) {
    if (!shown.has(Number(card.dataset.image))) card.remove();
  }
  let at = $("cards").firstElementChild;
  for (const index of order) {
    if (at === cards[index]) at = at.nextElementSibling;
    else $("cards").insertBefore(cards[index], at);
  }
  stop(shown.has(current) ? current : order[0] ?? 0);
}

// The grid is one tab stop: that of the photo that was looked at last.
function stop(index) {
  if (!openers.length) return;
  openers[current].tabIndex = -1;
  current = index;
  openers[current].tabIndex = 0;
}

function chip(label) {
  const item = document.createElement("li");
  const button = element("button", data.labels[label]);
  button.type = "button";
  button.setAttribute("aria-label", `Remove label ${data.labels[label]}`);
  button.addEventListener("click", () => { toggle(label); $("search").focus(); });
  item.append(button);
  return item;
}

function toggle(label) {
  if (!chosen.delete(label)) chosen.add(label);
  show();
}

function clear() {
  chosen.clear();
  bareOnly = false;
  $("search").value = "";
  show();
}

// The choice is kept behind the # of the address, so that a view can be passed on.
function remember() {
  const state = new URLSearchParams();
  if ($("search").value) state.set("q", $("search").value);
  for (const label of chosen) state.append("label", data.keys[label]);
  if (bareOnly) state.set("tags", "none");
  if (Number($("least").value) !== Number($("least").defaultValue)) state.set("from", $("least").value);
  const hash = state.toString();
  if (hash !== location.hash.slice(1)) {
    history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
  }
}

function recall() {
  const state = new URLSearchParams(location.hash.slice(1));
  $("search").value = state.get("q") ?? "";
  $("least").value = state.get("from") ?? $("least").defaultValue;
  bareOnly = state.get("tags") === "none";
  chosen.clear();
  for (const key of state.getAll("label")) {
    const label = data.keys.indexOf(key);
    if (label >= 0) chosen.add(label);
  }
  show();
}

// Where a photo is: on this disk if the page is, else as the page names it.
function path(image) {
  if (!image.link || location.protocol !== "file:") return image.path;
  try {
    const whole = decodeURIComponent(new URL(image.link, location.href).pathname);
    return whole.replace(/^\/(?=[A-Za-z]:\/)/, "");
  } catch {
    return image.path;  // A name that is no UTF-8.
  }
}

// --- one photo, large ---

function open(index) {
  const image = data.images[index];
  const thumbnail = openers[index].querySelector("img");
  stop(index);
  $("large-name").replaceChildren(element("bdi", image.name));
  $("large-place").textContent = `${order.indexOf(index) + 1} of ${order.length}`;
  // Not disabled: a button that has the focus would lose it.
  $("before").setAttribute("aria-disabled", String(order[0] === index));
  $("after").setAttribute("aria-disabled", String(order.at(-1) === index));
  $("large-image").hidden = !thumbnail;
  $("large-blank").hidden = Boolean(thumbnail);
  $("large-blank").textContent = thumbnail ? "" : openers[index].innerText;
  if (thumbnail) {
    $("large-image").src = thumbnail.src;
    $("large-image").alt = thumbnail.alt;
  }
  sharpen(index, image.link);
  $("large-tags").replaceChildren(...[...scores[index]].map(([label, score]) => {
    const item = document.createElement("li");
    item.append(element("bdi", data.labels[label]), element("span", score.toFixed(2)));
    return item;
  }));
  if (scores[index].size === 0) $("large-tags").append(element("li", "no tags above the cut"));
  tellMissed($("large-missed"), index);
  $("large-path").textContent = path(image);
  $("copied").textContent = "";
  $("file").hidden = !image.link;
  if (image.link) $("file").href = image.link;
  document.documentElement.classList.add("large");
  if (!$("large").open) $("large").showModal();
}

// The file itself where a browser can show it, else the thumbnail stays.
function sharpen(index, link) {
  if (!link) return;
  const whole = new Image();
  whole.addEventListener("load", () => {
    if (!$("large").open || current !== index) return;
    $("large-image").src = whole.src;
    $("large-image").hidden = false;
    $("large-blank").hidden = true;
  });
  whole.src = link;
}

function step(by) {
  const next = order[order.indexOf(current) + by];
  if (next !== undefined) open(next);
}

async function copy() {
  const text = $("large-path").textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers that give pages of files no clipboard still copy what is selected.
    const field = Object.assign(document.createElement("textarea"), { value: text });
    $("large").append(field);
    field.select();
    done = document.execCommand("copy");
    field.remove();
    $("copy").focus();
  }
  $("copied").textContent = done ? "copied" : "not copied: select the path and copy it";
}

// --- saving what is shown ---

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

function savePaths() {
  const paths = order.map((index) => path(data.images[index]));
  const lines = paths.filter((text) => !/[\n\r]/.test(text));
  save("photos.txt", "text/plain", lines.map((text) => `${text}\n`).join(""));
  const left = paths.length - lines.length;
  $("saved").textContent = left ? `saved, without ${left} with a line break` : "saved";
}

// A cell that no spreadsheet takes for a formula; numbers stay as they are.
function cell(text) {
  const number = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text);
  const safe = /^[=+\-@\t\r']/.test(text) && !number ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function saveTags() {
  const rows = order.flatMap((index) => [...scores[index]].map(([label, score]) =>
    [path(data.images[index]), data.keys[label], data.labels[label], score.toFixed(2)]));
  const table = [["uri", "label_key", "label_name", "score"], ...rows];
  save("tags.csv", "text/csv", table.map((row) => `${row.map(cell).join(",")}\r\n`).join(""));
  $("saved").textContent = "saved";
}

// --- keys and clicks ---

function columns() {
  const top = cards[order[0]].offsetTop;
  const next = order.findIndex((index) => cards[index].offsetTop !== top);
  return next < 0 ? order.length : next;
}

function along(key, at, length, width) {
  const to = {
    ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + width, ArrowUp: at - width,
    Home: 0, End: length - 1,
  }[key];
  return to >= 0 && to < length ? to : null;
}

$("cards").addEventListener("keydown", (event) => {
  if (!event.target.matches(".open") || event.ctrlKey || event.altKey || event.metaKey) return;
  const at = order.indexOf(openers.indexOf(event.target));
  const to = along(event.key, at, order.length, columns());
  if (to === null) return;
  event.preventDefault();
  stop(order[to]);
  openers[current].focus();
});
$("panel")?.addEventListener("keydown", (event) => {
  const at = panelButtons.indexOf(event.target);
  const to = at < 0 ? null : along(event.key, at, panelButtons.length, 1);
  if (to === null) return;
  event.preventDefault();
  panelButtons[at].tabIndex = -1;
  panelButtons[to].tabIndex = 0;
  panelButtons[to].focus();
});
$("search").addEventListener("input", show);
$("least").addEventListener("input", show);
$("clear").addEventListener("click", () => { clear(); $("search").focus(); });
$("reset").addEventListener("click", () => { clear(); $("search").focus(); });
$("bare")?.addEventListener("click", () => { bareOnly = !bareOnly; show(); });
$("save-paths").addEventListener("click", savePaths);
$("save-tags").addEventListener("click", saveTags);
$("skip").addEventListener("click", (event) => {
  // The part behind the # is the reader's choice, which a jump to #photos would clear.
  event.preventDefault();
  (order.length ? openers[current] : $("photos")).focus();
});
document.addEventListener("click", (event) => {
  const opener = event.target.closest(".open");
  if (opener) return open(openers.indexOf(opener));
  const button = event.target.closest("[data-label]");
  if (!button) return;
  const at = panelButtons.indexOf(button);
  if (at >= 0) panelButtons.forEach((one, place) => { one.tabIndex = place === at ? 0 : -1; });
  toggle(Number(button.dataset.label));
});
$("large").addEventListener("click", (event) => {
  if (event.target === $("large")) $("large").close();
});
$("large").addEventListener("close", () => {
  document.documentElement.classList.remove("large");
  openers[current].focus();
});
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => $("large").close());
$("copy").addEventListener("click", copy);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if ($("large").open) {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    return;
  }
  if (event.key === "/" && !event.target.matches("input, textarea")) {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "Escape" && !$("clear").hidden) {
    clear();
  }
});
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.classList.contains("dark") ||
    (!root.classList.contains("light") && matchMedia("(prefers-color-scheme: dark)").matches);
  root.classList.toggle("dark", !dark);
  root.classList.toggle("light", dark);
});
addEventListener("hashchange", recall);
if ($("panel") && matchMedia("(max-width: 52rem)").matches) $("panel").open = false;
recall();
