"""Arguments that nothing can be made of: each promised ValueError is one, with a sentence, before any work."""

import contextlib
import importlib
import inspect
import math
import pkgutil
import re

import numpy as np
import pytest
import torch
from image_fixtures import cifar_files, mnist_files, packed
from matplotlib.figure import Figure

import utils
from utils import arrays, data, download, evidence, image_files, plotting, runtime, small_mnist, widgets
from utils.byhand import (
    activation_norms,
    gradient_check,
    initialization,
    loss_surface,
    normalization,
    standardization,
)
from utils.lab import history, networks, optim, probes, processes, replicas, sequences, sync_batch_norm, training

RNG = np.random.default_rng
UNUSABLE = {
    "None": None,
    "word": "two",
    "object": object(),
    "nan": math.nan,
    "inf": math.inf,
    "-1": -1,
    "2.5": 2.5,
    "True": True,
    "ragged": [[1.0], [1.0, 2.0]],
    "six axes": np.ones((1, 2, 3, 1, 2, 3)),
    "empty": np.empty(0),
    "words": ["one", "two"],
}


class May:
    """A usable value of an argument, and which of the values above can be used, too."""

    def __init__(self, value, *usable):
        self.value, self.usable = value, usable


class Taken(Exception):
    """All arguments were taken; the work would begin here."""


def anything(value):
    """An argument that takes any object, or goes to another library as it is."""
    return May(value, *UNUSABLE)


def fraction(value=0.25):
    return May(value)


def at_least_zero(value):
    return May(value, "2.5")


def real(value):
    return May(value, "2.5", "-1")


def batch(*shape):
    return RNG(0).normal(size=shape)


SPLIT = data.iris(seed=0)
IMAGES = data.digits(seed=0)


def network(**how):
    return replicas.Stack.of(lambda seed: networks.mlp(4, 3, seed=seed, width=5, depth=2, **how), range(2))


def trained_network():
    split = SPLIT.with_validation(seed=0)
    return training.fit(network(), split, steps=2, batch_size=4, learning_rates=[0.1, 0.2])


def tensors():
    x = torch.tensor(SPLIT.x_train[:6], dtype=torch.float32).expand(2, 6, 4).clone()
    return x, torch.tensor(SPLIT.y_train[:6]).expand(2, 6).clone()


def cache_of(function, *args, **how):
    return function(*args, **how)[1]


def trained(layer, *shape):
    layer.forward(batch(*shape))
    return layer


def sized(shape=(3, 4), **more):
    return {"shape": shape, **more}


LOADED = {"seed": May(0), "test_fraction": fraction()}
DOWNLOADED = {"seed": May(0), "n_train": May(5, "None"), "n_test": May(5, "None")}
IDX, (CIFAR,) = list(mnist_files(2, 2).values()), cifar_files(5, 2).values()
MNIST_5K = packed("".join(f"{'0,' * 784}{i % 10}\n" for i in range(5000)).encode())
CLAIM = "leakage-flatters"
X, Y, H = batch(8, 3), batch(8), np.diag([1.0, 2.0, 3.0])


def calls():
    """For every public name that promises a ValueError, what to call and with which arguments it can be called."""
    bn, renorm = normalization.BatchNorm, activation_norms.BatchRenorm
    of_bn = {"eps": May(1e-5, "2.5"), "momentum": May(0.1, "None"), "affine": anything(True)}
    backwards = {"x": batch(5, 3)}, {"dy": batch(5, 3)}
    norm_cache = cache_of(normalization.normalize_forward, batch(5, 3), axes=0)
    group_cache = cache_of(activation_norms.group_norm_forward, batch(5, 6), groups=2)
    rms_cache = cache_of(activation_norms.rms_norm_forward, batch(5, 3))
    standardizer, whitener = (kind().fit(X) for kind in (standardization.Standardizer, standardization.Whitener))
    x, y = tensors()
    parts = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y}
    net = {
        "activation": "relu",
        "norm": May(None, "None"),
        "place": "before",
        "norm_input": May(None, "None"),
        "init": "default",
        "dropout": 0.1,
    }
    sequence = {"n_in": 4, "n_out": 3, "seed": May(0), "token": 2}
    fig = Figure()
    ax = fig.subplots()
    look = {"color": anything("black"), "label": anything("a")}
    fit = {
        "model": network(),
        "split": SPLIT,
        "steps": 2,
        "batch_size": 4,
        "learning_rates": at_least_zero(0.1),
        "optimizer": optim.SGD,
        "loss": training.cross_entropy,
        "watch": May(None, "None"),
    }
    return {
        "byhand.activation_norms.BatchRenorm": (
            renorm,
            {"num_features": 3, "r_max": May(3.0, "2.5", "inf"), "d_max": May(5.0, "2.5", "inf"), **of_bn},
        ),
        "byhand.activation_norms.BatchRenorm.forward": (renorm(3).forward, backwards[0]),
        "byhand.activation_norms.BatchRenorm.backward": (trained(renorm(3), 5, 3).backward, backwards[1]),
        "byhand.activation_norms.group_norm_backward": (
            activation_norms.group_norm_backward,
            {"dy": batch(5, 6), "cache": group_cache},
        ),
        "byhand.activation_norms.group_norm_forward": (
            activation_norms.group_norm_forward,
            {
                "x": batch(5, 6),
                "gamma": May(np.ones(6), "None"),
                "beta": May(np.ones(6), "None"),
                "groups": 2,
                "eps": at_least_zero(1e-5),
            },
        ),
        "byhand.activation_norms.rms_norm_backward": (
            activation_norms.rms_norm_backward,
            {"dy": batch(5, 3), "cache": rms_cache},
        ),
        "byhand.activation_norms.rms_norm_forward": (
            activation_norms.rms_norm_forward,
            {
                "x": May(batch(5, 3), "six axes"),
                "gamma": May(np.ones(3), "None", "2.5", "nan", "inf"),
                "axes": May(-1, "-1"),
                "eps": at_least_zero(1e-5),
            },
        ),
        "arrays.float_array": (
            arrays.float_array,
            {"values": May(X, "2.5", "six axes", "empty"), "name": anything("x"), "finite": anything(True)},
        ),
        "arrays.generator": (arrays.generator, {"seed": 0, "name": anything("seed")}),
        "arrays.instance": (
            arrays.instance,
            {
                "value": May(1.5, "2.5", "nan", "inf"),
                "kind": anything(float),
                "name": anything("x"),
                "what": anything("a number"),
            },
        ),
        "arrays.matrix": (
            arrays.matrix,
            {"values": X, "name": anything("X"), "min_rows": 2, "n_features": May(3, "None")},
        ),
        "arrays.number": (
            arrays.number,
            {
                "value": 0.5,
                "name": anything("x"),
                "at_least": anything(0),
                "above": anything(None),
                "at_most": anything(1),
                "below": anything(None),
                "finite": anything(True),
                "hint": anything(""),
            },
        ),
        "arrays.numeric": (
            arrays.numeric,
            {"values": May(X, "nan", "inf", "-1", "2.5", "six axes", "empty"), "name": anything("x")},
        ),
        "arrays.one_of": (
            arrays.one_of,
            {"value": "a", "names": anything(("a", "b")), "name": anything("x"), "hint": anything("")},
        ),
        "arrays.targets": (arrays.targets, {"values": Y, "n": 8, "name": anything("y")}),
        "arrays.whole": (
            arrays.whole,
            {
                "value": 1,
                "name": anything("x"),
                "at_least": anything(1),
                "at_most": anything(None),
                "hint": anything(""),
            },
        ),
        "splits.Split": (
            data.Split,
            {
                **parts,
                "feature_names": ("a", "b", "c"),
                "x_validation": X,
                "y_validation": Y,
                "image_shape": May((1, 1, 3), "None"),
            },
        ),
        "splits.Split.first": (SPLIT.first, {"n": 5}),
        "splits.Split.hold_out": (SPLIT.hold_out, {"seed": 0, "fraction": fraction()}),
        "splits.Split.with_validation": (SPLIT.with_validation, {"seed": 0, "fraction": fraction()}),
        "splits.Split.with_wrong_labels": (SPLIT.with_wrong_labels, {"share": 0.5, "seed": 0}),
        "data.ages_and_incomes": (data.ages_and_incomes, {**LOADED, "n": 20}),
        **{
            f"data.{name}": (getattr(data, name), LOADED)
            for name in ("breast_cancer", "diabetes", "diabetes_in_own_units", "digits", "iris", "wine")
        },
        **{f"data.{name}": (getattr(data, name), DOWNLOADED) for name in ("cifar10", "fashion_mnist", "mnist")},
        **{f"{place}.mnist_5k": (data.mnist_5k, DOWNLOADED) for place in ("data", "small_mnist")},
        "data.images": (data.images, {**DOWNLOADED, "dataset": May("digits", "None")}),
        "data.photo_patches": (data.photo_patches, {"seed": 0, "n": 2, "size": 3}),
        "data.standardize_channels": (data.standardize_channels, {"split": IMAGES}),
        "data.two_features": (
            data.two_features,
            {"seed": 0, "n": 10, "ratio": at_least_zero(2.0), "correlation": 0.5, "noise": at_least_zero(0.5)},
        ),
        "lab.sync_batch_norm.SyncBatchNorm": (
            sync_batch_norm.SyncBatchNorm,
            {"num_features": 3, **of_bn, "track_running_stats": anything(True), "group": anything(None)},
        ),
        "lab.sync_batch_norm.SyncBatchNorm.forward": (
            sync_batch_norm.SyncBatchNorm(3).eval().forward,
            {"x": torch.ones(2, 3)},
        ),
        "lab.processes.run": (
            processes.run,
            {"world_size": 1, "job": math.sqrt, "timeout": May(0.1, "2.5")},
        ),
        "download.fetch": (download.fetch, {"name": "mnist", "registry": May(None, "None")}),
        "evidence.check": (
            evidence.check,
            {
                "claim_id": CLAIM,
                "error": May(0.0, "nan", "inf", "-1", "2.5"),
                "tolerance": at_least_zero(1e-9),
                "path": evidence.CLAIMS,
            },
        ),
        "evidence.claims": (evidence.claims, {"path": evidence.CLAIMS}),
        "evidence.judge": (
            evidence.judge,
            {
                "claim_id": CLAIM,
                "effect": Y,
                "timed": anything(False),
                "path": evidence.CLAIMS,
            },
        ),
        "byhand.gradient_check.numerical_gradient": (
            gradient_check.numerical_gradient,
            {"f": np.sum, "x": May(X, "2.5", "six axes", "empty"), "step": at_least_zero(1e-5)},
        ),
        "byhand.gradient_check.relative_error": (gradient_check.relative_error, {"ours": X, "reference": X}),
        "image_files.read_cifar10": (image_files.read_cifar10, {"source": CIFAR}),
        "image_files.read_mnist_5k": (image_files.read_mnist_5k, {"source": MNIST_5K}),
        "image_files.read_idx": (image_files.read_idx, {"source": IDX[0], "kind": "images"}),
        "image_files.read_labelled_images": (
            image_files.read_labelled_images,
            {"images": IDX[0], "labels": IDX[1]},
        ),
        "byhand.initialization.constant": (initialization.constant, sized(value=real(1.0))),
        "byhand.initialization.fans": (initialization.fans, sized()),
        "byhand.initialization.gain": (
            initialization.gain,
            {"nonlinearity": "leaky_relu", "param": May(0.1, "None", "2.5", "-1")},
        ),
        **{
            f"byhand.initialization.kaiming_{kind}": (
                getattr(initialization, f"kaiming_{kind}"),
                sized(rng=0, mode="fan_in", a=real(0.0)),
            )
            for kind in ("normal", "uniform")
        },
        **{
            f"byhand.initialization.{name}": (getattr(initialization, name), sized(rng=0))
            for name in ("lecun_normal", "lecun_uniform", "pytorch_default")
        },
        **{
            f"byhand.initialization.{name}": (getattr(initialization, name), sized(rng=0, gain=at_least_zero(1.0)))
            for name in ("orthogonal", "xavier_normal", "xavier_uniform")
        },
        "byhand.initialization.lsuv": (
            initialization.lsuv,
            {"weights": May([batch(4, 3)], "empty"), "activation": np.tanh, "X": X},
        ),
        "byhand.initialization.measured_gain": (initialization.measured_gain, {"function": np.tanh}),
        "byhand.initialization.normal": (initialization.normal, sized(std=at_least_zero(1.0), rng=0)),
        **{
            f"byhand.loss_surface.{name}": (getattr(loss_surface, name), {"H": H})
            for name in ("best_lr", "heavy_ball", "largest_stable_lr")
        },
        "byhand.loss_surface.condition_number": (loss_surface.condition_number, {"X": X}),
        "byhand.loss_surface.descend": (
            loss_surface.descend,
            {
                "X": X,
                "y": Y,
                "lr": May(0.1, "2.5"),
                "steps": 3,
                "start": May(np.ones(3), "None"),
                "momentum": at_least_zero(0.5),
                "batch_size": May(2, "None"),
                "rng": RNG(0),
            },
        ),
        "byhand.loss_surface.gradient": (loss_surface.gradient, {"X": X, "y": Y, "w": May(np.ones(3), "six axes")}),
        "byhand.loss_surface.hessian": (loss_surface.hessian, {"X": X}),
        "byhand.loss_surface.loss": (loss_surface.loss, {"X": X, "y": Y, "w": May(np.ones(3), "six axes")}),
        "byhand.loss_surface.minimum": (loss_surface.minimum, {"X": X, "y": Y}),
        "lab.networks.Dropout": (networks.Dropout, {"p": 0.1, "generator": anything(None)}),
        "lab.networks.conv_net": (
            networks.conv_net,
            {
                "image_shape": (1, 8, 8),
                "n_out": 3,
                "seed": May(0),
                "channels": (2, 3),
                "pool_after": May((1,), "empty"),
                "kernel_size": 3,
                **net,
            },
        ),
        "lab.networks.initialize": (
            networks.initialize,
            {"network": torch.nn.Linear(3, 2), "seed": May(0), "init": "zeros"},
        ),
        "lab.networks.mlp": (networks.mlp, {"n_in": 4, "n_out": 3, "seed": May(0), "width": 5, "depth": 2, **net}),
        "lab.replicas.Stack": (replicas.Stack, {"networks": [torch.nn.Linear(4, 3)] * 2, "seeds": May([0, 1], "None")}),
        "lab.replicas.Stack.check": (
            network().check,
            {"x": x, "y": May(y, "None"), "name": anything("x")},
        ),
        "lab.replicas.Stack.forward": (network().forward, {"x": x}),
        "lab.replicas.Stack.of": (
            replicas.Stack.of,
            {"build": lambda seed: torch.nn.Linear(4, 3), "seeds": [0, 1]},
        ),
        "lab.replicas.Stack.record": (network().record, {"x": x, "kinds": (torch.nn.ReLU,)}),
        "lab.replicas.Stack.replica": (network().replica, {"r": 0}),
        "lab.sequences.RNN": (
            sequences.RNN,
            {**sequence, "width": 5, "norm": May(None, "None"), "gain": at_least_zero(1.0)},
        ),
        "lab.sequences.Transformer": (
            sequences.Transformer,
            {
                **sequence,
                "width": 4,
                "depth": 1,
                "heads": 2,
                "norm": torch.nn.LayerNorm,
                "place": "pre",
                "init": "orthogonal",
            },
        ),
        "lab.sync_batch_norm.convert": (
            sync_batch_norm.convert,
            {"module": torch.nn.BatchNorm1d(3), "group": anything(None)},
        ),
        "byhand.normalization.BatchNorm": (bn, {"num_features": 3, **of_bn, "track_running_stats": anything(True)}),
        "byhand.normalization.BatchNorm.forward": (bn(3).forward, backwards[0]),
        "byhand.normalization.BatchNorm.backward": (trained(bn(3), 5, 3).backward, backwards[1]),
        "byhand.normalization.BatchNorm.load_state_dict": (bn(3).load_state_dict, {"state": bn(3).state_dict()}),
        "byhand.normalization.normalize_backward": (
            normalization.normalize_backward,
            {"dy": batch(5, 3), "cache": norm_cache},
        ),
        "byhand.normalization.normalize_forward": (
            normalization.normalize_forward,
            {
                "x": May(batch(5, 3), "six axes"),
                "gamma": May(np.ones(3), "None", "2.5", "nan", "inf"),
                "beta": May(np.ones(3), "None", "2.5", "nan", "inf"),
                "axes": May(0, "-1"),
                "eps": at_least_zero(1e-5),
            },
        ),
        "lab.optim.Adam": (
            optim.Adam,
            {
                "parameters": May([torch.nn.Parameter(torch.ones(2, 3))], "empty"),
                "learning_rates": [0.1, 0.2],
                "betas": (0.9, 0.99),
                "eps": at_least_zero(1e-8),
                "weight_decay": at_least_zero(0.0),
                "schedule": May(None, "None"),
            },
        ),
        "lab.optim.SGD": (
            optim.SGD,
            {
                "parameters": May([torch.nn.Parameter(torch.ones(2, 3))], "empty"),
                "learning_rates": [0.1, 0.2],
                "momentum": 0.5,
                "weight_decay": at_least_zero(0.0),
                "schedule": May(None, "None"),
            },
        ),
        "plotting.draw_band": (
            plotting.draw_band,
            {
                "ax": ax,
                "x": np.arange(3.0),
                "values": batch(4, 3),
                **look,
                "marker": anything("o"),
                "linestyle": anything("-"),
            },
        ),
        "plotting.draw_bowl": (
            plotting.draw_bowl,
            {"ax": ax, "X": X[:, :2], "y": Y, "limits": (-1, 1, -1, 1), "levels": 3, "cmap": anything("Greys")},
        ),
        "plotting.draw_path": (plotting.draw_path, {"ax": ax, "path": batch(4, 2), **look}),
        "plotting.show": (plotting.show, {"fig": fig, "alt": May("A figure.", "word")}),
        "lab.probes.activations": (probes.activations, {"model": network(), "x": x, "kinds": (torch.nn.ReLU,)}),
        "lab.probes.covariate_shift": (
            probes.covariate_shift,
            {"model": network(), "x": x, "y": y, "learning_rates": May(0.1, "nan", "inf", "-1", "2.5")},
        ),
        "lab.probes.gradient_norms": (probes.gradient_norms, {"model": network(), "x": x, "y": y}),
        "lab.probes.jacobian_singular_values": (
            probes.jacobian_singular_values,
            {"model": network(), "x": x[:, 0]},
        ),
        "lab.probes.landscape": (probes.landscape, {"model": network(), "x": x, "y": y, "lengths": [0.1, 0.2]}),
        "lab.probes.percentiles": (
            probes.percentiles,
            {
                "model": network(),
                "x": x,
                "layer": May(-1, "-1"),
                "unit": 0,
                "q": May((15, 50), "2.5", "empty"),
                "kinds": (torch.nn.ReLU,),
            },
        ),
        "runtime.configure": (runtime.configure, {"threads": 1}),
        **{
            f"byhand.standardization.{type(scaler).__name__}.{name}": (
                getattr(scaler, name),
                {"X": X},
            )
            for scaler in (standardizer, whitener)
            for name in ("fit", "transform")
        },
        "byhand.standardization.Whitener": (standardization.Whitener, {"method": "zca"}),
        "lab.history.one_or_each": (
            history.one_or_each,
            {
                "values": May(0.5, "nan", "inf", "-1", "2.5"),
                "n": 3,
                "name": anything("x"),
                "what": anything("replicas"),
            },
        ),
        "lab.history.History.at": (trained_network().at, {"rate": 0.1}),
        "lab.history.History.at_best": (trained_network().at(0.1).at_best, {"part": "test"}),
        "lab.history.History.best_rate": (trained_network().at(0.1).best_rate, {"part": "test"}),
        "lab.history.History.final": (trained_network().final, {"part": "test"}),
        "lab.history.History.grid": (trained_network().at(0.1).grid, {"values": May([1.0], "words")}),
        "lab.history.History.steps_to": (
            trained_network().steps_to,
            {"accuracy": May(50.0, "nan", "inf", "-1", "2.5"), "part": "test"},
        ),
        "lab.history.History.usable_range": (
            trained_network().at(0.1).usable_range,
            {"accuracy": May(50.0, "nan", "inf", "-1", "2.5"), "part": "test"},
        ),
        "lab.training.batches": (
            training.batches,
            {"n": 10, "batch_size": 2, "steps": 3, "seed": 0, "reshuffle": anything(True)},
        ),
        "lab.training.fit": (training.fit, fit),
        "lab.training.outputs": (training.outputs, {"model": network(), "split": SPLIT, "part": "test"}),
        "lab.training.sweep": (
            training.sweep,
            {
                "build": lambda seed: networks.mlp(4, 3, seed=seed, width=5, depth=2),
                "splits": [SPLIT, SPLIT],
                "learning_rates": at_least_zero([0.1, 0.2]),
                **{name: value for name, value in fit.items() if name not in ("model", "split", "learning_rates")},
            },
        ),
        "widgets.control": (widgets.control, {"kind": "FloatSlider", "value": anything(0.5)}),
        "widgets.loss_surface_walk": (
            widgets.loss_surface_walk,
            {
                "seed": 0,
                "steps": 3,
                "lr": May(0.1, "2.5"),
                "ratio": at_least_zero(2.0),
                "momentum": at_least_zero(0.0),
                "batch_size": 100,
            },
        ),
    }


def raises(thing):
    """The section Raises of a docstring."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    found = re.search(r"^Raises\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def promises():
    """Every public function, class and method of utils that promises a ValueError."""
    found = {}
    for module in pkgutil.walk_packages(utils.__path__, "utils."):
        space, place = importlib.import_module(module.name), module.name.removeprefix("utils.")
        for name in getattr(space, "__all__", ()):
            thing = getattr(space, name)
            if not callable(thing):
                continue
            found[f"{place}.{name}"] = thing
            if inspect.isclass(thing):
                methods = {key: value for key, value in vars(thing).items() if inspect.isfunction(value)}
                found |= {f"{place}.{name}.{key}": value for key, value in methods.items() if key[0] != "_"}
    return {name: thing for name, thing in found.items() if "ValueError" in raises(thing)}


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """No network, no figure windows, and the environment of a reader."""
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def start(*command, **how):
        raise Taken

    monkeypatch.setattr(processes.mp, "start_processes", start)
    monkeypatch.setattr(small_mnist, "_find", start)
    for name in ("CI", "DATASET", "COURSE_REGISTRY"):
        monkeypatch.delenv(name, raising=False)


CALLS = calls()
CASES = [
    (name, argument)
    for name, (_, arguments) in CALLS.items()
    for argument, value in arguments.items()
    if not isinstance(value, May) or len(value.usable) < len(UNUSABLE)
]


def test_every_promise_is_held_to_it():
    assert set(promises()) <= set(CALLS)


@pytest.mark.parametrize("name", sorted(set(CALLS) & set(promises())))
def test_every_argument_is_tried(name):
    function, arguments = CALLS[name]
    parameters = inspect.signature(function).parameters.values()
    assert {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} <= set(arguments)


@pytest.mark.parametrize(("name", "argument"), CASES, ids=[".".join(case) for case in CASES])
def test_what_nothing_can_be_made_of_is_refused_with_a_sentence(name, argument):
    function, arguments = CALLS[name]
    usable = arguments[argument].usable if isinstance(arguments[argument], May) else ()
    given = {key: each.value if isinstance(each, May) else each for key, each in arguments.items()}
    faults = []
    for label, value in UNUSABLE.items():
        try:
            function(**given | {argument: value})
        except (Taken, download.DownloadError):  # what is missing is no argument
            faults += [] if label in usable else [f"{label}: no error"]
        except Exception as error:
            if isinstance(error, IndexError) and "IndexError" in raises(function):
                continue
            if not isinstance(error, ValueError) or "expected" not in str(error):
                faults.append(f"{label}: {error!r}")
        else:
            faults += [] if label in usable else [f"{label}: no error"]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", CALLS)
def test_what_can_be_used_is_taken(name):
    function, arguments = CALLS[name]
    with contextlib.suppress(Taken, download.DownloadError):
        function(**{key: each.value if isinstance(each, May) else each for key, each in arguments.items()})
