"""All lessons as one PDF, printed by Chromium from the site that `make site` has built; nothing is fetched."""

import argparse
import os
import runpy
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from execute import find_notebooks
from guard import RESULTS, ROOT, one_sentence
from results import Results

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
HERE = "http://site.invalid"
STYLE = """
@page { size: A4; margin: 18mm 16mm; }
html { font-size: 11pt; } body { background: #fff; }
article { break-after: page; } article:last-child { break-after: auto; }
article::before { content: ""; display: block; height: 1px; } /* else Chromium's outline has the heading twice */
article pre { white-space: pre-wrap; } .cell_output img { max-width: 100%; } img, .claim-card { break-inside: avoid; }
h1, h2, h3 { break-after: avoid; } h1 { font-size: 20pt; } h2 { font-size: 15pt; }
.launch, .headerlink, .copybtn, .explorer, .claim-links, .above-input { display: none !important; }
"""
# One document of all lessons. Links between them stay inside; others of the site lead to its address, if there is one.
JOIN = """async ([pages, home, style]) => {
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
}"""


def find_chromium():
    """Path of Chromium, or of the browser that CHROMIUM names; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)


def home_of(repository):
    """The address of the published site, or an empty text for the placeholder of an unknown repository."""
    owner, name = repository.removeprefix("https://github.com/").split("/")[:2]
    return "" if owner == "OWNER" else f"https://{owner.lower()}.github.io/{name}"


def print_lessons(site, pages, out, home, browser):
    """Print `pages` of the folder `site`, one after the other, into the file `out`."""
    from playwright.sync_api import sync_playwright

    def serve(route):
        file = site / unquote(urlsplit(route.request.url).path).lstrip("/")
        if route.request.url.startswith(HERE) and file.is_file():
            return route.fulfill(path=file)
        return route.abort()

    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium refuses to run as root
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS + root)
        page = chromium.new_page(color_scheme="light")
        page.route("**/*", serve)
        page.goto(f"{HERE}/{pages[0]}")
        page.wait_for_function("() => window.MathJax?.startup?.promise?.then(() => true)")
        page.evaluate(JOIN, [pages, home, STYLE])
        page.pdf(path=out, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
        chromium.close()


@one_sentence("pdf", RESULTS, ValueError)
def main():
    """Print, say where it is; without a browser only say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder for results; this goes to pdf/")
    build = parser.parse_args().build.resolve()
    pages = [f"notebooks/{path.stem}.html" for path in find_notebooks([])]
    if missing := [page for page in pages if not (build / "site" / page).is_file()]:
        sys.exit(f"pdf: expected {build / 'site' / missing[0]}, found none: run make site first")
    if (browser := find_chromium()) is None:
        print("pdf: no Chromium was found, so no PDF was made: install it, or name yours with CHROMIUM=/path")
        return
    home = home_of(runpy.run_path(str(ROOT / "site" / "conf.py"))["REPOSITORY"])
    with Results.alone(build / "pdf") as results, tempfile.TemporaryDirectory() as folder:
        print_lessons(build / "site", pages, Path(folder) / "lessons.pdf", home, browser)
        results.write_tree(Path(folder))
    print(f"All lessons as one PDF: {build / 'pdf' / 'lessons.pdf'}")


if __name__ == "__main__":
    main()
