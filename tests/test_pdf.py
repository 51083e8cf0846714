"""The PDF of all lessons, as far as it needs no browser; tests/browser/test_pdf.py prints one."""

import sys

import pdf
import pytest


def call(monkeypatch, folder):
    monkeypatch.setattr(sys, "argv", ["pdf.py", "--build", str(folder)])
    pdf.main()


def test_without_the_site_one_sentence_says_how_to_get_it(monkeypatch, tmp_path):
    page = tmp_path / "site" / "notebooks" / "01_input_standardization.html"
    with pytest.raises(SystemExit, match=f"^pdf: expected {page}, found none: run make site first$"):
        call(monkeypatch, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_browser_it_is_skipped_with_one_line(monkeypatch, tmp_path, capsys):
    for path in pdf.find_notebooks([]):
        page = tmp_path / "site" / "notebooks" / f"{path.stem}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "no such browser"))
    call(monkeypatch, tmp_path)
    assert capsys.readouterr().out.startswith("pdf: no Chromium was found, so no PDF was made: install it")
    assert not (tmp_path / "pdf").exists()


@pytest.mark.parametrize(
    ("repository", "home"),
    [
        ("https://github.com/Who/what", "https://who.github.io/what"),
        ("https://github.com/OWNER/normalization-course", ""),
    ],
)
def test_the_address_of_the_site_is_that_of_the_repository(repository, home):
    assert pdf.home_of(repository) == home
