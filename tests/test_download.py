"""Downloads from a server on this computer that does what servers do: answer, lie, break off, stall, dribble."""

import logging
import re
import signal
import socket
import threading
import time
import tomllib
from urllib.parse import urlsplit

import pooch
import pytest
from download_fixtures import (
    CONTENT,
    NAME,
    OTHER,
    SHA256,
    Place,
    dribbles,
    never_ends,
    says,
    says_nothing,
    sends_in_small_chunks,
    stalls,
    without_surprises,
)
from image_fixtures import mnist_files, running_server, sends, write_registry

from utils import data, download
from utils.download import fetch

pytestmark = pytest.mark.timeout(200)


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
