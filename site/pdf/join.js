// One document of all lessons: tools/pdf.py. Links between them stay inside; others of the site lead to its address, if
// there is one, or become words.
async ([pages, home, style]) => {
  const joined = document.createElement("main");
  for (const [number, page] of pages.entries()) {
    const here = new URL(page, location.origin);
    const text = await (await fetch(here)).text();
    const article = new DOMParser().parseFromString(text, "text/html").querySelector("article");
    article.id = "top";
    article.querySelectorAll("script").forEach((script) => script.remove());
    for (const element of [article, ...article.querySelectorAll("[id]")]) element.id = `p${number}-${element.id}`;
    for (const image of article.querySelectorAll("img")) {
      image.src = new URL(image.getAttribute("src"), here).href;
      image.loading = "eager";
    }
    for (const details of article.querySelectorAll("details")) details.open = true;
    for (const link of article.querySelectorAll("a[href]")) {
      const there = new URL(link.getAttribute("href"), here);
      const lesson = pages.indexOf(there.pathname.slice(1));
      if (there.origin !== location.origin) continue;
      if (lesson >= 0) link.href = `#p${lesson}-${there.hash.slice(1) || "top"}`;
      else if (home) link.href = home + there.pathname + there.hash;
      else link.replaceWith(...link.childNodes);
    }
    joined.append(article);
  }
  document.documentElement.dataset.theme = "light";
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  document.body.replaceChildren(joined);
  document.title = "Normalization and initialization of neural networks: all lessons";
  await MathJax.typesetPromise();
  await Promise.all([...document.images].map((image) => image.decode()));
}
