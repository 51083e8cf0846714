"""Settings of the web site. `make site` stages this folder with the notebooks and runs Sphinx there."""

import os
import re
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))


def _repository():
    """The address of the repository on GitHub, as the workflow or git knows it; None where neither does."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"https://github.com/{name}"
    try:
        command = ["git", "-C", str(Path(__file__).parent), "remote", "get-url", "origin"]
        origin = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?\s*$", origin)
    return f"https://github.com/{found[1]}" if found else None


# The one place for the repository's address. OWNER stands there until the course has one; put yours in.
REPOSITORY = _repository() or "https://github.com/OWNER/normalization-course"
BRANCH = "main"

project = "Normalization and initialization"
author = "the authors of the course"
copyright = f"{date.today().year}, {author}; code BSD 3-Clause, text and figures CC BY 4.0"
try:
    release = metadata.version("normalization-course")
except metadata.PackageNotFoundError:
    release = ""
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstrings",
    "sphinx_copybutton",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_ext", "_templates", "downloads", "explorers"]
html_static_path = ["_static"]

# Notebooks: the stored outputs, never a run.
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = [
    "amsmath",
    "attrs_block",
    "attrs_inline",
    "colon_fence",
    "deflist",
    "dollarmath",
    "html_image",
]
myst_heading_anchors = 3
myst_links_external_new_tab = False

bibtex_bibfiles = ["references.bib"] if (Path(__file__).parent / "references.bib").exists() else []
bibtex_default_style = "plain"

# The reference of utils.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True  # path=CLAIMS, not where that was on this machine
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

# No request leaves the machine: formulas come from a script that stands beside the page, and no widget is shown.
mathjax_path = "mathjax/es5/tex-svg.js"
mathjax3_config = {"svg": {"fontCache": "global"}, "options": {"enableMenu": False}}
nb_ipywidgets_js = {}

html_theme = "sphinx_book_theme"
html_context = {
    "default_mode": "auto",  # or what the reader chose
    "report": "" if "/OWNER/" in REPOSITORY else REPOSITORY,  # where "Report a problem on this page" leads
}
templates_path = ["_templates"]
html_title = "Normalization and initialization"
html_copy_source = False
html_scaled_image_link = False  # figures have a width, and are no links
html_show_sourcelink = False
html_favicon = "_static/favicon.svg"
html_css_files = ["course.css"]
html_js_files = [("course.js", {"defer": "defer"}), ("search.js", {"defer": "defer"})]
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": BRANCH,
    "use_repository_button": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "footer_content_items": ["report.html", "author.html", "copyright.html"],
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "primary_sidebar_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

# For tools/site.py --linkcheck. Anchors of many pages are made by scripts. Left out: links that start a machine, the
# example of a hub, publishers that refuse programs, and the placeholder above.
linkcheck_anchors = False
linkcheck_timeout = 30
linkcheck_retries = 2
linkcheck_ignore = [
    r"https://(mybinder\.org|colab\.research\.google\.com|kaggle\.com|hub\.example\.edu)/",
    r"https://(doi\.org|openreview\.net|ai\.stackexchange\.com)/",
    r"https://github\.com/OWNER/",
]
