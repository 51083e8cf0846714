// Tables that sort, regions that scroll by keyboard, and the link for a JupyterHub. No library, no request.
(function () {
  "use strict";

  function valueOf(row, column) {
    const cell = row.cells[column];
    const given = cell.dataset.value;
    return given === undefined ? cell.textContent.trim().toLowerCase() : Number(given);
  }

  function compare(a, b) {
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  }

  function sortBy(table, column, descending) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    rows.sort((a, b) => (descending ? -1 : 1) * compare(valueOf(a, column), valueOf(b, column)));
    body.append(...rows);
    Array.from(table.tHead.rows[0].cells).forEach((head, i) => {
      head.setAttribute("aria-sort", i !== column ? "none" : descending ? "descending" : "ascending");
    });
  }

  function makeSortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", () => sortBy(table, column, head.getAttribute("aria-sort") === "ascending"));
      head.textContent = "";
      head.append(button);
      head.setAttribute("aria-sort", "none");
    });
  }

  // A formula in a line that is longer than the line scrolls; what scrolls sideways must be reachable by keyboard.
  function makeReachable() {
    document.querySelectorAll("mjx-container:not([display])").forEach((formula) => {
      const block = formula.closest("p, li, dd, td, div");
      formula.classList.toggle("too-wide", formula.firstElementChild.getBoundingClientRect().width > block.clientWidth);
    });
    const wide = "mjx-container.too-wide, mjx-container[display=true], .output pre, .output table, .highlight pre, .pst-scrollable-table-container";
    document.querySelectorAll(wide).forEach((element) => {
      if (element.scrollWidth > element.clientWidth + 1 && !element.hasAttribute("tabindex")) {
        element.tabIndex = 0;
      }
    });
  }

  function makeHubLink(form) {
    const link = form.querySelector("a");
    const hub = form.querySelector("input");
    const update = () => {
      const address = (hub.value.trim() || hub.placeholder).replace(/\/+$/, "");
      if (!hub.validity.valid || /\s/.test(address)) {
        link.removeAttribute("href");
        link.textContent = `expected an address such as ${hub.placeholder}, got ${address}`;
        return;
      }
      link.href = address + form.dataset.path;
      link.textContent = link.href;
    };
    hub.addEventListener("input", update);
    update();
  }

  // The theme's arrows in the side bar have no name.
  function nameToggles() {
    document.querySelectorAll(".bd-sidebar-primary summary").forEach((summary) => {
      const link = summary.closest("li")?.querySelector("a");
      summary.setAttribute("aria-label", `Pages beneath ${link?.textContent.trim() ?? "this one"}`);
    });
  }

  // Words of the glossary in another language, for those who have the page read out.
  function nameLanguages() {
    document.querySelectorAll("[class*='language-zh-']").forEach((word) => {
      word.lang = /language-(zh-\w+)/.exec(word.className)[1];
    });
  }

  function start() {
    nameLanguages();
    nameToggles();
    document.querySelectorAll("table.sortable").forEach(makeSortable);
    document.querySelectorAll(".hub-link").forEach(makeHubLink);
    makeReachable();
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
  window.addEventListener("load", () => window.MathJax?.startup?.promise?.then(makeReachable) ?? makeReachable());
  window.addEventListener("resize", makeReachable);
})();

// Sphinx's search appends the summary of every result, and has none where an index entry stands without text of its own.
if (typeof Search !== "undefined" && Search.makeSearchSummary) {
  const summary = Search.makeSearchSummary;
  Search.makeSearchSummary = (...given) => summary(...given) ?? document.createDocumentFragment();
}
