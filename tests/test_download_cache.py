"""What lies in the cache: right, corrupted, packed anew, unpacked or not there; and what the registry says about it."""

import errno
import gzip
import hashlib
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pooch
import pytest
from download_fixtures import CONTENT, NAME, OTHER, ROOT, SHA256, Place, without_surprises
from image_fixtures import mnist_files, packed, running_server, sends, write_cache, write_registry

from utils import data, download
from utils.download import REGISTRY, DownloadError, fetch

pytestmark = pytest.mark.timeout(200)  # some start two Pythons


@pytest.fixture(autouse=True)
def _an_environment_without_surprises(monkeypatch):
    without_surprises(monkeypatch)


@pytest.fixture
def server():
    with running_server() as server:
        yield server


@pytest.fixture
def place(tmp_path, server, monkeypatch):
    return Place(tmp_path, server, monkeypatch)


# The cache


@pytest.mark.parametrize("found", [OTHER, CONTENT[:-1], b""])
def test_a_corrupted_file_is_replaced_or_left_as_it_is(place, server, found):
    write_cache(place.folder, {"set": {NAME: found}})
    with pytest.raises(DownloadError, match="no mirror could provide"):
        place.fetch()
    assert place.left() == [place.file]
    assert place.file.read_bytes() == found
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    place.fetch()
    assert place.has_just_the_file()


def test_a_file_that_is_corrupted_later_is_fetched_again(place, server):
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    place.fetch()
    place.fetch()  # looks at the file
    place.file.write_bytes(OTHER)
    os.utime(place.file, ns=(0, 0))
    place.fetch()
    assert place.has_just_the_file()
    assert len(server.asked) == 2


def test_a_cached_file_needs_no_server_and_no_permission_to_write(place, server, monkeypatch):
    write_cache(place.folder, {"set": {NAME: CONTENT}})
    monkeypatch.setattr(pooch, "retrieve", None)
    for offline in ("", "1"):
        monkeypatch.setenv("COURSE_OFFLINE", offline)
        place.fetch()
    assert server.asked == []


def test_offline_a_missing_file_is_an_error_and_nobody_is_asked(place, server, monkeypatch):
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    message = place.fails()
    assert message.startswith(f"set: {place.file} is not in the cache, and COURSE_OFFLINE=1 forbids a download. Unset ")
    assert f"have it downloaded from\n  {server.url(f'/a/{NAME}')}\n  {server.url(f'/b/{NAME}')}\nPut " in message
    assert f"Put the file by hand as\n  {place.file}\n  (60000 bytes, {SHA256}).\nThe default" in message
    assert server.asked == []
    assert not place.folder.exists()


def test_offline_a_corrupted_file_is_named_with_both_hashes(place, server, monkeypatch):
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    write_cache(place.folder, {"set": {NAME: OTHER}})
    monkeypatch.setenv("COURSE_OFFLINE", "yes")
    with pytest.raises(DownloadError) as caught:
        place.fetch()
    wrong = "sha256:" + hashlib.sha256(OTHER).hexdigest()
    assert f"{place.file} is corrupted (expected {SHA256}, found {wrong}), and COURSE_OFFLINE=yes" in str(caught.value)
    assert "Delete it and unset COURSE_OFFLINE" in str(caught.value)
    assert place.file.read_bytes() == OTHER
    assert server.asked == []


@pytest.mark.parametrize("value", ["", "0"])
def test_offline_can_be_said_not_to_be(place, server, monkeypatch, value):
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    monkeypatch.setenv("COURSE_OFFLINE", value)
    place.fetch()
    assert place.has_just_the_file()


def test_two_processes_at_once_both_get_the_file(place, server):
    both = threading.Barrier(2)

    def does(handler):
        both.wait(timeout=60)  # nobody is answered before both have asked
        sends(CONTENT)(handler)

    server.does[f"/a/{NAME}"] = does
    code = (
        "import sys, hashlib; from utils.download import fetch; "
        f"path = fetch('set', registry=sys.argv[1])[{NAME!r}]; "
        "print(hashlib.sha256(path.read_bytes()).hexdigest())"
    )
    command = [sys.executable, "-W", "error", "-c", code, place.registry]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert f"sha256:{out.strip()}" == SHA256
    assert server.asked == [f"/a/{NAME}"] * 2
    assert place.has_just_the_file()


def test_a_cache_that_is_a_file_is_an_error_that_says_so(place):
    place.folder.write_bytes(b"here")
    with pytest.raises(DownloadError) as caught:
        place.fetch()
    assert f"{place.file}: expected to keep a download there, but it cannot be written" in str(caught.value)
    assert "COURSE_DATA" in str(caught.value)
    assert place.folder.read_bytes() == b"here"


def test_a_folder_under_the_name_of_the_file_is_an_error(place, server):
    server.does[f"/a/{NAME}"] = sends(CONTENT)
    (place.file / "inside").mkdir(parents=True)
    with pytest.raises(DownloadError, match=re.escape(f"{place.file}: expected to keep a download there")):
        place.fetch()
    assert place.left() == [place.file, place.file / "inside"]


@pytest.mark.parametrize("faster", [True, False])
def test_a_file_that_another_process_reads_is_not_replaced(place, server, monkeypatch, faster):
    """Windows refuses that; it does not matter if the file is the right one."""

    def refuse(source, target):
        if faster:
            Path(target).write_bytes(CONTENT)
        raise PermissionError(errno.EACCES, "in use")

    server.does[f"/a/{NAME}"] = sends(CONTENT)
    monkeypatch.setattr("shutil.move", refuse)
    if faster:
        place.fetch()
        assert place.has_just_the_file()
    else:
        assert "it cannot be written ([Errno 13] in use)" in place.fails()


def test_where_the_cache_is(monkeypatch, tmp_path):
    def folder():
        return download._files("cifar10")[0].path.parents[1]

    assert folder() == pooch.os_cache("normalization-course")
    for chosen, parent in ((str(tmp_path / "mine"), tmp_path), ("~/mine", Path.home()), ("mine", Path.cwd())):
        monkeypatch.setenv("COURSE_DATA", chosen)
        assert folder() == parent / "mine"


# Files that somebody else packed

PACKED = packed(CONTENT)
ANEW = {"another level": gzip.compress(CONTENT, 1, mtime=5), "two members": packed(CONTENT[:9]) + packed(CONTENT[9:])}
SUMS = {
    name: "sha256:" + hashlib.sha256(data).hexdigest() for name, data in (("packed", PACKED), ("unpacked", CONTENT))
}
EXPECTED = f"{SUMS['packed']} or, unpacked, {SUMS['unpacked']}"


@pytest.fixture
def packed_place(place):
    """The registry knows the checksum of the packed file and that of its content."""
    write_registry(place.registry, {"set": {NAME: PACKED}}, place.mirrors, unpacked=True)
    place.bare = place.file.with_suffix("")
    place.file.parent.mkdir(parents=True)
    return place


@pytest.mark.parametrize("content", [PACKED, *ANEW.values()], ids=["as published", *ANEW])
@pytest.mark.parametrize("offline", ["", "1"])
def test_a_cached_file_with_the_right_content_is_right_however_it_is_packed(
    packed_place, server, monkeypatch, content, offline
):
    monkeypatch.setenv("COURSE_OFFLINE", offline)
    packed_place.file.write_bytes(content)
    assert packed_place.fetch() == {NAME: packed_place.file}
    assert packed_place.file.read_bytes() == content
    assert server.asked == []


def test_an_unpacked_file_does_where_there_is_no_packed_one(packed_place, server):
    packed_place.bare.write_bytes(CONTENT)
    assert packed_place.fetch() == {NAME: packed_place.bare}
    packed_place.file.write_bytes(OTHER)
    assert packed_place.fetch() == {NAME: packed_place.bare}
    packed_place.file.write_bytes(PACKED)
    assert packed_place.fetch() == {NAME: packed_place.file}
    assert server.asked == []


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        (packed(OTHER), "sha256:" + hashlib.sha256(OTHER).hexdigest()),
        (packed(CONTENT + b"x"), "sha256:" + hashlib.sha256(CONTENT + b"x").hexdigest()),
        (PACKED[:-9], "nothing that can be read"),
        (PACKED[:-1] + b"x", "nothing that can be read"),
        (PACKED[:10] + b"\7" + PACKED[11:], "nothing that can be read"),  # no such block
        (CONTENT, "nothing that can be read"),
        (b"", "sha256:" + hashlib.sha256(b"").hexdigest()),
    ],
)
def test_other_content_is_refused_with_both_checksums_and_fetched_again(
    packed_place, server, monkeypatch, content, holds
):
    packed_place.file.write_bytes(content)
    packed_place.bare.write_bytes(OTHER)
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    with pytest.raises(DownloadError) as caught:
        packed_place.fetch()
    found = "sha256:" + hashlib.sha256(content).hexdigest()
    assert f"{packed_place.file} is corrupted (expected {EXPECTED}, found {found} and, unpacked, {holds})" in str(
        caught.value
    )
    assert packed_place.file.read_bytes() == content
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    server.does[f"/a/{NAME}"] = sends(PACKED)
    assert packed_place.fetch() == {NAME: packed_place.file}
    assert packed_place.file.read_bytes() == PACKED


def test_a_mirror_has_to_send_the_file_of_the_publisher(packed_place, server):
    server.does[f"/a/{NAME}"] = sends(ANEW["another level"])
    message = packed_place.fails()
    assert re.search("ValueError: SHA256 hash of downloaded file .* does not match", message)
    assert f"Put the file by hand as\n  {packed_place.file}\n  ({len(PACKED)} bytes, {EXPECTED}).\n" in message


def test_without_the_checksum_of_the_content_a_file_that_was_packed_anew_is_refused(packed_place, monkeypatch):
    write_registry(packed_place.registry, {"set": {NAME: PACKED}})
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    packed_place.bare.write_bytes(CONTENT)
    packed_place.file.write_bytes(ANEW["another level"])
    with pytest.raises(DownloadError, match=f"is corrupted .expected {SUMS['packed']}, found sha256:[0-9a-f]+., and"):
        packed_place.fetch()


def test_a_file_that_changes_is_looked_at_again_also_inside(packed_place, monkeypatch):
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    packed_place.file.write_bytes(ANEW["another level"])
    packed_place.fetch()
    packed_place.file.write_bytes(packed(OTHER))
    os.utime(packed_place.file, ns=(0, 0))
    with pytest.raises(DownloadError, match="is corrupted"):
        packed_place.fetch()


def test_images_are_the_same_from_unpacked_files_and_from_those_that_were_packed_anew(tmp_path, monkeypatch):
    files = mnist_files(30, 10)
    contents = {name: gzip.decompress(content) for name, content in files.items()}
    ways = {
        "published": files,
        "anew": {name: gzip.compress(content, 1, mtime=5) for name, content in contents.items()},
        "unpacked": {name.removesuffix(".gz"): content for name, content in contents.items()},
    }
    registry = write_registry(tmp_path / "registry.toml", {"mnist": files}, unpacked=True)
    monkeypatch.setenv("COURSE_REGISTRY", str(registry))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    found = {}
    for way, cached in ways.items():
        write_cache(tmp_path / way, {"mnist": cached})
        monkeypatch.setenv("COURSE_DATA", str(tmp_path / way))
        found[way] = data.mnist(seed=0)
    for way in ("anew", "unpacked"):
        np.testing.assert_array_equal(found[way].x, found["published"].x)
        np.testing.assert_array_equal(found[way].y, found["published"].y)


# The registry


def test_an_unknown_data_set_is_refused_with_those_that_are_known():
    known = "name: expected one of mnist, fashion_mnist, cifar10, got 'imagenet'"
    with pytest.raises(ValueError, match=re.escape(f"{known}; these are the data sets of {REGISTRY}")):
        fetch("imagenet")


SET = "[set]\nmirrors = []\nfiles = "
NO_REGISTRY = {
    None: "expected a TOML file like .*, got: .*No such file",
    "[set": "expected a TOML file like .*, got: ",
    "[set]\nfiles = [{name = 'a', size = 1, hash = 'md5:0'}]": "expected mirrors, and files .* KeyError: 'mirrors'",
    "[set]\nmirrors = []": "got KeyError: 'files'",
    SET + "[{name = 'a', hash = 'md5:0'}]": "got KeyError: 'size'",
    SET + "[{name = 'a', size = 1, hash = '0'}]": r"hash \(algorithm:digest\), got ValueErr",
    SET + "[{name = 'a', size = 1, hash = 'md5:0', unpacked = '0'}]": r"hash \(algorithm:digest\), got ValueErr",
    SET + "[{name = 'a', size = 1, hash = 'md5:0', unpacked = 1}]": "got AttributeError",
    SET + "['a']": "got TypeError",
    "set = 1": "got TypeError",
}


@pytest.mark.parametrize(("text", "message"), NO_REGISTRY.items())
def test_a_registry_that_is_none_is_refused(tmp_path, text, message):
    registry = tmp_path / "registry.toml"
    if text is not None:
        registry.write_text(text)
    with pytest.raises(ValueError, match=f"^registry {re.escape(str(registry))}: .*{message}"):
        fetch("set", registry=registry)


def test_the_registry_of_the_course_is_complete():
    tables = tomllib.loads(REGISTRY.read_text(encoding="utf-8"))
    idx = [f"{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    names = {name: [file["name"] for file in table["files"]] for name, table in tables.items()}
    assert names == {"mnist": idx, "fashion_mnist": idx, "cifar10": ["cifar-10-binary.tar.gz"]}
    for table in tables.values():
        assert table["source"]
        hosts = [urlsplit(mirror).netloc for mirror in table["mirrors"]]
        assert len(set(hosts)) == len(hosts) >= 2
        assert all(re.fullmatch(r"https?://[^/]+/(.+/)?", mirror) for mirror in table["mirrors"])
        for file in table["files"]:
            assert set(file) - {"unpacked"} == {"name", "size", "hash"}
            assert file["size"] > 0
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file[key]) for key in {"hash", "unpacked"} & set(file))
    files = [file for table in tables.values() for file in table["files"]]
    hashes = [file[key] for file in files for key in ("hash", "unpacked") if key in file]
    assert len(set(hashes)) == len(hashes) == 9 + 8
    assert [file["name"] for file in files if "unpacked" not in file] == ["cifar-10-binary.tar.gz"]
