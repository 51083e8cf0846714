"""Scripts for the site: what is fetched, checked and unpacked; a server of our own stands in for npm's registry."""

import hashlib
import io
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import assets
import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCAL = "127.0.0.1"
MEMBERS = {"dist/one.js": b"one", "dist/deep/two.js": b"two", "readme.txt": b"not wanted", "LICENSE": b"free"}


def archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry with one package, a cache of its own, and what is to be asked of it."""
    content = archive({f"package/{name}": data for name, data in MEMBERS.items()})
    place = tmp_path / "registry" / "@some" / "tool" / "-"
    place.mkdir(parents=True)
    (place / "tool-1.2.3.tgz").write_bytes(content)
    server = ThreadingHTTPServer((LOCAL, 0), partial(Quiet, directory=str(tmp_path / "registry")))
    threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://{LOCAL}:{server.server_port}/")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "cache"))
    monkeypatch.delenv("COURSE_OFFLINE", raising=False)

    right = hashlib.sha256(content).hexdigest()

    def listed(*members, digest=right, version="1.2.3"):
        path = tmp_path / "assets.toml"
        lines = ['["@some/tool"]', f'version = "{version}"', f"size = {len(content)}", f'hash = "sha256:{digest}"']
        path.write_text("\n".join([*lines, f"members = {json.dumps(members)}"]), encoding="utf-8")
        return path

    yield listed
    server.shutdown()
    server.server_close()


def test_members_are_unpacked_under_their_names(registry, tmp_path):
    path = registry("dist/*", "LICENSE")
    written = assets.unpack("@some/tool", tmp_path / "out", path=path)
    found = {file.relative_to(tmp_path / "out").as_posix(): file.read_bytes() for file in written}
    assert found == {name: data for name, data in MEMBERS.items() if name != "readme.txt"}
    assert sorted(file for file in (tmp_path / "out").rglob("*") if file.is_file()) == sorted(written)


def test_what_was_fetched_is_used_without_a_network(registry, tmp_path, monkeypatch):
    path = registry("LICENSE")
    fetched = assets.fetch("@some/tool", path=path)
    assert fetched == tmp_path / "cache" / "npm" / "tool-1.2.3.tgz"
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://{LOCAL}:9/")
    assert assets.unpack("@some/tool", tmp_path / "out", path=path) == [tmp_path / "out" / "LICENSE"]


def test_another_checksum_is_refused_and_nothing_is_left(registry, tmp_path):
    path = registry("LICENSE", digest="0" * 64)
    with pytest.raises(assets.AssetError, match="no mirror could provide tool-1.2.3.tgz") as caught:
        assets.unpack("@some/tool", tmp_path / "out", path=path)
    assert "DATASET" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("*.tgz"))


def test_a_package_that_is_not_there_is_named_with_its_address(registry):
    path = registry("LICENSE", version="9.9.9")
    with pytest.raises(assets.AssetError, match=r"/@some/tool/-/tool-9\.9\.9\.tgz"):
        assets.fetch("@some/tool", path=path)


def test_without_a_network_the_message_says_where_to_put_the_file(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    with pytest.raises(assets.AssetError, match="COURSE_OFFLINE=1 forbids a download") as caught:
        assets.fetch("@some/tool", path=registry("LICENSE"))
    assert str(tmp_path / "cache" / "npm" / "tool-1.2.3.tgz") in str(caught.value)


def test_a_member_that_is_missing_is_named(registry, tmp_path):
    path = registry("LICENSE", "dist/three.js", "other/*")
    with pytest.raises(assets.AssetError, match=r"expected dist/three.js, other/\* in .*found none"):
        assets.unpack("@some/tool", tmp_path / "out", path=path)


def test_a_member_cannot_leave_the_folder(tmp_path, monkeypatch):
    evil = tmp_path / "evil.tgz"
    evil.write_bytes(archive({"package/../../outside.js": b"x", "package/inside.js": b"y"}))
    monkeypatch.setattr(assets, "fetch", lambda name, path: evil)
    monkeypatch.setattr(assets, "packages", lambda path: {"evil": {"members": ["*"]}})
    assert assets.unpack("evil", tmp_path / "a" / "b") == [tmp_path / "a" / "b" / "inside.js"]
    assert not list(tmp_path.rglob("outside.js"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[mathjax]\nversion = '1'\n", r"\[mathjax\]: expected version, size, hash and members; missing"),
        ("[mathjax\n", "expected a TOML file like"),
    ],
)
def test_a_bad_list_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "assets.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(assets.AssetError, match=sentence) as caught:
        assets.packages(path)
    assert "\n" not in str(caught.value).replace(text, "")


def test_a_list_that_is_not_there_and_an_unknown_package(tmp_path):
    with pytest.raises(assets.AssetError, match="expected a TOML file"):
        assets.packages(tmp_path / "nowhere.toml")
    with pytest.raises(assets.AssetError, match="expected one of mathjax, reveal.js.*got 'left-pad'"):
        assets.fetch("left-pad")


def test_the_packages_of_the_course_have_exact_versions_and_long_checksums():
    for name, table in assets.packages().items():
        assert table["version"].count(".") == 2, name
        assert len(table["hash"]) == len("sha256:") + 64, name
        assert table["members"], name
        assert any("LICENSE" in member for member in table["members"]), f"{name}: its licence must go with it"
