"""What the tests in a browser need: a server for a folder, Chromium, and pages that record what goes wrong.

``make test-browser`` runs them, ``make test`` does not. Nothing is installed here. CHROMIUM names another browser.
"""

import functools
import http.server
import os
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pdf import BROWSERS, find_chromium

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or ROOT / "build").resolve()
HERE = "127.0.0.1"
SECONDS = 1800  # for a test: the first one of JupyterLab executes every notebook
FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def what_is_missing():
    """One sentence for each thing that the tests need and that is not there."""
    missing = []
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        missing.append("Playwright for Python is not installed: run make site, which adds it")
    if find_chromium() is None:
        named = os.environ.get("CHROMIUM", " or ".join(BROWSERS[:2]))
        missing.append(f"no browser {named} was found: apt-get install chromium, or name yours with CHROMIUM=/path")
    return missing


def pytest_collection_modifyitems(items):
    """Give the tests more time, and say what is missing once, instead of failing in every test."""
    here = [item for item in items if Path(__file__).parent in Path(item.fspath).parents]
    for item in here:
        item.add_marker(pytest.mark.timeout(SECONDS))
    missing = what_is_missing() if here else []
    if missing:
        pytest.exit("test-browser: " + "; ".join(missing), returncode=2)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def serve():
    """Give the address of a server for a folder; a folder is served once."""
    servers = {}

    def address(folder):
        folder = Path(folder).resolve()
        if not folder.is_dir():
            pytest.fail(f"expected a folder {folder}, found none: run make site slides first", pytrace=False)
        if folder not in servers:
            handler = functools.partial(Quiet, directory=folder)
            servers[folder] = http.server.ThreadingHTTPServer((HERE, 0), handler)
            threading.Thread(target=servers[folder].serve_forever, daemon=True).start()
        return f"http://{HERE}:{servers[folder].server_port}"

    yield address
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window and without calls home."""
    from playwright.sync_api import sync_playwright

    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root with it
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS + root)
        yield chromium
        chromium.close()


def watch(page):
    """Record in ``page.problems`` what a page should not do: errors, failed requests, requests to other machines."""
    page.problems = Counter()

    def note(kind, what):
        page.problems[f"{kind}: {what[:300]}"] += 1

    def request(request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.hostname not in (HERE, "localhost"):
            note("external request", request.url)

    def failed(request):
        if request.failure != "net::ERR_ABORTED":  # given up by the browser itself, when the next page is opened
            note("failed request", f"{request.url} {request.failure}")

    page.on("request", request)
    page.on("requestfailed", failed)

    page.on("response", lambda reply: note(f"HTTP {reply.status}", reply.url) if reply.status >= 400 else None)
    page.on("console", lambda message: note("console", message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: note("error", str(error)))
    return page


@pytest.fixture
def page(browser):
    """A page of 1280 x 720 that records its problems; after the test there must be none."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    page = watch(context.new_page())
    yield page
    problems = dict(page.problems)
    context.close()
    assert not problems, problems
