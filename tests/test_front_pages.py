"""README.md, CONTRIBUTING.md and the page of the verdicts: short, and with the tables of the notebooks."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import readme

from utils import evidence

ROOT = Path(__file__).resolve().parents[1]


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_tables_of_the_readme_and_of_the_verdicts_are_those_of_the_notebooks(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    readme.main()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README", "[01 Standardize", "[01 Normalize"),
        ("README", "[lab 02]", "[lab 20]"),
        ("VERDICTS", "**fails**", "**right**"),
    ],
)
def test_a_stale_table_is_named_and_written_anew(name, old, new, tmp_path, monkeypatch, capsys):
    for table in ("README", "VERDICTS"):  # nothing is written into the checkout
        shutil.copy(getattr(readme, table), tmp_path)
        monkeypatch.setattr(readme, table, tmp_path / f"{table}.md")
    monkeypatch.setattr(sys, "argv", ["readme.py"])
    readme.main()
    path = getattr(readme, name)
    good = path.read_text(encoding="utf-8")
    assert old in good
    path.write_text(good.replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["readme.py", "--check"])
    with pytest.raises(SystemExit, match=rf"^{name}\.md: the table differs from the notebooks: run make readme$"):
        readme.main()
    monkeypatch.setattr(sys, "argv", ["readme.py"])
    readme.main()
    assert path.read_text(encoding="utf-8") == good


def test_every_claim_has_its_verdict_on_the_page():
    known, record = evidence.claims(), evidence.Record()
    recorded = [record.saved_word(name) or "not recorded yet" for name in known]
    shown = re.findall(r" \| \*\*([a-z ]+)\*\* \| ", text_of("notebooks/labs/VERDICTS.md"))
    assert sorted(shown) == sorted(recorded)


@pytest.mark.parametrize(("name", "lines", "columns"), [("README.md", 120, 100), ("CONTRIBUTING.md", 125, 120)])
def test_the_front_pages_are_short(name, lines, columns):
    found = text_of(name).splitlines()
    assert len(found) <= lines
    assert [line for line in found if len(line) > columns and line[0] != "|"] == []


def test_the_readme_has_a_picture_that_loads_at_once_and_is_told_in_words():
    ((words, path),) = re.findall(r"^!\[([^\]]+)\]\(([^)]+)\)$", text_of("README.md"), flags=re.M)
    assert len(words.split()) >= 10
    assert (ROOT / path).stat().st_size < 120_000
