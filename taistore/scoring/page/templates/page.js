"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const fold = (text) => text.normalize("NFKC").toLowerCase();
const cards = [...document.querySelectorAll(".card")];
const panelButtons = [...document.querySelectorAll(".label")];
const tagItems = cards.map((card) => [...card.querySelectorAll(".tags > li")]);
const names = data.images.map((image) => fold(image.name));
const labels = data.labels.map(fold);
const chosen = new Set();
// Of each image, the tags that reach the least score: label -> score.
let scores = [];

function select() {
  const least = Number($("least").value);
  $("least-shown").textContent = least.toFixed(2);
  scores = data.images.map((image) => new Map(image.tags.filter((tag) => tag[1] >= least)));
  data.images.forEach((image, index) => image.tags.forEach((tag, place) => {
    tagItems[index][place].hidden = tag[1] < least;
  }));
}

function matches(index, words) {
  const found = (word) => names[index].includes(word) ||
    [...scores[index].keys()].some((label) => labels[label].includes(word));
  return words.every(found) &&
    [...chosen].every((label) => scores[index].has(label));
}

function show() {
  select();
  const words = fold($("search").value).split(/\s+/).filter(Boolean);
  const counts = new Array(data.labels.length).fill(0);
  let shown = 0;
  cards.forEach((card, index) => {
    const visible = matches(index, words);
    card.hidden = !visible;
    if (!visible) return;
    shown += 1;
    for (const label of scores[index].keys()) counts[label] += 1;
  });
  sort();
  for (const button of panelButtons) {
    const label = Number(button.dataset.label);
    button.setAttribute("aria-pressed", String(chosen.has(label)));
    button.classList.toggle("none", counts[label] === 0);
    button.querySelector(".count").textContent = counts[label];
  }
  for (const tag of document.querySelectorAll(".tag")) {
    tag.setAttribute("aria-pressed", String(chosen.has(Number(tag.dataset.label))));
  }
  $("shown").textContent = `${shown} of ${cards.length} images`;
  $("chosen").replaceChildren(...[...chosen].map(chip));
  const filtered = chosen.size > 0 || words.length > 0;
  $("clear").hidden = !filtered;
  $("nothing").hidden = shown > 0 || cards.length === 0;
  remember();
}

// With one label chosen, the surest images come first; otherwise the order of the file.
function sort() {
  const label = chosen.size === 1 ? [...chosen][0] : null;
  const order = cards.map((_, index) => index);
  if (label !== null) {
    order.sort((a, b) => (scores[b].get(label) ?? -1) - (scores[a].get(label) ?? -1) || a - b);
  }
  const list = $("cards");
  if (order.some((index, place) => list.children[place] !== cards[index])) {
    list.append(...order.map((index) => cards[index]));
  }
}

function chip(label) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = data.labels[label];
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
  $("search").value = "";
  show();
}

// The choice is kept behind the # of the address, so that a view can be passed on.
function remember() {
  const state = new URLSearchParams();
  if ($("search").value) state.set("q", $("search").value);
  for (const label of chosen) state.append("label", data.keys[label]);
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
  chosen.clear();
  for (const key of state.getAll("label")) {
    const label = data.keys.indexOf(key);
    if (label >= 0) chosen.add(label);
  }
  show();
}

$("search").addEventListener("input", show);
$("least").addEventListener("input", show);
$("clear").addEventListener("click", () => { clear(); $("search").focus(); });
$("reset").addEventListener("click", () => { clear(); $("search").focus(); });
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-label]");
  if (button) toggle(Number(button.dataset.label));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.target.matches("input, textarea")) {
    event.preventDefault();
    $("search").focus();
  } else if (event.key === "Escape" && (chosen.size > 0 || $("search").value)) {
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
