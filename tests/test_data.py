"""The data sets against scikit-learn's own, the generators against what they promise."""

import itertools
import os
import shutil

import image_fixtures
import numpy as np
import pytest
import torch
from image_fixtures import cifar_files, idx, mnist_files, packed, write_cache, write_registry
from scipy.stats import skew, spearmanr
from sklearn import datasets

from utils import data, image_files
from utils.data import Split
from utils.download import DownloadError

SKLEARN = {
    data.iris: datasets.load_iris,
    data.wine: datasets.load_wine,
    data.breast_cancer: datasets.load_breast_cancer,
    data.diabetes: datasets.load_diabetes,
    data.diabetes_in_own_units: lambda: datasets.load_diabetes(scaled=False),
    data.digits: datasets.load_digits,
}
CLASSES = [data.iris, data.wine, data.breast_cancer, data.digits]
EVERY = [*SKLEARN, data.ages_and_incomes]


def rows(x, y):
    """The examples with their targets, in an order of their own."""
    table = np.column_stack([x, y])
    return table[np.lexsort(table.T)]


def same(one, other):
    parts = ("x_train", "y_train", "x_test", "y_test")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.mark.parametrize(("load", "original"), SKLEARN.items())
def test_a_split_has_every_example_once_with_its_target(load, original):
    bunch, split = original(), load(seed=3)
    np.testing.assert_array_equal(rows(split.x, split.y), rows(bunch.data, bunch.target))
    assert split.feature_names == tuple(bunch.feature_names)


@pytest.mark.parametrize("load", EVERY)
def test_the_seed_decides_the_split(load):
    rng = np.random.default_rng(1)
    assert same(load(seed=1), load(seed=1))
    assert same(load(seed=rng), load(seed=1))
    assert not same(load(seed=rng), load(seed=1))  # a generator is drawn from
    assert not same(load(seed=1), load(seed=2))


@pytest.mark.parametrize("load", EVERY)
def test_dtypes_and_sizes(load):
    for fraction in (0.1, 0.25, 0.5):
        split = load(test_fraction=fraction)
        assert split.x_train.dtype == split.x_test.dtype == np.float64
        assert split.y.dtype == (np.int64 if load in CLASSES else np.float64)
        assert len(split.x_test) == np.ceil(fraction * len(split.x))
        assert len(split.feature_names) == split.x.shape[1]
        assert all(type(name) is str for name in split.feature_names)
        if load in CLASSES:  # the counts of a class are rounded to whole examples in each part
            shares = [np.bincount(y) / len(y) for y in (split.y_train, split.y_test)]
            np.testing.assert_allclose(*shares, atol=2 / len(split.y_test))
    for fraction in (0, 1, -0.5, 1.5, np.nan):
        with pytest.raises(ValueError, match=f"^test_fraction: expected a number between 0 and 1, got {fraction}"):
            load(test_fraction=fraction)


class TestStandardizeChannels:
    def split(self, dtype=np.float64):
        rng = np.random.default_rng(0)
        x = {part: rng.uniform(0, 255, (n, 3, 4, 5)) * [[[[1]], [[0.1]], [[0.01]]]] for part, n in self.SIZES.items()}
        arrays = {f"x_{part}": images.reshape(len(images), -1).astype(dtype) for part, images in x.items()}
        targets = {f"y_{part}": rng.integers(2, size=n) for part, n in self.SIZES.items()}
        return Split(**arrays, **targets, image_shape=(3, 4, 5))

    SIZES = {"train": 7, "validation": 3, "test": 2}

    def test_it_does_what_torch_does_to_a_batch(self):
        # torch's batch norm in training mode takes the same statistics, of each channel over images and pixels.
        split = self.split()
        images = torch.from_numpy(split.x_train).view(-1, 3, 4, 5)
        expected = torch.nn.functional.batch_norm(images, None, None, training=True, eps=1e-12).numpy()
        standard = data.standardize_channels(split)
        np.testing.assert_allclose(standard.x_train, expected.reshape(7, -1), rtol=1e-10, atol=1e-10)  # its eps

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_every_part_is_moved_by_the_statistics_of_the_training_part(self, dtype):
        split = self.split(dtype)
        before = split.x.copy()
        standard = data.standardize_channels(split)
        train = split.x_train.astype(np.float64).reshape(-1, 3, 20)
        mean, deviation = train.mean(axis=(0, 2), keepdims=True), train.std(axis=(0, 2), keepdims=True)
        for part, n in self.SIZES.items():
            expected = (getattr(split, f"x_{part}").reshape(n, 3, 20) - mean) / deviation
            np.testing.assert_allclose(getattr(standard, f"x_{part}").reshape(n, 3, 20), expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(getattr(standard, f"y_{part}"), getattr(split, f"y_{part}"))
        np.testing.assert_array_equal(split.x, before)
        assert standard.x_validation.dtype == dtype
        assert standard.image_shape == (3, 4, 5)

    def test_without_a_validation_part_there_is_none_afterwards(self):
        assert data.standardize_channels(data.digits()).x_validation is None

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_constant_channel_is_only_centred(self, dtype):
        x = self.split(dtype).x_train.copy()
        x[:, 20:40] = 0.1  # its mean over 140 numbers is not exactly 0.1
        test = x + 1
        y = np.zeros(7, np.int64)
        standard = data.standardize_channels(Split(x, y, test, y, image_shape=(3, 4, 5)))
        np.testing.assert_array_equal(standard.x_train[:, 20:40], 0)
        np.testing.assert_allclose(standard.x_test[:, 20:40], 1, rtol=1e-6)  # float32
        assert np.abs(standard.x_train[:, :20]).max() > 1

    def test_a_table_is_no_image(self):
        with pytest.raises(
            ValueError, match=r"expected images, that is image_shape=\(channels, height, width\), got none"
        ):
            data.standardize_channels(data.wine())


class TestAgesAndIncomes:
    def test_ranges_and_shapes_are_as_promised(self):
        split = data.ages_and_incomes(n=4000)
        age, income = split.x.T
        assert 10 <= age.min() < 11  # 4000 uniform ages come within a year of both ends
        assert 49 < age.max() <= 50
        assert 10_000 <= income.min() < 20_000
        assert 490_000 < income.max() <= 500_000
        # A Gaussian copula of 0.5 has this rank correlation; the standard error at 4000 is 0.016.
        np.testing.assert_allclose(spearmanr(age, income).statistic, 6 / np.pi * np.arcsin(0.25), atol=0.05)
        # The square of a uniform variable has skewness 0.64, the uniform one none; standard errors 0.03.
        np.testing.assert_allclose([skew(age), skew(income)], [0, 0.6389], atol=0.1)

    def test_both_features_contribute_alike(self):
        split = data.ages_and_incomes(n=4000)
        Z = (split.x - split.x.mean(axis=0)) / split.x.std(axis=0)
        # Ten points for a standard deviation of either; the noise of 3 leaves standard errors of 0.05, the sample's
        # deviation errs by 1 %.
        np.testing.assert_allclose(np.linalg.lstsq(Z, split.y - 50, rcond=None)[0], [10, 10], atol=0.4)

    def test_it_needs_eight_people(self):
        assert len(data.ages_and_incomes(n=8).x) == 8
        with pytest.raises(ValueError, match="n: expected an integer of at least 8, got 7"):
            data.ages_and_incomes(n=7)


class TestTwoFeatures:
    @pytest.mark.parametrize(("ratio", "correlation"), [(1.0, 0.5), (1e-3, -0.9), (1000.0, 0.0)])
    def test_scales_and_correlation_are_exact(self, ratio, correlation):
        X, y = data.two_features(seed=0, ratio=ratio, correlation=correlation, n=37)
        np.testing.assert_allclose(X.std(axis=0), [1, ratio], rtol=1e-12)  # rounding, here and below
        np.testing.assert_allclose(np.corrcoef(X, rowvar=False)[0, 1], correlation, atol=1e-12)
        np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-13 * ratio + 1e-13)
        np.testing.assert_allclose(y.mean(), 0, atol=1e-13)
        assert X.shape == (37, 2)

    def test_without_noise_the_features_explain_the_target(self):
        X, y = data.two_features(seed=0, ratio=10, noise=0)
        np.testing.assert_allclose(np.linalg.lstsq(X, y, rcond=None)[0], [1.5, 0.15], rtol=1e-12)  # rounding

    def test_the_noise_has_the_deviation_asked_for(self):
        quiet, loud = (data.two_features(seed=0, n=2000, noise=noise)[1] for noise in (0, 0.5))
        np.testing.assert_allclose(np.std(loud - quiet), 0.5, rtol=0.08)  # five standard errors of 1 / sqrt(4000)

    def test_the_seed_decides(self):
        one, again, other = (data.two_features(seed=seed)[0] for seed in (0, np.random.default_rng(0), 1))
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    @pytest.mark.parametrize(
        "arguments", [{"n": 2}, {"ratio": 0}, {"ratio": -1}, {"ratio": np.nan}, {"correlation": 1}, {"correlation": -1}]
    )
    def test_what_is_out_of_range_is_refused(self, arguments):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected a[n ].*, got ") as caught:
            data.two_features(seed=0, **arguments)
        assert str(*arguments.values()) in str(caught.value)


class TestPhotoPatches:
    def test_every_patch_is_a_piece_of_its_photograph(self):
        photos = datasets.load_sample_images().images
        for i, patch in enumerate(data.photo_patches(n=4, size=8)):
            photo = photos[i % 2]
            corners = np.argwhere((photo[:-7, :-7] == patch[:, 0, 0]).all(axis=-1))
            pieces = (photo[top : top + 8, left : left + 8] for top, left in corners)
            assert any(np.array_equal(piece, patch.transpose(1, 2, 0)) for piece in pieces)

    def test_shape_dtype_and_seed(self):
        patches = data.photo_patches(n=6, size=5, seed=4)
        assert patches.shape == (6, 3, 5, 5)
        assert patches.dtype == np.float64
        assert 0 <= patches.min() < patches.max() <= 255
        np.testing.assert_array_equal(patches, data.photo_patches(n=6, size=5, seed=4))
        assert not np.array_equal(patches, data.photo_patches(n=6, size=5, seed=5))

    @pytest.mark.parametrize(
        ("arguments", "got"),
        [
            ({"n": 1}, 1),
            ({"size": 0}, 0),
            ({"size": 401}, 401),
        ],
    )
    def test_what_is_out_of_range_is_refused(self, arguments, got):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected an integer .*, got {got}"):
            data.photo_patches(**arguments)


N_TRAIN, N_TEST = 60, 25
DOWNLOADED = {"mnist": data.mnist, "fashion_mnist": data.fashion_mnist, "cifar10": data.cifar10}
SHAPES = {"mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


@pytest.fixture(scope="session")
def sets():
    return {
        "mnist": mnist_files(N_TRAIN, N_TEST, seed=0),
        "fashion_mnist": mnist_files(N_TRAIN, N_TEST, seed=1),
        "cifar10": cifar_files(N_TRAIN, N_TEST, seed=2),
    }


@pytest.fixture
def offline(sets, tmp_path, monkeypatch):
    """Small data sets in the format of the large ones, in a cache of their own, and no network."""
    write_cache(tmp_path, sets)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_REGISTRY", str(write_registry(tmp_path / "registry.toml", sets)))
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.delenv("DATASET", raising=False)
    return tmp_path


def official(sets, name):
    """The parts of a fixture, read once more and flattened."""
    files, read = list(sets[name].values()), image_files.read_labelled_images
    parts = image_files.read_cifar10(*files) if name == "cifar10" else read(*files[:2]) + read(*files[2:])
    return [part.reshape(len(part), -1) if part.ndim > 1 else part for part in parts]


@pytest.mark.parametrize("name", DOWNLOADED)
class TestDownloaded:
    def test_all_images_come_in_their_official_parts(self, offline, sets, name):
        split = DOWNLOADED[name](seed=1)
        x_train, y_train, x_test, y_test = official(sets, name)
        np.testing.assert_array_equal(rows(split.x_train, split.y_train), rows(x_train, y_train))
        np.testing.assert_array_equal(rows(split.x_test, split.y_test), rows(x_test, y_test))
        assert split.image_shape == SHAPES[name]
        assert split.x.dtype == np.float32
        assert split.y.dtype == np.int64
        assert split.x.max() == 255
        assert split.x_validation is None

    def test_the_seed_draws_and_numbers_count(self, offline, sets, name):
        load = DOWNLOADED[name]
        split = load(seed=1, n_train=20, n_test=np.int64(10))
        assert (len(split.x_train), len(split.x_test)) == (20, 10)
        assert same(split, load(seed=np.random.default_rng(1), n_train=20, n_test=10))
        assert not np.array_equal(split.x_train, load(seed=2, n_train=20, n_test=10).x_train)
        assert not np.array_equal(split.x_test, load(seed=2, n_train=20, n_test=10).x_test)
        assert not np.array_equal(load(seed=1).x_train, official(sets, name)[0])  # in an order of its own
        everything = {row.tobytes() for row in np.column_stack(official(sets, name)[:2]).astype(np.float32)}
        drawn = [row.tobytes() for row in np.column_stack([split.x_train, split.y_train]).astype(np.float32)]
        assert set(drawn) <= everything
        assert len(set(drawn)) == 20

    def test_what_was_read_is_kept_and_cannot_be_spoilt(self, offline, name, monkeypatch):
        split = DOWNLOADED[name](seed=1)
        before = split.x.copy()
        split.x_train[:] = 0
        monkeypatch.setattr(image_files, "read_cifar10", None)
        monkeypatch.setattr(image_files, "read_labelled_images", None)
        np.testing.assert_array_equal(DOWNLOADED[name](seed=1).x, before)

    def test_numbers_that_are_none_are_refused_before_anything_is_fetched(self, name, monkeypatch):
        monkeypatch.setattr(data.download, "fetch", None)
        for part, n in itertools.product(("n_train", "n_test"), (0, -1, 1.5, "all", True)):
            for load in (DOWNLOADED[name], data.images):
                with pytest.raises(ValueError, match=f"{part}: expected a positive integer, got {n!r}; None takes all"):
                    load(**{part: n})

    def test_more_than_there_are_cannot_be_had(self, offline, name):
        for part, most in (("n_train", N_TRAIN), ("n_test", N_TEST)):
            message = f"{part}: expected at most {most}, all that {name} has there, got {most + 1}"
            with pytest.raises(ValueError, match=message):
                DOWNLOADED[name](**{part: most + 1})
            assert len(DOWNLOADED[name](**{part: most}).x) == N_TRAIN + N_TEST

    def test_a_missing_file_is_the_error_of_the_download(self, offline, name):
        shutil.rmtree(offline / name)
        with pytest.raises(DownloadError, match=f"{name}: .* is not in the cache, and COURSE_OFFLINE=1 forbids a dow"):
            DOWNLOADED[name]()

    def test_images_go_through_a_convolution_of_torch(self, offline, name):
        split = data.standardize_channels(data.images(dataset=name, n_train=60, n_test=5).with_validation(seed=0))
        assert (len(split.x_train), len(split.x_validation), len(split.x_test)) == (45, 15, 5)
        x = torch.from_numpy(split.x_train).view(-1, *split.image_shape)
        layer = torch.nn.Conv2d(split.image_shape[0], 4, 3, padding=1)
        assert layer(x).shape == (45, 4, *split.image_shape[1:])
        assert torch.nn.functional.cross_entropy(layer(x).mean(dim=(2, 3)), torch.from_numpy(split.y_train) % 4) > 0

    def test_the_reader_chooses_by_argument_or_environment(self, offline, name, monkeypatch):
        expected = DOWNLOADED[name](seed=3, n_train=40, n_test=10)
        assert same(data.images(seed=3, dataset=name, n_train=40, n_test=10), expected)
        monkeypatch.setenv("DATASET", name)
        assert same(data.images(seed=3, n_train=40, n_test=10), expected)
        assert data.images(dataset="digits").image_shape == (1, 8, 8)  # the argument goes first
        assert len(data.images(n_train=None, n_test=None).x) == N_TRAIN + N_TEST
        with pytest.raises(ValueError, match=f"n_train: expected at most {N_TRAIN}, all that {name} has .*, got 4000"):
            data.images()


def test_files_that_change_are_read_again(offline, sets):
    """As when a reader puts another file there while a notebook runs."""
    before = data.mnist()
    changed = {"mnist": mnist_files(N_TRAIN, N_TEST, seed=9)}
    write_cache(offline, changed)
    write_registry(offline / "registry.toml", changed)
    for path in (offline / "mnist").iterdir():
        os.utime(path, ns=(0, 0))
    assert not np.array_equal(data.mnist().x, before.x)


def test_images_of_another_size_are_refused(offline, sets):
    wrong = packed(idx(np.zeros((N_TEST, 28, 27), np.uint8)))
    changed = {"mnist": {**sets["mnist"], "t10k-images-idx3-ubyte.gz": wrong}}
    write_cache(offline, changed)
    write_registry(offline / "registry.toml", changed)
    with pytest.raises(ValueError, match="t10k-images.*gz: expected images of 28 x 28 pixels, got 28 x 27"):
        data.mnist()


@pytest.mark.parametrize("chosen", [None, "", "digits"])
def test_digits_are_the_default_and_always_all_there(monkeypatch, chosen):
    monkeypatch.delenv("DATASET", raising=False)
    if chosen is not None:
        monkeypatch.setenv("DATASET", chosen)
    assert same(data.images(seed=4, n_train=10, n_test=10), data.digits(seed=4))


def test_an_unknown_data_set_is_refused_and_the_message_says_who_named_it(monkeypatch):
    known = "expected one of digits, mnist_5k, mnist, fashion_mnist, cifar10, got"
    monkeypatch.setenv("DATASET", "MNIST")
    with pytest.raises(ValueError, match=f"the environment variable DATASET: {known} 'MNIST'"):
        data.images()
    with pytest.raises(ValueError, match=f"the argument dataset: {known} 'imagenet'"):
        data.images(dataset="imagenet")


def test_the_fixture_for_people_works_as_it_says_and_can_be_learned(tmp_path, capsys, monkeypatch):
    image_fixtures.main([str(tmp_path), "--train", "400", "--test", "200"])
    line = capsys.readouterr().out
    for variable in line.removesuffix(" make course\n").split():
        monkeypatch.setenv(*variable.split("="))
    assert os.environ["DATASET"] == "mnist"
    split = data.images(n_train=400, n_test=200)
    # By the nearest image; guessing gets a tenth right.
    distances = ((split.x_test[:, None, ::4] - split.x_train[None, :, ::4]) ** 2).sum(axis=-1)
    assert np.mean(split.y_train[distances.argmin(axis=1)] == split.y_test) > 0.5
