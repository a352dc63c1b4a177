// Text, candidates and the switch; model.js computes, attention.js draws.

import { candidates, joins, json, labels, loadModel, readable, run, withoutMark } from "./model.js";
import { drawMaps, show } from "./attention.js";

const BLANK = /(\s*)(?:_{2,}|\[MASK\])/g;
const $ = id => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
let site, model, shown;

async function start() {
  site = await json("site.json");
  document.title = $("title").textContent = site.title;
  for (const id of ["about", "ask", "how", "sharing"]) $(id).textContent = site[id];
  $("status").textContent = `Loading the model, ${site.megabytes} MB …`;
  model = await loadModel(site);
  $("status").textContent = "";
  $("examples").append(...site.examples.map(example));
  $("text").value = site.examples[0];
  document.querySelector("main").hidden = false;
  $("text").addEventListener("input", later);
  await answer();
}

function example(text) {
  const button = document.createElement("button");
  button.textContent = text;
  button.addEventListener("click", () => write(text));
  return button;
}

function write(text) {
  $("text").value = text;
  answer();
}

let timer;
function later() {
  $("answers").setAttribute("aria-busy", true);
  clearTimeout(timer);
  timer = setTimeout(answer, 250);      // milliseconds after the last key
}

// One run at a time, as long as the text is another one than what is shown.
let running = false;
async function answer() {
  $("answers").setAttribute("aria-busy", true);
  if (running) return;
  running = true;
  while (shown !== $("text").value) await answerTo(shown = $("text").value).catch(error => tell(error.message, true));
  running = false;
  $("answers").setAttribute("aria-busy", false);
}

async function answerTo(text) {
  const begin = performance.now();
  const result = await run(model, site.task === "fill-mask" ? text.replace(BLANK, "$1[MASK]") : text);
  const time = `${Math.round(performance.now() - begin)} ms`;
  if (site.task === "text-classification") {
    $("answers").replaceChildren(list("", labels(model, result)));
    tell(`Answered in ${time}.`);
  } else {
    const blanks = candidates(model, result);
    $("answers").replaceChildren(...blanks.map((row, i) =>
      list(blanks.length > 1 ? `Blank ${i + 1}` : "", row, token => fill(text, i, token))));
    tell(blanks.length ? `Answered in ${time}. ${blanks.length > 1 ? "Each blank is guessed with the others hidden. " : ""}`
      + "Choose a word to put it in." : "Write ___ where a word is to be guessed.");
  }
  show(model, result);
}

// A heading and a bar for each answer, as a button if it can be chosen.
function list(heading, answers, choose) {
  const section = document.createElement("div"), items = document.createElement("ol");
  if (heading) section.append(Object.assign(document.createElement("h3"), { textContent: heading }));
  for (const { token, probability } of answers) {
    const item = document.createElement("li"), bar = document.createElement(choose ? "button" : "span");
    bar.textContent = site.task === "text-classification" ? token : readable(model, token);
    bar.title = `${token}: ${probability.toFixed(6)}`;
    bar.style.setProperty("--p", probability);
    if (choose) bar.addEventListener("click", () => choose(token));
    item.append(bar, Object.assign(document.createElement("output"), { textContent: (100 * probability).toFixed(1) + "%" }));
    items.append(item);
  }
  section.append(items);
  return section;
}

function fill(text, blank, token) {
  let seen = 0;
  write(text.replace(BLANK, (all, space) =>
    seen++ === blank ? (joins(model, token) ? "" : space) + withoutMark(token) : all));
  $("text").focus();
}

function tell(message, error = false) {
  $("message").textContent = message;
  $("message").className = error ? "error" : "muted";
  if (error) $("answers").replaceChildren();
  $("attention").hidden = error;
}

function setTheme(scheme) {
  document.documentElement.style.colorScheme = scheme;
  $("theme").setAttribute("aria-pressed", scheme === "dark");
  drawMaps();
}
$("theme").addEventListener("click", () => setTheme($("theme").getAttribute("aria-pressed") === "true" ? "light" : "dark"));
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
setTheme(dark.matches ? "dark" : "light");

start().catch(error => {
  $("status").className = "error";
  $("status").textContent = error.message;
});
