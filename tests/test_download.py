"""Downloads from a server on this computer that does what servers do: answer, lie, break off, stall, dribble."""

import errno
import hashlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pooch
import pytest
from image_fixtures import mnist_files, running_server, sends, write_cache, write_registry

from utils import data, download
from utils.download import REGISTRY, DownloadError, fetch

pytestmark = pytest.mark.timeout(200)  # some start two Pythons

ROOT = Path(__file__).resolve().parents[1]
NAME = "numbers.gz"
CONTENT = np.random.default_rng(0).bytes(60_000)  # a few chunks
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.fixture(autouse=True)
def _an_environment_without_surprises(monkeypatch):
    for name in ("COURSE_DATA", "COURSE_OFFLINE", "COURSE_REGISTRY", "DATASET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with running_server() as server:
        yield server


@pytest.fixture
def place(tmp_path, server, monkeypatch):
    """One file with two mirrors on the server, /a/ and /b/, which have nothing yet."""

    class Place:
        folder = tmp_path / "cache"
        file = folder / "set" / NAME
        registry = tmp_path / "registry.toml"

        def fetch(self):
            return fetch("set", registry=self.registry)

        def fails(self):
            """What the error says; no file and nothing temporary is left."""
            with pytest.raises(DownloadError) as caught:
                self.fetch()
            assert self.left() == []
            return str(caught.value)

        def left(self):
            """Every file and every folder but that of the data set."""
            return sorted(path for path in self.folder.rglob("*") if path != self.file.parent)

        def has_just_the_file(self):
            return self.left() == [self.file] and self.file.read_bytes() == CONTENT

    monkeypatch.setenv("COURSE_DATA", str(Place.folder))
    monkeypatch.setattr(download, "TIMEOUT", 5)
    write_registry(Place.registry, {"set": {NAME: CONTENT}}, [server.url("/a/"), server.url("/b/")])
    server.does = {f"/a/{NAME}": says(404), f"/b/{NAME}": says(404)}
    return Place()


# What servers do


def says(status, **headers):
    def does(handler):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return does


def stalls(server, content):
    """Send some bytes of the many announced, and no more."""

    def does(handler):
        sends(content, length=len(CONTENT))(handler)
        server.closing.wait(timeout=60)

    return does


def says_nothing(server):
    return lambda handler: server.closing.wait(timeout=60)


def dribbles(server, size, pause):
    """Send the right bytes, a few at a time."""

    def does(handler):
        sends(b"", length=len(CONTENT))(handler)
        for start in range(0, len(CONTENT), size):
            handler.wfile.write(CONTENT[start : start + size])
            if server.closing.wait(pause):
                return

    return does


def never_ends(server):
    def does(handler):
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.is_set():
            handler.wfile.write(CONTENT)

    return does


def sends_in_small_chunks(handler, pause=0):
    """As a server does that does not know the length beforehand; with a pause in the middle."""
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for start in range(0, len(CONTENT), 600):
        time.sleep(pause if start == 30_000 else 0)
        handler.wfile.write(b"258\r\n" + CONTENT[start : start + 600] + b"\r\n")
    handler.wfile.write(b"0\r\n\r\n")


# A file that comes


@pytest.mark.parametrize("does", [sends(CONTENT), sends_in_small_chunks])
def test_the_right_file_comes_everybody_may_read_it_and_it_is_asked_for_once(place, server, does):
    server.does |= {f"/a/{NAME}": says(302, Location=server.url("/elsewhere")), "/elsewhere": does}
    for _ in range(2):
        assert place.fetch() == {NAME: place.file}
        assert place.has_just_the_file()
    assert place.file.stat().st_mode & 0o444 == 0o444
    assert server.asked == [f"/a/{NAME}", "/elsewhere"]


def test_files_come_in_the_order_of_the_registry(place, server):
    files = {"b": b"one", "a": b"two", "c": b""}
    server.does = {f"/a/{name}": sends(content) for name, content in files.items()}
    write_registry(place.registry, {"set": files}, [server.url("/a/")], algorithm="md5")
    from_file, from_dict = place.fetch(), fetch("set", registry=tomllib.loads(place.registry.read_text()))
    assert {name: path.read_bytes() for name, path in from_file.items()} == files
    assert list(from_file.items()) == list(from_dict.items())
    assert list(from_file) == list(files)


def test_the_bar_says_what_comes_from_where_and_how_much_and_pooch_says_nothing(place, server, capsys):
    server.does[f"/a/{NAME}"] = dribbles(server, size=15_000, pause=0.15)
    handler, records = logging.Handler(), []
    handler.emit = records.append
    pooch.get_logger().addHandler(handler)
    place.fetch()
    pooch.get_logger().removeHandler(handler)
    shown = capsys.readouterr().err
    assert f"{NAME} from {urlsplit(server.url('')).netloc}" in shown
    assert re.search(r" 50%.* 30.0k/60.0k ", shown)  # after the first pause; tqdm draws every 0.1 s
    assert records == []


def test_the_bar_counts_bytes_also_where_the_server_does_not_say_how_many(place, server, capsys):
    server.does[f"/a/{NAME}"] = lambda handler: sends_in_small_chunks(handler, pause=0.15)
    place.fetch()
    assert re.search(r" 51%.* 30.6k/60.0k ", capsys.readouterr().err)  # the chunk after the pause


def test_until_it_is_complete_a_file_has_another_name(place, server):
    seen = []

    def does(handler):
        sends(CONTENT[:40_000], length=len(CONTENT))(handler)
        time.sleep(0.1)
        seen.extend(place.left())
        handler.wfile.write(CONTENT[40_000:])

    server.does[f"/a/{NAME}"] = does
    place.fetch()
    assert len(seen) == 1
    assert place.file not in seen
    assert place.has_just_the_file()


# Mirrors that fail

OTHER_BYTES = "ValueError: SHA256 hash of downloaded file .* does not match"
FAILURES = {
    "other bytes": (lambda server: sends(OTHER), OTHER_BYTES),
    "cut off": (lambda server: sends(CONTENT[:30_000], length=len(CONTENT)), "ProtocolError: .*30000 more expected"),
    "no header": (lambda server: lambda handler: handler.wfile.write(CONTENT[:500]), "ConnectionError: "),
    "empty": (lambda server: sends(b""), OTHER_BYTES),
    "too long": (lambda server: sends(CONTENT + bytes(20_000)), "ValueError: expected 60000 bytes, got more"),
    "endless": (never_ends, "ValueError: expected 60000 bytes, got more"),
    "not there": (lambda server: says(404), "HTTPError: 404 Client Error: Not Found"),
    "broken": (lambda server: says(503), "HTTPError: 503 Server Error"),
    "a page to log in": (lambda server: sends(b"<html>log in</html>"), OTHER_BYTES),
    "round and round": (lambda server: says(302, Location=f"/a/{NAME}"), "TooManyRedirects: "),
    "silent": (says_nothing, "ReadTimeout: .*read timeout=0.2"),
    "stalled": (lambda server: stalls(server, CONTENT[:30_000]), "ReadTimeoutError: .*Read timed out"),
}


@pytest.mark.parametrize(("does", "why"), FAILURES.values(), ids=FAILURES)
def test_the_second_mirror_is_asked_and_if_it_fails_the_error_says_why_and_what_to_do(
    place, server, does, why, monkeypatch
):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.does = {f"/a/{NAME}": does(server), f"/b/{NAME}": says(404)}
    message = place.fails()
    first, second = re.escape(server.url(f"/a/{NAME}")), re.escape(server.url(f"/b/{NAME}"))
    pattern = rf"^set: no mirror could provide {NAME}:\n  {first}\n    {why}.*\n  {second}\n    HTTPError: 404 .*\nPut"
    assert re.search(pattern, message)
    assert f"Put the file by hand as\n  {place.file}\n  (60000 bytes, {SHA256}).\n" in message
    assert message.endswith("The default data set, digits, needs no download: unset DATASET.")
    server.does[f"/b/{NAME}"] = sends(CONTENT)
    assert place.fetch() == {NAME: place.file}
    assert place.has_just_the_file()


def test_a_port_where_nobody_listens_and_an_address_that_is_none(place, server):
    with socket.socket() as taken:  # bound, so that nobody else listens there, and not listening
        taken.bind(("127.0.0.1", 0))
        closed = f"http://{'127.0.0.1'}:{taken.getsockname()[1]}/"
        write_registry(place.registry, {"set": {NAME: CONTENT}}, [closed, "nowhere", server.url("/b/")])
        assert re.search(
            rf"{closed}{NAME}\n    ConnectionError: .*refused.*\n  nowhere{NAME}\n    Missing", place.fails()
        )
        server.does[f"/b/{NAME}"] = sends(CONTENT)
        place.fetch()
    assert place.has_just_the_file()


@pytest.mark.parametrize(("size", "pause"), [(17_000, 0.4), (1, 0.05)])
def test_a_slow_server_cannot_hold_up_the_others(place, server, size, pause, monkeypatch):
    # It never stalls for as long as the timeout; the second would take 50 minutes.
    monkeypatch.setattr(download, "LIMIT", 1.6)
    server.does = {f"/a/{NAME}": dribbles(server, size, pause), f"/b/{NAME}": sends(CONTENT)}
    start = time.monotonic()
    place.fetch()
    assert 0.8 <= time.monotonic() - start < 1.6 + pause  # half of the limit for the first mirror
    assert place.has_just_the_file()
    assert server.asked == [f"/a/{NAME}", f"/b/{NAME}"]


def test_slow_servers_alone_are_an_error_after_the_limit(place, server, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", 0.4)
    server.does = {f"/a/{NAME}": dribbles(server, 17_000, 0.15), f"/b/{NAME}": says_nothing(server)}
    start = time.monotonic()
    message = place.fails()
    assert time.monotonic() - start < 3
    assert len(re.findall(r"    TimeoutError: not finished after 0\.\d+ seconds\n", message)) == 2


def test_time_that_one_mirror_does_not_take_is_left_for_the_next(place, server, monkeypatch):
    monkeypatch.setattr(download, "LIMIT", 1.4)
    server.does[f"/b/{NAME}"] = dribbles(server, 17_000, 0.25)  # 0.75 s, more than half of the limit
    place.fetch()
    assert place.has_just_the_file()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals to a thread are POSIX")
def test_an_interrupted_download_leaves_nothing(place, server):
    main = threading.main_thread().ident

    def does(handler):
        sends(CONTENT[:20_000], length=len(CONTENT))(handler)
        server.closing.wait(timeout=0.5)  # until it waits for more: inside tqdm a signal would leave a lock behind
        signal.pthread_kill(main, signal.SIGINT)
        server.closing.wait(timeout=60)

    server.does[f"/a/{NAME}"] = does
    with pytest.raises(KeyboardInterrupt):
        place.fetch()
    assert place.left() == []
    assert server.asked == [f"/a/{NAME}"]


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
            assert set(file) == {"name", "size", "hash"}
            assert file["size"] > 0
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"])
    hashes = [file["hash"] for table in tables.values() for file in table["files"]]
    assert len(set(hashes)) == len(hashes) == 9


# All together


def test_a_data_set_comes_from_the_server_into_a_split(tmp_path, server, monkeypatch):
    files = mnist_files(30, 10)
    server.does = {f"/b/{name}": sends(content) for name, content in files.items()}
    server.does |= {f"/a/{name}": says(404) for name in files}
    mirrors = [server.url("/a/"), server.url("/b/")]
    monkeypatch.setenv("COURSE_REGISTRY", str(write_registry(tmp_path / "registry.toml", {"mnist": files}, mirrors)))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
    assert data.mnist().x.shape == (40, 784)
    assert len(server.asked) == 8
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert data.mnist(n_train=5).x_train.shape == (5, 784)
    assert len(server.asked) == 8
