"""All lessons as one PDF, printed by Chromium from the site that `make site` has built; nothing is fetched."""

import argparse
import os
import runpy
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from execute import find_notebooks
from guard import RESULTS, ROOT, one_sentence
from results import Results

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
HERE = "http://site.invalid"
SOURCES = ROOT / "site" / "pdf"


def find_chromium():
    """Path of Chromium, or of the browser that CHROMIUM names; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)


def home_of(repository):
    """The address of the published site, or an empty text for the placeholder of an unknown repository."""
    owner, name = repository.removeprefix("https://github.com/").split("/")[:2]
    return "" if owner == "OWNER" else f"https://{owner.lower()}.github.io/{name}"


def print_lessons(site, pages, out, home, browser):
    """Print `pages` of the folder `site`, one after the other, into the file `out`; a ValueError if that fails."""
    from playwright.sync_api import Error, sync_playwright

    join, style = ((SOURCES / name).read_text(encoding="utf-8") for name in ("join.js", "print.css"))

    def serve(route):
        file = site / unquote(urlsplit(route.request.url).path).lstrip("/")
        if route.request.url.startswith(HERE) and file.is_file():
            return route.fulfill(path=file)
        return route.abort()

    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # Chromium refuses to run as root
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=browser, args=FLAGS + root)
            page = chromium.new_page(color_scheme="light")
            page.route("**/*", serve)
            page.goto(f"{HERE}/{pages[0]}")
            page.wait_for_function("() => window.MathJax?.startup?.promise?.then(() => true)")
            page.evaluate(join, [pages, home, style])
            page.pdf(path=out, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
            chromium.close()
        except Error as error:
            said = str(error).splitlines()[0]
            raise ValueError(f"expected {browser} to print the lessons, got: {said} Try a newer Chromium.") from None


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
    if find_spec("playwright") is None:
        sys.exit("pdf: expected playwright, found none: make pdf installs it (extra 'site')")
    home = home_of(runpy.run_path(str(ROOT / "site" / "conf.py"))["REPOSITORY"])
    with Results.alone(build / "pdf") as results, tempfile.TemporaryDirectory() as folder:
        print_lessons(build / "site", pages, Path(folder) / "lessons.pdf", home, browser)
        results.write_tree(Path(folder))
    print(f"All lessons as one PDF: {build / 'pdf' / 'lessons.pdf'}")


if __name__ == "__main__":
    main()
