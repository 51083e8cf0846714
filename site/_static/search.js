// Results of the search name the section, and show the words around what was asked. Sphinx takes the first place in a
// page where the last word stands, which is often its table of contents.
(function () {
  "use strict";
  const AROUND = 110; // characters on each side

  if (typeof Search === "undefined") return; // another page than that of the search

  // The text of a section without that of the sections in it.
  function ownText(section) {
    const copy = section.cloneNode(true);
    copy.querySelectorAll("section, h1, h2, h3, h4, .launch").forEach((inner) => inner.remove());
    return copy.textContent.replace(/\s+/g, " ").trim();
  }

  function excerpt(text, words) {
    const lower = text.toLowerCase();
    const at = Math.max(0, words.map((word) => lower.indexOf(word)).find((place) => place >= 0) ?? 0);
    const from = Math.max(0, at - AROUND);
    const to = Math.min(text.length, at + AROUND);
    return (from > 0 ? "… " : "") + text.slice(from, to).trim() + (to < text.length ? " …" : "");
  }

  // The phrase counts most, then how many of its words there are.
  function score(text, phrase, keywords) {
    const lower = text.toLowerCase();
    return 100 * lower.includes(phrase) + keywords.filter((word) => lower.includes(word)).length;
  }

  function best(main, phrase, keywords) {
    const sections = Array.from(main.querySelectorAll("section[id]"), (section) => {
      const heading = section.querySelector("h1, h2, h3, h4")?.textContent.trim() ?? "";
      const text = ownText(section);
      return { id: section.id, heading, text, score: score(`${heading} ${text}`, phrase, keywords) };
    });
    return sections.reduce((found, one) => (one.score > (found?.score ?? 0) ? one : found), null);
  }

  // Links of another page, as they lead from this one.
  function linkTo(href, page, text) {
    const link = document.createElement("a");
    link.href = new URL(href, page);
    link.textContent = text;
    return link;
  }

  Search.makeSearchSummary = (htmlText, terms, anchor) => {
    const page = new DOMParser().parseFromString(htmlText, "text/html");
    const main = page.querySelector("[role=main]");
    const summary = document.createElement("p");
    summary.classList.add("context");
    if (!main) return summary;
    main.querySelectorAll(".headerlink, script, style, .onlyprint").forEach((part) => part.remove());
    const keywords = Array.from(terms, (word) => word.toLowerCase());
    const phrase = (new URLSearchParams(location.search).get("q") ?? "").toLowerCase().trim();
    const target = anchor ? page.getElementById(decodeURIComponent(anchor.slice(1))) : null;
    const row = target?.closest("tr");
    // The item of the result has its link only when this summary stands beside it.
    const beside = (add) => queueMicrotask(() => add(summary.parentElement.querySelector("a").href));
    if (row) {
      summary.textContent = Array.from(row.cells, (cell) => cell.textContent.trim()).join(" · ");
      const link = row.querySelector("a[href]");
      if (link) beside((here) => summary.append(" → ", linkTo(link.getAttribute("href"), here, link.textContent)));
    } else if (target) {
      const whole = target.closest("dl") ?? target;
      summary.textContent = excerpt(whole.textContent.replace(/\s+/g, " "), [phrase, ...keywords]);
    } else {
      const found = best(main, phrase, keywords);
      summary.textContent = excerpt(found?.text ?? main.textContent, [phrase, ...keywords]);
      if (found) beside((here) => summary.prepend(linkTo(`#${found.id}`, here, found.heading), ": "));
    }
    return summary;
  };
})();
