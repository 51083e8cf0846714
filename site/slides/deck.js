// Lays the cells of a deck into pages that fit, then starts reveal.js.
//
// A section holds what belongs together by the slide types of the notebook. Where that is higher than a slide, it is cut
// at the place that costs least: before the next piece of text rather than between a question and its code. Measured
// here and not at build time, because the fonts are those of the reader's machine.
"use strict";

const [WIDTH, HEIGHT, GAP] = [1184, 616, 16]; // of a page as in deck.css, less what formulas stick out of their lines
// px, the first in which the longest line and the whole piece fit: code has 80 columns and 15 lines. Longer lines of
// printed text are wrapped.
const SIZES = { code: [24, 22], output: [22, 20] };
const LABELS = 14 / 18.3; // of the width in the notebook, where the labels of a figure have 18.3 px: here 14 at least
const [SMALLEST_FIGURE, LARGEST_FIGURE] = [0.8, 1.35];
const [SHORT_LEAD, CARD] = [150, 560]; // px
const LARGER = [36 / 26, 32 / 26, 29 / 26, 1]; // times what deck.css has, the first that fits
const PAGE = 100; // what one more page costs; cuts are cheaper or dearer than that

const make = (tag, name) => Object.assign(document.createElement(tag), { className: name });

function kindOf(element) {
  if (element.matches(".figure")) return "figure";
  if (element.matches(".output")) return "output";
  return element.matches(".code") ? "code" : "prose";
}

/** The pieces of a section between which it may be cut, each in a box of its own; notes go with the last of a cell. */
function piecesOf(section) {
  const page = make("div", "page");
  const pieces = [];
  const steps = [...section.querySelectorAll(".fragment")];
  for (const [cell, block] of [...section.querySelectorAll(".cell")].entries()) {
    const step = steps.indexOf(block.closest(".fragment"));
    const shown = [...block.children].filter((child) => !child.matches("aside"));
    const contents = shown.flatMap((child) => (child.matches(".prose") ? [...child.children] : child));
    contents.forEach((content, i) => {
      const kind = content.matches(".output, .code") ? kindOf(content) : "prose";
      const item = make("div", `item ${kind}`);
      if (step >= 0) item.classList.add("fragment");
      if (step >= 0) item.dataset.fragmentIndex = step;
      item.append(content);
      page.append(item);
      item.classList.toggle("predict", /^Predict\./.test(item.textContent.trim()));
      const notes = i === contents.length - 1 ? [block.querySelector("aside")] : [];
      pieces.push({ item, kind, cell, notes, minutes: block.dataset.minutes / contents.length });
    });
  }
  section.replaceChildren(page);
  return { page, pieces };
}

const heightOf = (piece) => piece.item.getBoundingClientRect().height;
const fontSize = (piece, size) => piece.item.style.setProperty("--code", `${size}px`);

/** The largest size in which the lines of a cell or an output are not longer than the page is wide. */
function sizeCode(piece, largest) {
  const pre = piece.item.querySelector("pre");
  if (!pre || !SIZES[piece.kind]) return;
  const most = Math.max(largest, SIZES[piece.kind].at(-1));
  for (const size of SIZES[piece.kind].filter((size) => size <= most)) {
    fontSize(piece, size);
    if (pre.scrollWidth <= pre.clientWidth && heightOf(piece) <= HEIGHT) return;
  }
  if (piece.kind === "output") pre.classList.add("wrapped");
}

/** A line does not end between a formula and what closes it. */
function keepPunctuation() {
  for (const formula of document.querySelectorAll("mjx-container:not([display])")) {
    const next = formula.nextSibling;
    const [marks] = /^[.,;:?!)]+/.exec(next?.data ?? "") ?? [];
    if (!marks) continue;
    next.data = next.data.slice(marks.length);
    const together = make("span", "together");
    formula.before(together);
    together.append(formula, marks);
  }
}

/** A formula is at most as wide as a page. */
function sizeFormula(piece) {
  for (const formula of piece.item.querySelectorAll("mjx-container[display]")) {
    const wide = formula.querySelector("svg").getBoundingClientRect().width;
    const size = parseFloat(getComputedStyle(formula).fontSize);
    if (wide > WIDTH) formula.style.fontSize = `${(size * WIDTH) / wide}px`;
  }
}

/** A figure is at most as wide and as high as a page. */
function sizeFigure(piece) {
  for (const image of piece.item.querySelectorAll(".figure img")) {
    const natural = image.getAttribute("width");
    const highest = (HEIGHT * natural) / image.getAttribute("height");
    image.style.width = `${Math.floor(Math.min(natural, WIDTH, highest))}px`;
  }
}

/** Where the points, rows or lines of a list, a table or printed text stand, or nothing. */
function holderIn(whole) {
  if (whole.matches(".text")) return whole.firstElementChild;
  if (whole.matches("table")) return whole.tBodies[0];
  return whole.matches("ul, ol") ? whole : undefined;
}

/** A claim card has as many conditions as fit; the lab has all of them. An interval has one line where there is room. */
function sizeCard(piece) {
  for (const region of piece.item.querySelectorAll(".card [role=region]")) {
    region.classList.toggle("wide", region.scrollWidth > region.clientWidth);
  }
  const rows = [...piece.item.querySelectorAll(".card tbody tr")];
  const more = make("p", "more");
  for (let left = 1; heightOf(piece) > CARD && rows.length > 1; left++) {
    rows.pop().remove();
    more.textContent = `${left} more condition${left > 1 ? "s are" : " is"} in the lab.`;
    piece.item.firstElementChild.append(more);
  }
}

/** Cut what is higher than a page between its points, rows or lines; a table keeps its head. */
function divide(piece, place, all) {
  const whole = piece.item.firstElementChild;
  if (heightOf(piece) <= HEIGHT) return [piece];
  if (whole.matches(".text")) {
    const lines = whole.textContent.replace(/\n$/, "").split("\n");
    const line = (text) => Object.assign(make("span", "line"), { textContent: text || " " });
    holderIn(whole).replaceChildren(...lines.map(line));
  }
  const rows = [...(holderIn(whole)?.children ?? [])];
  if (rows.length < 2) return [piece];
  const before = place && all[place - 1].kind === "prose" ? heightOf(all[place - 1]) + GAP : 0;
  const taken = before < SHORT_LEAD ? before : 0; // a short sentence stays with the first part
  const heights = rows.map((row) => row.getBoundingClientRect().height);
  const parts = [];
  rows.forEach((row, i) => {
    const room = HEIGHT - GAP - (parts.length === 1 ? taken : 0);
    if (!parts.length || heightOf(parts.at(-1)) + heights[i] > room) {
      const copy = whole.cloneNode(true);
      holderIn(copy).replaceChildren();
      if (copy.matches("ol")) copy.start = i + 1;
      const item = make("div", piece.item.className);
      item.append(copy);
      (parts.at(-1)?.item ?? piece.item).after(item);
      parts.push({ ...piece, item, notes: [] });
    }
    holderIn(parts.at(-1).item.firstElementChild).append(row);
  });
  piece.item.remove();
  parts.at(-1).notes = piece.notes;
  return parts;
}

/** What it costs to begin a new page with this piece. */
function cutBefore(piece, previous) {
  if (previous.item.querySelector("h1, h2, h3")) return 90;
  if (previous.kind === "figure" && piece.kind === "prose") return 130; // what to see is beside it
  if (piece.item.matches(".predict")) return 2;
  const shown = piece.kind === "figure" || piece.item.querySelector("mjx-container[display]");
  if (previous.kind === "prose" && (shown || /[:,]$/.test(previous.item.textContent.trim()))) return 60;
  if (piece.cell === previous.cell) return 40;
  if (previous.kind === "prose") return 30;
  return piece.kind === "prose" ? 22 : 12;
}

/** The part of its width to which a figure may shrink. */
function smallest(piece) {
  const image = piece.item.querySelector("img");
  return Math.max(SMALLEST_FIGURE, Math.min(1, (LABELS * image.getAttribute("width")) / parseFloat(image.style.width)));
}

/** The cheapest way to cut pieces into pages: the indices at which pages begin, and the cost. */
function cheapestCuts(pieces) {
  const heights = pieces.map(heightOf);
  const give = pieces.map((piece, i) => (piece.kind === "figure" ? (1 - smallest(piece)) * heights[i] : 0));
  const best = [{ cost: 0, starts: [] }];
  for (let end = 1; end <= pieces.length; end++) {
    let [height, elastic] = [-GAP, 0];
    for (let start = end - 1; start >= 0; start--) {
      height += heights[start] + GAP;
      elastic += give[start];
      if (height - elastic > HEIGHT && start < end - 1) break;
      const cut = start ? cutBefore(pieces[start], pieces[start - 1]) : 0;
      const look = height > HEIGHT ? 30 : 60 * (1 - height / HEIGHT) ** 2; // a smaller figure, or room to spare
      const cost = best[start].cost + PAGE + cut + look;
      if (!best[end] || cost < best[end].cost) best[end] = { cost, starts: [...best[start].starts, start] };
    }
  }
  return best.at(-1);
}

/** Cut with the largest code that needs no more pages than smaller code would. */
function cut(pieces) {
  let chosen;
  for (const largest of [24, 22, 20]) {
    pieces.forEach((piece) => sizeCode(piece, largest));
    const found = cheapestCuts(pieces);
    if (!chosen || found.cost + 25 < chosen.cost) chosen = { ...found, largest };
  }
  pieces.forEach((piece) => sizeCode(piece, chosen.largest));
  return chosen.starts;
}

/** Use the room that is there: figures grow, or shrink a little; then text and code get larger where they fit. */
function fill(page) {
  const used = () => page.lastElementChild.getBoundingClientRect().bottom - page.getBoundingClientRect().top;
  const figures = [...page.querySelectorAll(".figure img")];
  if (figures.length) {
    const sizes = figures.map((figure) => figure.getBoundingClientRect());
    const height = sizes.reduce((sum, size) => sum + size.height, 0);
    const widest = Math.max(...sizes.map((size) => size.width));
    const times = Math.min(LARGEST_FIGURE, WIDTH / widest, (height + HEIGHT - used()) / height);
    figures.forEach((figure, i) => (figure.style.width = `${Math.floor(sizes[i].width * times)}px`));
  }
  const boxes = [...page.querySelectorAll("svg, pre, table")];
  const wide = () => boxes.some((box) => box.scrollWidth > box.clientWidth || box.clientWidth > WIDTH);
  for (const times of LARGER.slice(page.querySelector(".figure, .card") ? 1 : 0)) {
    page.style.setProperty("--times", times);
    if (used() <= HEIGHT && !wide()) break;
  }
}

/** Put one section of the notebook onto as many slides as it needs. */
function paginate(section) {
  const { pieces: whole } = piecesOf(section);
  whole.forEach((piece) => sizeCode(piece, SIZES.code[0]));
  whole.forEach(sizeFormula);
  whole.forEach(sizeFigure);
  whole.forEach(sizeCard);
  const pieces = whole.flatMap(divide);
  const starts = cut(pieces);
  let last = section;
  starts.forEach((start, number) => {
    const mine = pieces.slice(start, starts[number + 1]);
    let slide = section;
    if (number) {
      slide = section.cloneNode(false);
      slide.id = `${section.id}-${number + 1}`;
      slide.append(make("div", "page"));
      last.after(slide);
      slide.firstElementChild.append(...mine.map((piece) => piece.item));
    }
    mine[0].item.classList.remove("fragment"); // a slide is never empty
    slide.append(...mine.flatMap((piece) => piece.notes));
    slide.dataset.timing = Math.round(60 * mine.reduce((sum, piece) => sum + piece.minutes, 0));
    last = slide;
  });
}

/** Write the minutes of each slide above its notes, and the minutes so far; the speaker's window paces by them. */
function writeMinutes(slides) {
  const all = slides.reduce((sum, slide) => sum + Number(slide.dataset.timing), 0);
  let before = 0;
  for (const slide of slides) {
    before += Number(slide.dataset.timing);
    const own = Math.max(0.5, Math.round(slide.dataset.timing / 30) / 2);
    const text = `${own} min; ${Math.round(before / 60)} of ${Math.round(all / 60)} at its end.`;
    const notes = make("aside", "notes");
    notes.append(Object.assign(make("p", "minutes"), { textContent: text }));
    for (const aside of slide.querySelectorAll("aside")) notes.append(...aside.childNodes);
    slide.querySelectorAll("aside").forEach((aside) => aside.remove());
    slide.append(notes);
  }
}

function showSection(slide) {
  if (slide.querySelector("h1, h2")) slide.dataset.section = "";
}

async function main() {
  await MathJax.startup.promise;
  await MathJax.typesetPromise();
  keepPunctuation();
  // the window with the speaker's notes has no style sheet that would hide these copies for screen readers
  document.querySelectorAll("aside mjx-assistive-mml").forEach((copy) => copy.remove());
  await Promise.all([...document.images].map((image) => image.decode()));
  document.querySelectorAll(".slides section[id]").forEach(paginate);
  const slides = [...document.querySelectorAll(".slides section[id]")];
  writeMinutes(slides);
  slides.forEach(showSection);
  document.querySelectorAll(".page").forEach(fill);
  document.body.classList.remove("waiting");
  await Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0,
    center: false,
    hash: true,
    transition: "none",
    slideNumber: "c/t",
    defaultTiming: 60,
    plugins: [RevealNotes],
  });
}

main();
