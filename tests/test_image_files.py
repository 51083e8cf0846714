"""The readers of IDX and CIFAR-10 files: what was written comes back, and nothing else passes."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from image_fixtures import CIFAR_MEMBERS, cifar_files, digit_images, idx, packed, records, tar

from utils.image_files import read_cifar10, read_idx, read_labelled_images

X, Y = digit_images(6, 1, 28, np.random.default_rng(0))
IMAGES, LABELS = idx(X[:, 0]), idx(Y)
AGAIN = "delete the file and let it download again"


# IDX


@settings(deadline=None)
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))),
    arrays(np.uint8, st.integers(1, 50), elements=st.integers(0, 9)),
)
def test_images_and_labels_come_back(images, labels):
    np.testing.assert_array_equal(read_idx(packed(idx(images)), kind="images"), images)
    np.testing.assert_array_equal(read_idx(packed(idx(labels)), kind="labels"), labels)


def test_a_file_written_by_hand():
    # Two images of one row and three columns, as the format's description has them: big-endian, row by row.
    data = bytes.fromhex("00000803 00000002 00000001 00000003  00 7f ff  01 02 03")
    images = read_idx(gzip.compress(data), kind="images")
    np.testing.assert_array_equal(images, [[[0, 127, 255]], [[1, 2, 3]]])
    labels = read_idx(gzip.compress(bytes.fromhex("00000801 00000002 09 00")), kind="labels")
    np.testing.assert_array_equal(labels, [9, 0])


def test_a_path_is_read_like_its_bytes_and_named_in_errors(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(packed(IMAGES))
    images = read_idx(path, kind="images")
    np.testing.assert_array_equal(images, X[:, 0])
    assert images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0
    path.write_bytes(packed(LABELS))
    with pytest.raises(ValueError, match=f"{path}: expected the magic number 0x00000803 of images, got 0x00000801; "):
        read_idx(path, kind="images")


def test_a_file_that_is_not_named_like_a_packed_one_may_be_unpacked(tmp_path):
    images, labels, archive = tmp_path / "images", tmp_path / "labels.idx1-ubyte", tmp_path / "cifar-10-binary.tar"
    for path, content in ((images, IMAGES), (labels, LABELS), (archive, ARCHIVE)):
        path.write_bytes(content)
    np.testing.assert_array_equal(read_labelled_images(images, str(labels))[0], X[:, 0])
    np.testing.assert_array_equal(read_labelled_images(images, str(labels))[1], Y)
    np.testing.assert_array_equal(read_cifar10(archive)[0], read_cifar10(packed(ARCHIVE))[0])
    images.write_bytes(IMAGES[:-1])
    with pytest.raises(
        ValueError, match=rf"^{images}: expected 4704 bytes \(6 x 28 x 28\) behind the header, got 4703; "
    ):
        read_idx(images, kind="images")
    named = images.rename(tmp_path / "images.gz")
    with pytest.raises(ValueError, match=f"^{named}: expected a whole gzip file, got 4719 bytes that are not one"):
        read_idx(named, kind="images")


def with_count(data, count):
    return data[:4] + struct.pack(">I", count) + data[8:]


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (packed(IMAGES)[:-20], "images", "expected a whole gzip file, got .* bytes that are not one .*ended before"),
        (packed(IMAGES)[:-1] + b"\1", "images", "expected a whole gzip file, .*Incorrect length"),
        (packed(IMAGES)[:40] + bytes(8) + packed(IMAGES)[48:], "images", "expected a whole gzip file"),
        (packed(IMAGES) + b"more", "images", "expected a whole gzip file"),
        (IMAGES, "images", "expected a whole gzip file, got 4720 bytes that are not one .*Not a gzipped file"),
        (b"<html>404</html>", "labels", "expected a whole gzip file, got 16 bytes that are not one"),
        (b"", "labels", "expected a header of 8 bytes, got 0 bytes in all"),
        (packed(b""), "labels", "expected a header of 8 bytes, got 0 bytes in all"),
        (packed(IMAGES[:15]), "images", "expected a header of 16 bytes, got 15 bytes in all"),
        (packed(IMAGES), "labels", "expected the magic number 0x00000801 of labels, got 0x00000803"),
        (packed(LABELS), "images", "expected the magic number 0x00000803 of images, got 0x00000801"),
        (packed(b"\0\0\x0c" + IMAGES[3:]), "images", "magic number 0x00000803 of images, got 0x00000c03"),
        (packed(IMAGES[:-1]), "images", r"expected 4704 bytes \(6 x 28 x 28\) behind the header, got 4703"),
        (packed(IMAGES + b"\0"), "images", r"expected 4704 bytes \(6 x 28 x 28\) behind the header, got 4705"),
        (packed(with_count(IMAGES, 5)), "images", r"expected 3920 bytes \(5 x 28 x 28\) behind the header, got 4704"),
        (packed(with_count(LABELS, 7)), "labels", r"expected 7 bytes \(7\) behind the header, got 6"),
        (packed(with_count(LABELS, 0)[:8]), "labels", "labels of at least one byte, got a header that says 0;"),
        (packed(idx(np.empty((3, 0, 28), np.uint8))), "images", "of at least one byte, .* that says 3 x 0 x 28;"),
        (packed(idx(np.array([0, 9, 10, 200], np.uint8))), "labels", "expected labels from 0 to 9, got 10 at image 2"),
    ],
)
def test_a_wrong_idx_file_is_refused(source, kind, message):
    with pytest.raises(ValueError, match=f"^these bytes: .*{message}") as caught:
        read_idx(source, kind=kind)
    assert str(caught.value).endswith(AGAIN)


def test_there_are_two_kinds():
    with pytest.raises(ValueError, match="kind: expected one of images, labels, got 'audio'"):
        read_idx(packed(IMAGES), kind="audio")


def test_images_and_labels_are_read_together(tmp_path):
    x, y = read_labelled_images(packed(IMAGES), packed(LABELS))
    np.testing.assert_array_equal(x, X[:, 0])
    np.testing.assert_array_equal(y, Y)
    (tmp_path / "x").write_bytes(packed(IMAGES))
    (tmp_path / "y").write_bytes(packed(idx(Y[:5])))
    message = f"{tmp_path / 'y'}: expected 6 labels, one for each image of {tmp_path / 'x'}, got 5; {AGAIN}"
    with pytest.raises(ValueError, match=message):
        read_labelled_images(tmp_path / "x", tmp_path / "y")


# CIFAR-10

COLOURED, CLASSES = digit_images(12, 3, 32, np.random.default_rng(1))


def members(**other):
    """The six members with two images each; `other` replaces the content of some, None takes a member away."""
    for i, name in enumerate(CIFAR_MEMBERS):
        content = other.get(name[:-4], records(COLOURED[2 * i : 2 * i + 2], CLASSES[2 * i : 2 * i + 2]))
        if content is not None:
            yield name, content


def test_cifar_comes_back_in_the_order_of_its_batches(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(packed(tar(list(members())[::-1])))  # the order in the archive does not matter
    x_train, y_train, x_test, y_test = read_cifar10(path)
    np.testing.assert_array_equal(np.concatenate([x_train, x_test]), COLOURED)
    np.testing.assert_array_equal(np.concatenate([y_train, y_test]), CLASSES)
    assert x_test.shape == (2, 3, 32, 32)
    for array in (x_train, y_train, x_test, y_test):
        assert array.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_record_is_a_label_and_three_planes():
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes(range(32)) * 32
    x_train, y_train, _, _ = read_cifar10(packed(tar(members(data_batch_1=record))))
    np.testing.assert_array_equal(x_train[0, :2], np.broadcast_to([[[1]], [[2]]], (2, 32, 32)))
    np.testing.assert_array_equal(x_train[0, 2], np.broadcast_to(np.arange(32), (32, 32)))
    assert y_train[0] == 7
    assert len(x_train) == 9


def test_batches_may_differ_in_length_and_the_folder_in_name():
    content = records(COLOURED[:5], CLASSES[:5])
    x_train, _, x_test, _ = read_cifar10(packed(tar(members(test_batch=content), folder="")))
    assert (len(x_train), len(x_test)) == (10, 5)


ARCHIVE, TEN = tar(members()), bytes(3073) + b"\x0a" + bytes(3072)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (packed(ARCHIVE)[:-30], "expected a whole gzip file"),
        (packed(ARCHIVE)[:1000], "expected a whole gzip file"),
        (ARCHIVE, "expected a whole gzip file"),
        (packed(ARCHIVE[:8000]), r"expected a whole tar archive, got one that breaks off or is none \(unexpected end"),
        (packed(ARCHIVE[:9000]), "the members data_batch_1.bin to .*, got no data_batch_2.bin"),  # within a header
        (packed(b"no archive" * 100), "expected a whole tar archive, got one that breaks off or is none"),
        (packed(tar(members(data_batch_3=None))), "the members data_batch_1.bin to .*, got no data_batch_3.bin"),
        (packed(tar(members(test_batch=None))), "the members data_batch_1.bin to .*, got no test_batch.bin"),
        (packed(tar([*members(), *members()])), "expected one member data_batch_1.bin, got two"),
        (packed(tar(members(data_batch_2=b""))), "data_batch_2.bin: expected records of 3073 bytes, .*got 0 bytes"),
        (packed(tar(members(test_batch=bytes(3074)))), "test_batch.bin: expected records .*, at least one, got 3074 b"),
        (packed(tar(members(data_batch_5=bytes(3072)))), "data_batch_5.bin: expected records of .*got 3072 bytes"),
        (packed(tar(members(data_batch_4=TEN))), "_4.bin: .* from 0 to 9, got 10 at image 1"),
    ],
)
def test_a_wrong_cifar_file_is_refused(source, message):
    with pytest.raises(ValueError, match=f"^these bytes: .*{message}") as caught:
        read_cifar10(source)
    assert str(caught.value).endswith(AGAIN)


def test_a_folder_with_the_name_of_a_member_is_none():
    with pytest.raises(ValueError, match=r"got no data_batch_1\.bin"):
        read_cifar10(packed(tar(members(data_batch_1=None), folder="data_batch_1.bin/")))


def test_the_fixtures_are_the_same_whenever_they_are_made():
    assert cifar_files(10, 2, seed=3) == cifar_files(10, 2, seed=3)
    assert cifar_files(10, 2, seed=3) != cifar_files(10, 2, seed=4)
