"""The site without Sphinx: what notebooks say about themselves, how they are published, what is made for the pages."""

import math
import os
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace

import collected
import jinja2
import nbformat
import pages
import publish
import pytest
import yaml
from execute import label
from nbformat.v4 import new_markdown_cell, new_notebook, new_output
from site_fixtures import (
    LABS,
    LESSONS,
    NOTEBOOKS,
    ROOT,
    Tags,
    card_of,
    card_output,
    claim,
    figure,
    notebook_with,
    verdict,
)

from utils import evidence

pytestmark = pytest.mark.timeout(300)  # the site is staged
FIRST = "notebooks/01_input_standardization.html"


@pytest.fixture(scope="module")
def summaries():
    return [collected.summary(path) for path in LESSONS]


@pytest.fixture(scope="module")
def verdicts():
    return collected.verdicts(NOTEBOOKS)


class TestCollected:
    def test_every_notebook_is_summed_up(self, summaries):
        assert [found.number for found in summaries] == [f"{i:02}" for i in range(1, len(LESSONS) + 1)]
        for found in summaries:
            assert found.minutes > 0
            assert 3 <= len(found.goals) <= 5
            assert found.before
            assert found.intro
            assert {"Recap", "In practice", "Further reading"} <= {section.title for section in found.sections}

    def test_every_claim_with_a_verdict_is_collected_once(self, verdicts):
        ids = [found.claim.id for found in verdicts]
        assert len(set(ids)) == len(ids)
        assert set(ids) == set(evidence.claims())
        for found in verdicts:
            assert found.page == f"labs/{found.claim.lab}"
            assert found.place == f"lab {found.claim.lab[:2]}"
            assert found.parts

    def test_a_claim_is_as_its_record_says_and_as_its_card_where_there_is_none(self, tmp_path, monkeypatch):
        stated, path = claim(), tmp_path / "labs" / "01_x.ipynb"
        path.parent.mkdir()
        monkeypatch.setattr(evidence, "claims", lambda: {stated.id: stated})
        nbformat.write(notebook_with(card_output(card_of(stated, word=None))), path)
        record = evidence.Record(tmp_path / "record.json", known={stated.id: stated})
        (found,) = collected.verdicts([path], record)
        assert (found.word, found.place) == ("not recorded yet", "lab 01")
        assert [(p["condition"], p["word"]) for p in found.parts] == [
            ("here, digits T", "holds"),
            ("there, digits T", "fails"),
        ]
        unit = {"experiment": "01_x/it", "dataset": "mnist_5k", "budget": 4, "first": 0, "n": 16, "steps": 8}
        unit |= {"fingerprint": "f", "device": "cpu", "grids": {}, "at_end": {}, "room": {}, "seconds": 1.0}
        record.add({**unit, "effects": {stated.id: {"here": [3.0] * 16}}})
        record.save({stated.id: [("mnist_5k", 4)]})
        (found,) = collected.verdicts([path], evidence.Record(record.path, known={stated.id: stated}))
        assert found.word == "holds"
        assert [(p["condition"], p["low"], p["n"]) for p in found.parts] == [("here, MNIST 4T", 3.0, 16)]

    def test_a_lesson_that_shows_a_record_does_not_judge(self, tmp_path, monkeypatch):
        stated = claim()
        monkeypatch.setattr(evidence, "claims", lambda: {stated.id: stated})
        nbformat.write(notebook_with(card_output(card_of(stated))), tmp_path / "01_x.ipynb")
        assert collected.verdicts([tmp_path / "01_x.ipynb"]) == []

    def test_a_lab_has_a_title_and_no_summary(self):
        assert collected.title(LABS[0]).startswith("Test what")
        with pytest.raises(ValueError, match=rf"labs/{LABS[0].name}: expected goals after"):
            collected.summary(LABS[0])

    def test_identities_are_told_from_experiments(self, verdicts):
        found = {each.claim.id: each for each in verdicts}
        assert found["zscore-keeps-shape"].is_identity
        assert not found["leakage-flatters"].is_identity
        assert len(found["leakage-flatters"].parts) > 1

    def test_infinities_become_numbers(self):
        (part,) = verdict(claim(), "undecided", low="-Infinity", high="Infinity").parts
        assert (part["low"], part["high"]) == (-math.inf, math.inf)

    def test_a_card_of_an_unknown_claim_is_refused(self, tmp_path):
        path = tmp_path / "01_x.ipynb"
        output = new_output("execute_result", data={evidence.MIME: {"id": "nobody-said-so"}}, execution_count=1)
        nbformat.write(notebook_with(output), path)
        with pytest.raises(ValueError, match=r"01_x\.ipynb, cell cell: .* got 'nobody-said-so': make notebooks"):
            collected.verdicts([path])

    def test_a_notebook_without_minutes_is_refused(self, tmp_path):
        path = tmp_path / "01_x.ipynb"
        cell = new_markdown_cell("# A\n\n**You will be able to**\n\n- *do* it\n\nx")
        nbformat.write(new_notebook(cells=[cell]), path)
        with pytest.raises(ValueError, match=r"01_x\.ipynb: expected the minutes of the core path, found none"):
            collected.summary(path)


class TestPublished:
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
    def test_every_notebook_can_be_published(self, path):
        notebook, claims = nbformat.read(path, as_version=4), evidence.claims()
        before = nbformat.writes(notebook)
        page = publish.published(notebook, label(path), claims=claims, launch="LAUNCH", explorers=())
        assert nbformat.writes(notebook) == before, "the notebook was changed"
        nbformat.validate(page)
        assert sum(cell.source.count("LAUNCH") for cell in page.cells) == 1
        ids = [cell.id for cell in notebook.cells]
        assert [cell.id for cell in page.cells if cell.id in ids] == ids
        mimes = {mime for cell in page.cells for out in cell.get("outputs", []) for mime in out.get("data", {})}
        assert mimes <= {"text/html", "text/plain", "text/markdown", "image/png"}

    def test_a_code_cell_that_begins_with_a_comment_is_no_title(self):
        page = publish.published(notebook_with(), "01_x", claims={}, launch="LAUNCH")
        assert [cell.source for cell in page.cells] == [
            "# Do it",
            "LAUNCH",
            "\nWhy.\n",
            "(cell-01-cell)=",
            "# a comment",
        ]

    def test_a_figure_gets_its_alt_text(self):
        page = publish.published(notebook_with(figure("a bowl")), "01_x", claims={})
        assert page.cells[-1].metadata["mystnb"] == {"image": {"alt": "a bowl"}}

    def test_a_figure_is_as_wide_as_in_the_notebook(self):
        output = figure("a bowl")
        output.metadata["image/png"]["width"] = 990
        page = publish.published(notebook_with(output), "01_x", claims={})
        assert page.cells[-1].metadata["mystnb"]["image"]["width"] == "990px"

    @pytest.mark.parametrize(
        ("alts", "sentence"), [((None,), "expected a figure with alt text"), (("a", "b"), "expected one figure per")]
    )
    def test_a_figure_without_one_is_refused(self, alts, sentence):
        with pytest.raises(ValueError, match=f"cell cell: {sentence}"):
            publish.published(notebook_with(*map(figure, alts)), "01_x", claims={})

    @pytest.mark.parametrize(("page", "anchors"), [("labs/01_x", 1), ("01_x", 0)])
    def test_a_card_is_shown_as_it_is_with_an_anchor_in_its_lab_and_a_link_to_it_elsewhere(self, page, anchors):
        stated = claim(statement="a < b")
        made = publish.published(notebook_with(card_output(card_of(stated))), page, claims={"a-claim": stated})
        assert [cell.source for cell in made.cells].count("(claim-a-claim)=") == anchors
        (output,) = made.cells[-1].outputs
        assert set(output.data) == {"text/html"}
        assert card_of(stated).to_html() in output.data["text/html"]
        up = publish.up_from(page)
        there = [] if anchors else [f"{up}notebooks/labs/01_x.html#claim-a-claim"]
        links = [link["href"] for link in Tags(output.data["text/html"]).all("a")]
        assert links == [*there, f"{up}evidence.html#row-a-claim"]

    @pytest.mark.parametrize("fragments", [(), ("loss_surface",)])
    def test_an_explorer_is_shown_as_a_picture_and_where_there_is_one_without_a_kernel(self, fragments):
        path = ROOT / "notebooks" / "02_loss_surfaces.ipynb"
        notebook = nbformat.read(path, as_version=4)
        page = publish.published(notebook, path.stem, claims=evidence.claims(), explorers=fragments)
        assert "widgets" not in page.metadata
        assert sum("explorers/loss_surface.html" in cell.source for cell in page.cells) == len(fragments)

    def test_explorers_are_in_the_cells_that_are_named(self):
        for stem, cell in publish.EXPLORERS:
            (found,) = [c for c in nbformat.read(ROOT / f"notebooks/{stem}.ipynb", 4).cells if c.id == cell]
            assert any(publish.VIEW in output.data for output in found.outputs)

    @pytest.mark.parametrize(("name", "up"), [("01_x", "../"), ("labs/01_x", "../../")])
    def test_launch_links_open_this_notebook(self, name, up):
        links = publish.launch_links(name, repository="https://github.com/who/what", branch="main")
        assert f"https://mybinder.org/v2/gh/who/what/main?urlpath=lab/tree/notebooks/{name}.ipynb" in links
        assert f"https://colab.research.google.com/github/who/what/blob/colab/notebooks/{name}.ipynb" in links
        kaggle = "https://kaggle.com/kernels/welcome?src=https://github.com/who/what/blob/colab/notebooks"
        assert f"{kaggle}/{name}.ipynb" in links
        assert f"<{up}downloads/{name}.ipynb>" in links
        assert f"({up}teach.md#" in links


class TestPages:
    def test_every_part_that_a_page_names_is_made(self, summaries, verdicts):
        made = pages.all_parts(
            summaries, verdicts, labs={"labs/02_x": "Test it"},
            ideas={"runtime": "Threads."}, assignments=[], readme="# H\n\ntext", others=["api"],
            fragments=["loss_surface", "signal_propagation"], repository="https://github.com/a/b", branch="main",
            bibliography="", lectures={"": "| lecture |", "lee": "Lee"},
        )  # fmt: skip
        for page in sorted((ROOT / "site").glob("*.md")):
            filled = pages.filled(page.read_text(encoding="utf-8"), made)
            assert "<!-- made" not in filled, page.name

        assert "02 Test it <notebooks/labs/02_x>" in made["labs-toctree"]

    def test_the_table_of_lessons_has_a_lab_beside_its_lesson(self, summaries):
        rows = pages.notebooks_table(summaries, {f"labs/{LABS[0].stem}": "Test it"}).splitlines()[2:]
        beside = [row.rstrip("| ").rsplit("| ", 1)[1] for row in rows if "notebooks/labs/" in row]
        assert beside == [f"[lab {LABS[0].stem[:2]}](notebooks/labs/{LABS[0].name})"]

    def test_a_part_that_nobody_makes_is_an_error(self):
        with pytest.raises(ValueError, match="<!-- made: nothing -->: expected one of a, b"):
            pages.filled("x\n<!-- made: nothing -->\n", {"a": "", "b": ""})

    def test_the_landing_page_links_what_lies_beside_the_site(self):
        assert [link["href"] for link in Tags(pages.beside_links([])).all("a")] == [FIRST]
        links = Tags(pages.beside_links(["slides", "pdf", "lite"])).all("a")
        assert [link["href"] for link in links] == [FIRST, "lite/index.html", "lessons.pdf", "slides/index.html"]
        with pytest.raises(ValueError, match="--beside: expected some of lite, pdf, slides, got film, video"):
            pages.beside_links(["video", "slides", "film"])

    def test_a_citation_has_the_authors_and_the_address_where_it_is_known(self, tmp_path):
        path = tmp_path / "CITATION.cff"
        path.write_text(
            "title: A course\nversion: 1.2.3\nauthors:\n  - name: The authors\n"
            "  - family-names: Noether\n    given-names: Emmy\n"
        )
        text = pages.citation("https://github.com/who/what", path)
        assert "author = {{The authors} and {Noether, Emmy}}" in text
        assert "title = {{A course}}" in text
        assert "version 1.2.3" in text
        assert "url = {https://github.com/who/what}" in text
        assert "url" not in pages.citation("https://github.com/OWNER/normalization-course", path)

    @pytest.mark.parametrize("text", ["title: [", "title: x", "- x", "title: x\nversion: 1\nauthors:\n  - alias: x"])
    def test_a_citation_that_lacks_something_is_one_sentence(self, tmp_path, text):
        path = tmp_path / "CITATION.cff"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"^CITATION.cff: expected title, version and authors with names, got "):
            pages.citation("https://github.com/who/what", path)

    def test_the_plan_counts_the_cells_of_the_notebooks(self, summaries):
        plan = pages.live_plan(summaries)
        counted = [list(map(int, row)) for row in re.findall(r"\| (\d+) \| (\d+) \| (\d+) \| (?:yes|no) \|", plan)]
        code = [cell for found in summaries for s in found.sections for cell in s.cells if cell.cell_type == "code"]
        optional = sum("optional" in cell.metadata.tags for cell in code)
        assert sum(row[0] + row[1] for row in counted) == len(code) - optional
        assert sum(row[2] for row in counted) == optional

    @pytest.mark.parametrize(
        ("title", "wanted"),
        [("1. Draw the bowl", "1-draw-the-bowl"), ("Who's right, and why?", "whos-right-and-why"), ("A B-C", "a-b-c")],
    )
    def test_anchors_of_headings(self, title, wanted):
        assert pages.slug(title) == wanted

    def test_a_hub_link_names_repository_branch_and_notebook(self):
        (form,) = Tags(pages.hub_link("01_x", repository="https://github.com/who/what", branch="main")).all("div")
        assert form["data-path"].startswith("/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgithub.com%2Fwho%2Fwhat&")
        assert "urlpath=lab%2Ftree%2Fwhat%2Fnotebooks%2F01_x.ipynb" in form["data-path"]


class TestDocstrings:
    @pytest.fixture
    def docstrings(self):
        return SimpleNamespace(**runpy.run_path(str(ROOT / "site" / "_ext" / "docstrings.py")))

    def test_a_star_before_a_name_is_a_star(self, docstrings):
        lines = ["(out, in, *kernel).", "an *emphasis* stays", "a * b"]
        assert docstrings.literal_stars(lines) == [r"(out, in, \*kernel).", *lines[1:]]

    def test_attributes_that_share_a_description_get_one_each(self, docstrings):
        names = ["a, b : int", "    Both."]
        lines = ["Parameters", "----------", *names, "", "Attributes", "----------", *names]
        lines += ["c", "", "Notes", "-----", "a, b"]
        wanted = [*lines[:7], "a : int", "    Both.", "b : int", "    Both.", *lines[9:]]
        assert docstrings.one_attribute_each(lines) == wanted


class TestSettings:
    @pytest.mark.parametrize(
        ("origin", "wanted"),
        [
            ("git@github.com:who/what.git", "who/what"),
            ("https://github.com/who/what", "who/what"),
            ("https://example.org/who/what.git", "OWNER/normalization-course"),
        ],
    )
    def test_the_repository_is_the_one_that_git_knows(self, monkeypatch, origin, wanted):
        monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=origin + "\n"))
        assert runpy.run_path(str(ROOT / "site" / "conf.py"))["REPOSITORY"] == f"https://github.com/{wanted}"

    @pytest.mark.parametrize(
        ("origin", "wanted"),
        [
            ("https://github.com/who/what", ["https://github.com/who/what/issues/new?title=Page%20labs/a%20b%3A%20"]),
            ("https://example.org/who/what.git", []),
        ],
    )
    def test_a_problem_is_reported_where_the_repository_is_known(self, monkeypatch, origin, wanted):
        monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
        monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=origin + "\n"))
        settings = runpy.run_path(str(ROOT / "site" / "conf.py"))
        templates = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "site" / "_templates"))
        text = templates.get_template("report.html").render(pagename="labs/a b", **settings["html_context"])
        assert "report.html" in settings["html_theme_options"]["footer_content_items"]
        assert [link["href"] for link in Tags(text).all("a")] == wanted

    def test_or_the_one_of_the_workflow(self, monkeypatch):
        monkeypatch.setenv("GITHUB_REPOSITORY", "some/body")
        assert runpy.run_path(str(ROOT / "site" / "conf.py"))["REPOSITORY"] == "https://github.com/some/body"

    def test_nothing_is_executed_and_nothing_comes_from_elsewhere(self):
        settings = runpy.run_path(str(ROOT / "site" / "conf.py"))
        assert settings["nb_execution_mode"] == "off"
        for name in ("course.css", "course.js", "search.js"):
            assert not re.search(r"https?:|@import|url\(", (ROOT / "site/_static" / name).read_text(encoding="utf-8"))
        assert "://" not in settings["mathjax_path"]

    def test_the_citation_has_what_the_format_asks_for(self):
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        assert {"cff-version", "message", "title", "authors"} <= set(citation)
        assert f'version = "{citation["version"]}"' in project
        assert all(f"{name}" in project for name in citation["license"])

    def test_without_the_extra_one_sentence_says_how_to_get_it(self, tmp_path):
        hide = "import importlib.util as u, runpy, sys; found = u.find_spec\n"
        hide += "u.find_spec = lambda name, *a: None if name == 'myst_nb' else found(name, *a)\n"
        hide += "sys.path.insert(0, 'tools'); sys.argv = ['site', '--build', sys.argv[1]]\n"
        hide += "runpy.run_path('tools/site.py', run_name='__main__')"
        command = [sys.executable, "-c", hide, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=240)
        assert done.returncode == 1
        assert "myst_nb" in done.stderr
        assert "make site installs" in done.stderr
        assert not list(tmp_path.iterdir())
