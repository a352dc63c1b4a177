// The words, coloured by a head's attention, and its maps. Which word, application and head is chosen is kept here.

import { readable } from "./model.js";

const LONGEST = 128;        // tokens; the maps of longer texts are finer than the screen
const $ = id => document.getElementById(id);
const strength = Math.sqrt;  // of a colour, for a weight: small ones are seen too, and all maps have the same scale
const percent = x => (100 * x).toFixed(x < 0.0995 ? 1 : 0) + "%";
const chosen = { word: 0, layer: 0, head: 0 };
let tokens = [], attentions = [], kind = "";        // kind of a row: "application" or "layer"

// Show another text, from its first blank; the chosen application and head stay.
export function show(model, result) {
  const long = $("words").hidden = $("maps").hidden = result.tokens.length > LONGEST;
  if (long) {
    $("looks").textContent = `Attention is drawn for texts of up to ${LONGEST} tokens; this one has ${result.tokens.length}.`;
    return;
  }
  kind = model.site.row;
  tokens = result.tokens.map(token => readable(model, token));
  attentions = result.attentions;
  chosen.word = result.blanks[0] ?? 0;
  $("attention").style.setProperty("--count", tokens.length);
  const room = Math.min(340, $("maps").clientWidth - 100);          // pixels, beside the words
  $("attention").style.setProperty("--cell", `${Math.max(13, Math.min(28, Math.floor(room / tokens.length)))}px`);
  $("words").replaceChildren(...tokens.map((token, i) => wordButton(token, i)));
  $("across").replaceChildren(...tokens.map(label));
  $("down").replaceChildren(...tokens.map(label));
  $("caption").textContent = `${attentions.length} ${kind}s down, ${attentions[0].length} heads across: `
    + "a map has a row for every word, with colour where it looks";
  if ($("grid").querySelectorAll("button").length !== attentions.length * attentions[0].length) makeGrid();
  drawMaps();
  choose({});
}

function wordButton(token, i) {
  const button = document.createElement("button");
  button.append(token, document.createElement("small"));
  for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => choose({ word: i }));
  return button;
}

function label(text) {
  const span = document.createElement("span");
  span.textContent = text;
  return span;
}

function makeGrid() {
  $("grid").style.setProperty("--heads", attentions[0].length);
  $("grid").replaceChildren(label(""), ...attentions[0].map((_, head) => label(head + 1)),
    ...attentions.flatMap((heads, layer) => [label(layer + 1), ...heads.map((_, head) => mapButton(layer, head))]));
}

function mapButton(layer, head) {
  const button = document.createElement("button");
  button.setAttribute("aria-label", `${kind} ${layer + 1}, head ${head + 1}`);
  button.append(document.createElement("canvas"));
  for (const event of ["focus", "click"]) button.addEventListener(event, () => choose({ layer, head }));
  return button;
}

// Choose a word, or an application and a head; draw what depends on it.
function choose(change) {
  Object.assign(chosen, change);
  const { word, layer, head } = chosen, count = tokens.length;
  const row = attentions[layer][head].subarray(word * count, (word + 1) * count);
  $("attention").style.setProperty("--word", word);
  [...$("words").children].forEach((button, i) => {
    button.style.setProperty("--a", strength(row[i]));
    button.lastChild.textContent = percent(row[i]);
  });
  press($("words").children, word);
  press($("grid").querySelectorAll("button"), layer * attentions[0].length + head);
  [...$("down").children].forEach((span, i) => span.classList.toggle("chosen", i === word));
  const best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3);
  $("looks").textContent = `“${tokens[word]}” looks at ` + best.map(i => `“${tokens[i]}” ${percent(row[i])}`).join(", ") + ".";
  $("chosen").textContent = `Head ${head + 1} in ${kind} ${layer + 1}: the words at the left look at those at the top`;
  if (!("word" in change)) drawMap($("large"), attentions[layer][head]);
}

// One of the buttons is pressed, and the one that Tab reaches; the arrow keys reach the others.
function press(buttons, index) {
  [...buttons].forEach((button, i) => {
    button.setAttribute("aria-pressed", i === index);
    button.tabIndex = i === index ? 0 : -1;
  });
}

export function drawMaps() {
  const maps = $("grid").querySelectorAll("canvas");
  attentions.flat().forEach((weights, i) => drawMap(maps[i], weights));
  if (attentions.length) drawMap($("large"), attentions[chosen.layer][chosen.head]);
}

// weights, flat [T, T]: one pixel each, in the canvas's colour, opaque for 1.
function drawMap(canvas, weights) {
  const count = canvas.width = canvas.height = tokens.length;
  const colour = getComputedStyle(canvas).color.match(/\d+/g).map(Number).slice(0, 3);
  const image = new ImageData(count, count);
  weights.forEach((weight, i) => image.data.set([...colour, 255 * strength(weight)], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// The arrow keys move the focus between the buttons of an element with `columns()` of them a row.
function arrowKeys(element, columns) {
  element.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[event.key];
    const buttons = [...element.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (step) event.preventDefault();
    if (next) next.focus();
  });
}
arrowKeys($("words"), () => 1);
arrowKeys($("grid"), () => attentions[0].length);
