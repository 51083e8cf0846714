"""Files are written whole or not at all."""

import errno
import os

import pytest

from utils.files import free_path, write_atomically


def test_it_writes_and_makes_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomically(path, "κ = 1\n")
    assert path.read_bytes() == "κ = 1\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    write_atomically(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_when_the_text_cannot_be_written_the_old_file_stays_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "a lone surrogate: \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_on_a_full_disk_the_old_file_stays_and_the_error_names_it(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file.txt"
    path.write_text("old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=r"No space left on device: .*file\.txt"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_when_the_file_cannot_take_its_name_nothing_is_left(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(path, "text")
    assert list(tmp_path.iterdir()) == [path]
    assert list(path.iterdir()) == []


def test_what_a_link_leads_to_stays(tmp_path):
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "link").symlink_to("elsewhere")
    write_atomically(tmp_path / "link", "ours")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "theirs"


def test_a_free_path_has_the_next_number(tmp_path):
    path = tmp_path / "x.csv"
    for expected in ("x.csv", "x-2.csv", "x-3.csv"):
        assert free_path(path).name == expected
        free_path(path).symlink_to("nowhere")  # a broken link takes a name, too
