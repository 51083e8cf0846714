"""The PDF: every page is in it, in order, and links lead into it, to the site, or elsewhere."""

import re
from concurrent.futures import ThreadPoolExecutor

import pdf
import pytest

PAGE = """<!DOCTYPE html><html lang="en"><head><title>x</title><script>
window.MathJax = { startup: { promise: Promise.resolve() }, typesetPromise: async () => 0 };
</script></head><body><nav>side bar</nav><article><h1 id="title">Page %s</h1>%s</article></body></html>"""


def print_lessons(*arguments):
    """Print in a thread of its own, where no other test holds Playwright."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pdf.print_lessons, *arguments).result()


def printed(tmp_path, home):
    site = tmp_path / "a site"
    (site / "notebooks" / "labs").mkdir(parents=True)
    first = '<a href="02_b.html#deep">on</a> <a href="labs/01_a.html">lab</a> <a href="https://x.org/">else</a>'
    (site / "notebooks" / "01_a.html").write_text(PAGE % ("one", first))
    (site / "notebooks" / "02_b.html").write_text(PAGE % ("two", '<details><p id="deep">here</p></details>'))
    out = tmp_path / "lessons.pdf"
    print_lessons(site, ["notebooks/01_a.html", "notebooks/02_b.html"], out, home, pdf.find_chromium())
    return out.read_bytes()


def test_links_lead_into_it_to_the_site_and_elsewhere(tmp_path):
    made = printed(tmp_path, "https://who.github.io/what")
    assert len(re.findall(rb"/Type /Page\b", made)) == 2
    assert b"p1-deep" in made
    addresses = {address.decode() for address in re.findall(rb"/URI \((.*?)\)", made)}
    assert addresses == {"https://who.github.io/what/notebooks/labs/01_a.html", "https://x.org/"}


def test_without_an_address_of_the_site_such_links_are_words(tmp_path):
    made = printed(tmp_path, "")
    assert re.findall(rb"/URI \((.*?)\)", made) == [b"https://x.org/"]


def test_a_program_that_is_no_browser_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"^expected /bin/false to print the lessons, got: .* Try a newer Chromium\.$"):
        print_lessons(tmp_path, ["a.html"], tmp_path / "out.pdf", "", "/bin/false")
    assert list(tmp_path.iterdir()) == []
