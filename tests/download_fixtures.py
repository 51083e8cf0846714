"""One file, its cache and a server with two mirrors for it, and what servers do: answer, stall, dribble, never end."""

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from image_fixtures import sends, write_registry

from utils import download
from utils.download import DownloadError, fetch

ROOT = Path(__file__).resolve().parents[1]
NAME = "numbers.gz"
CONTENT = np.random.default_rng(0).bytes(60_000)  # a few chunks
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


def without_surprises(monkeypatch):
    """An environment that says nothing about data sets, and no proxy."""
    for name in ("COURSE_DATA", "COURSE_OFFLINE", "COURSE_REGISTRY", "DATASET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")


class Place:
    """One file with two mirrors on the server, /a/ and /b/, which have nothing yet."""

    def __init__(self, tmp_path, server, monkeypatch):
        self.folder, self.registry = tmp_path / "cache", tmp_path / "registry.toml"
        self.file = self.folder / "set" / NAME
        self.mirrors = [server.url("/a/"), server.url("/b/")]
        monkeypatch.setenv("COURSE_DATA", str(self.folder))
        monkeypatch.setattr(download, "TIMEOUT", 5)
        write_registry(self.registry, {"set": {NAME: CONTENT}}, self.mirrors)
        server.does = {f"/a/{NAME}": says(404), f"/b/{NAME}": says(404)}

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
