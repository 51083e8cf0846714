"""Arguments that nothing can be made of: each promised ValueError is one, with a sentence, before any work."""

import contextlib
import functools
import importlib
import inspect
import math
import pkgutil
import re

import numpy as np
import pytest
import torch
from argument_values import (
    ANY,
    UNUSABLE,
    May,
    Taken,
    anything,
    at_least_zero,
    fraction,
    measured,
    optional,
    real,
)
from image_fixtures import cifar_files, mnist_files, packed
from matplotlib.figure import Figure

import utils
from utils import arrays, data, download, evidence, image_files, plotting, runtime, small_mnist, widgets
from utils.byhand import gradient_check, initialization, loss_surface, normalization, standardization
from utils.evidence import fingerprint, labs, papers, running, statistics
from utils.lab import (
    history,
    networks,
    optim,
    probes,
    processes,
    replicas,
    sequences,
    sync_batch_norm,
    training,
    trials,
)

RNG = np.random.default_rng


def batch(*shape):
    return RNG(0).normal(size=shape)


SPLIT = data.iris(seed=0)
IMAGES = data.digits(seed=0)


def network(**how):
    return replicas.Stack.of(lambda seed: networks.mlp(4, 3, seed=seed, width=5, depth=2, **how), range(2))


def tensors():
    x = torch.tensor(SPLIT.x_train[:6], dtype=torch.float32).expand(2, 6, 4).clone()
    return x, torch.tensor(SPLIT.y_train[:6]).expand(2, 6).clone()


def cache_of(function, *args, **how):
    return function(*args, **how)[1]


def trained(layer, *shape):
    layer.forward(batch(*shape))
    return layer


LOADED = {"seed": May(0), "test_fraction": fraction()}
DOWNLOADED = {"seed": May(0), "n_train": optional(5), "n_test": optional(5)}
IDX, (CIFAR,) = list(mnist_files(2, 2).values()), cifar_files(5, 2).values()
MNIST_5K = packed("".join(f"{'0,' * 784}{i % 10}\n" for i in range(5000)).encode())
CLAIM = next(name for name, claim in evidence.claims().items() if claim.kind == "measurement")
LAB = next((evidence.CLAIMS.parents[1] / "notebooks" / "labs").glob("01_*.ipynb"))
X, Y, H = batch(8, 3), batch(8), np.diag([1.0, 2.0, 3.0])


def takes(function, /, **arguments):
    """A function that promises a ValueError, by its full name, and arguments with which it can be called."""
    return f"{function.__module__}.{function.__qualname__}".removeprefix("utils."), (function, arguments)


def calls_in_numpy():
    norm, bn = normalization, normalization.BatchNorm
    of_bn = {"num_features": 3, "eps": May(1e-5, "2.5"), "momentum": optional(0.1), "affine": ANY}
    of_scale = May(np.ones(3), "None", "2.5", "nan", "inf")
    x, dy, eps = batch(5, 3), batch(5, 3), at_least_zero(1e-5)
    seen = May(x, "six axes")
    yield takes(bn, **of_bn, track_running_stats=ANY)
    yield takes(bn(3).forward, x=x)
    yield takes(trained(bn(3), 5, 3).backward, dy=dy)
    yield takes(bn(3).load_state_dict, state=bn(3).state_dict())
    yield takes(norm.normalize_forward, x=seen, gamma=of_scale, beta=of_scale, axes=May(0, "-1"), eps=eps)
    yield takes(norm.normalize_backward, dy=dy, cache=cache_of(norm.normalize_forward, x, axes=0))

    anywhere, step = May(X, "2.5", "six axes", "empty"), at_least_zero(1e-5)
    yield takes(gradient_check.numerical_gradient, f=np.sum, x=anywhere, step=step)
    yield takes(gradient_check.relative_error, ours=X, reference=X)
    yield takes(gradient_check.size_of, error=May(0.1, "2.5", "nan", "inf"))

    own = {"shape": (3, 4), "rng": 0}
    yield takes(initialization.fans, shape=(3, 4))
    yield takes(initialization.gain, nonlinearity="leaky_relu", param=May(0.1, "None", "2.5", "-1"))
    for draw in (initialization.kaiming_normal, initialization.kaiming_uniform):
        yield takes(draw, **own, mode="fan_in", a=real(0.0))
    yield takes(initialization.pytorch_default, **own)
    for draw in (initialization.xavier_normal, initialization.xavier_uniform):
        yield takes(draw, **own, gain=at_least_zero(1.0))
    yield takes(initialization.lsuv, weights=May([batch(4, 3)], "empty"), activation=np.tanh, X=X)
    yield takes(initialization.normal, **own, std=at_least_zero(1.0))

    for rule in (loss_surface.best_lr, loss_surface.heavy_ball, loss_surface.largest_stable_lr):
        yield takes(rule, H=H)
    walk = {"start": optional(np.ones(3)), "momentum": at_least_zero(0.5), "batch_size": optional(2), "rng": RNG(0)}
    yield takes(loss_surface.descend, X=X, y=Y, lr=May(0.1, "2.5"), steps=3, **walk)
    for at_weights in (loss_surface.gradient, loss_surface.loss, loss_surface.loss_parts):
        yield takes(at_weights, X=X, y=Y, w=May(np.ones(3), "six axes"))
    yield takes(loss_surface.hessian, X=X)
    yield takes(loss_surface.condition_number, X=X)
    yield takes(loss_surface.minimum, X=X, y=Y)

    yield takes(standardization.Whitener, method="zca")
    for kind in (standardization.Standardizer, standardization.Whitener):
        for method in ("fit", "transform"):
            place = f"byhand.standardization.{kind.__name__}.{method}"
            yield place, (getattr(kind().fit(X), method), {"X": X})


def calls_about_data():
    named = {"name": ANY}
    yield takes(arrays.float_array, values=May(X, "2.5", "six axes", "empty"), finite=ANY, **named)
    yield takes(arrays.generator, seed=0, **named)
    yield takes(arrays.instance, value=May(1.5, "2.5", "nan", "inf"), kind=anything(float), what=ANY, **named)
    yield takes(arrays.matrix, values=X, min_rows=2, n_features=optional(3), **named)
    limits = {"at_least": anything(0), "above": anything(None), "at_most": anything(1), "below": anything(None)}
    yield takes(arrays.number, value=0.5, **limits, finite=ANY, hint=ANY, **named)
    yield takes(arrays.numeric, values=May(X, "nan", "inf", "-1", "2.5", "six axes", "empty"), **named)
    yield takes(arrays.one_of, value="a", names=anything(("a", "b")), hint=ANY, **named)
    yield takes(arrays.targets, values=Y, n=8, **named)
    yield takes(arrays.whole, value=1, at_least=anything(1), at_most=anything(None), hint=ANY, **named)

    parts = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y, "x_validation": X, "y_validation": Y}
    yield takes(data.Split, **parts, feature_names=("a", "b", "c"), image_shape=optional((1, 1, 3)))
    yield takes(SPLIT.first, n=5)
    yield takes(SPLIT.hold_out, seed=0, fraction=fraction())
    yield takes(SPLIT.with_validation, seed=0, fraction=fraction())
    yield takes(SPLIT.with_wrong_labels, share=0.5, seed=0)
    for load in (data.breast_cancer, data.diabetes, data.diabetes_in_own_units, data.digits, data.iris, data.wine):
        yield takes(load, **LOADED)
    for load in (data.cifar10, data.fashion_mnist, data.mnist, data.mnist_5k):
        yield takes(load, **DOWNLOADED)
    yield takes(data.ages_and_incomes, **LOADED, n=20)
    yield takes(data.images, **DOWNLOADED, dataset=optional("digits"))
    yield takes(data.photo_patches, seed=0, n=2, size=3)
    yield takes(data.standardize_channels, split=IMAGES)
    drawn = {"ratio": at_least_zero(2.0), "correlation": 0.5, "noise": at_least_zero(0.5)}
    yield takes(data.two_features, seed=0, n=10, **drawn)
    yield takes(download.fetch, name="mnist", registry=optional(None))
    yield takes(image_files.read_cifar10, source=CIFAR)
    yield takes(image_files.read_mnist_5k, source=MNIST_5K)
    yield takes(image_files.read_idx, source=IDX[0], kind="images")
    yield takes(image_files.read_labelled_images, images=IDX[0], labels=IDX[1])
    yield takes(runtime.configure, threads=1)


def two_arms(seeds, data, steps, rates, device):
    """An experiment that measures two things."""
    return {arm: np.ones(len(seeds)) for arm in ("one", "other")}


@functools.wraps(evidence.experiment)
def declared(**how):
    return evidence.experiment(**how)(two_arms)


def calls_about_evidence():
    yield takes(evidence.claims, path=evidence.CLAIMS)
    yield takes(evidence.retired, path=evidence.CLAIMS)

    claims, nothing = {CLAIM: {"one": "one", "other": "other"}}, optional(None)
    how = {"resolution": May(0.01, "None", "2.5"), "waive": nothing, "path": evidence.CLAIMS}
    size = {"steps": 0, "budgets": (1, 4), "examples": 0, "live": 16, "seeds": nothing}
    yield takes(declared, claims=claims, rates=nothing, datasets=May(None, "None", "words"), **size, **how)
    made, record = declared(claims=claims, resolution=0.01), May(evidence.RECORD, "word")
    yield takes(evidence.live, experiment=made, record=anything(evidence.RECORD))
    yield takes(evidence.live(made).card, claim_id=CLAIM)
    yield takes(evidence.recorded, claim_id=CLAIM, record=record, path=evidence.CLAIMS)
    places = {"record": evidence.RECORD, "path": evidence.CLAIMS}
    yield takes(evidence.recorded_scores, claim_id="bn-best-against-best", **places)

    unit = {"experiment": "x", "dataset": "own data", "budget": 1, "first": 0, "n": 16, "steps": 0}
    unit |= {**labs.as_unit(made, running.run(made, range(16))), "fingerprint": "f", "device": "cpu"}
    yield takes(evidence.Record, path=record, known=nothing, forget=May((), "empty", "words"))
    yield takes(evidence.Record("no file").add, unit=unit)
    yield takes(fingerprint.fingerprint, source="def two_arms():\n    return 1", name="two_arms", run=ANY)
    yield takes(labs.open_lab, path=LAB)
    run = {"data": May(None, "None", "word"), "device": May("cpu", "word"), "budget": 1, "grids": nothing}
    yield takes(running.run, experiment=made, seeds=range(16), **run)
    yield takes(papers.paper_units, path=May("no file", "word"))
    yield takes(papers.spread, values=Y)
    yield takes(statistics.condition, effect=Y, claim=evidence.claims()[CLAIM])


def calls_of_figures():
    ax = (fig := Figure()).subplots()
    look = {"ax": ax, "color": anything("black"), "label": ANY}
    style = {"marker": anything("o"), "linestyle": anything("-")}
    yield takes(plotting.draw_band, x=np.arange(3.0), values=batch(4, 3), **look, **style)
    levels = {"limits": (-1, 1, -1, 1), "levels": 3, "cmap": anything("Greys")}
    yield takes(plotting.draw_batch_norm_graph, ax=ax, nodes=("y",))
    yield takes(plotting.draw_bowl, ax=ax, X=X[:, :2], y=Y, **levels)
    yield takes(plotting.draw_directions, ax=ax, X=X[:, :2], y=Y)
    yield takes(plotting.draw_parts, ax=ax, parts=batch(4, 2) ** 2, limits=(1e-8, 1e4), color=anything("black"))
    yield takes(plotting.draw_path, path=batch(4, 2), **look)
    yield takes(plotting.show, fig=fig, alt=May("A figure.", "word"))
    yield takes(widgets.control, kind="FloatSlider", value=anything(0.5))
    walk = {"ratio": at_least_zero(2.0), "momentum": at_least_zero(0.0), "batch_size": 100}
    yield takes(widgets.loss_surface_walk, seed=0, steps=3, lr=May(0.1, "2.5"), **walk)


def calls_in_pytorch():
    x, y = tensors()
    size = {"n_in": 4, "n_out": 3, "seed": May(0)}
    hidden = {"activation": "relu", "norm": optional(None), "norm_input": optional(None), "place": "before"}
    hidden |= {"init": "default", "dropout": 0.1}
    yield takes(networks.Dropout, p=0.1, generator=anything(None))
    yield takes(networks.initialize, network=torch.nn.Linear(3, 2), seed=May(0), init="zeros")
    yield takes(networks.make_norm, norm=optional("batch"), name=ANY, channels=anything(3), images=anything(True))
    yield takes(networks.second_generator, seed=May(0))
    yield takes(networks.mlp, **size, width=5, depth=2, **hidden)
    yield takes(sequences.RNN, **size, token=2, width=5, norm=optional(None), gain=at_least_zero(1.0))
    inner = {"width": 4, "depth": 1, "heads": 2, "norm": torch.nn.LayerNorm, "place": "pre", "init": "orthogonal"}
    yield takes(sequences.Transformer, **size, token=2, **inner)

    yield takes(replicas.Stack, networks=[torch.nn.Linear(4, 3)] * 2, seeds=optional([0, 1]))
    yield takes(replicas.Stack.of, build=lambda seed: torch.nn.Linear(4, 3), seeds=[0, 1])
    yield takes(network().check, x=x, y=optional(y), name=ANY)
    yield takes(network().forward, x=x)
    yield takes(network().record, x=x, kinds=(torch.nn.ReLU,))
    yield takes(network().replica, r=0)

    own = {"parameters": May([torch.nn.Parameter(torch.ones(2, 3))], "empty"), "learning_rates": [0.1, 0.2]}
    own |= {"weight_decay": at_least_zero(0.0), "schedule": optional(None)}
    yield takes(optim.Adam, **own, betas=(0.9, 0.99), eps=at_least_zero(1e-8))
    yield takes(optim.SGD, **own, momentum=0.5)

    how = {"steps": 2, "batch_size": 4, "optimizer": optim.SGD, "loss": training.cross_entropy, "watch": optional(None)}
    yield takes(training.batches, n=10, batch_size=2, steps=3, seed=0, reshuffle=ANY)
    yield takes(training.fit, model=network(), split=SPLIT, learning_rates=at_least_zero(0.1), **how)
    yield takes(training.outputs, model=network(), split=SPLIT, part="test")
    build = functools.partial(networks.mlp, 4, 3, width=5, depth=2)
    splits = {0: SPLIT.with_validation(seed=0)}
    yield takes(trials.scores, build=lambda seed: build(seed=seed), splits=splits, rates=[0.1], device="cpu", **how)

    result = training.fit(network(), SPLIT.with_validation(seed=0), steps=2, batch_size=4, learning_rates=[0.1, 0.2])
    yield takes(history.one_or_each, values=measured(0.5), n=3, name=ANY, what=ANY)
    yield takes(result.at, rate=0.1)
    yield takes(result.final, part="test")
    yield takes(result.steps_to, accuracy=measured(50.0), part="test")
    yield takes(result.at(0.1).at_best, part="test")
    yield takes(result.at(0.1).best_rate, part="test")
    yield takes(result.at(0.1).grid, values=May([1.0], "words"))
    yield takes(result.at(0.1).usable_range, accuracy=measured(50.0), part="test")

    seen = {"model": network(), "x": x}
    yield takes(probes.activations, **seen, kinds=(torch.nn.ReLU,))
    yield takes(probes.covariate_shift, **seen, y=y, learning_rates=measured(0.1))
    yield takes(probes.gradient_norms, **seen, y=y)
    yield takes(probes.landscape, **seen, y=y, lengths=[0.1, 0.2])

    of_norm = {"eps": May(1e-5, "2.5"), "momentum": optional(0.1), "affine": ANY, "track_running_stats": ANY}
    yield takes(sync_batch_norm.SyncBatchNorm, num_features=3, **of_norm, group=anything(None))
    yield takes(sync_batch_norm.SyncBatchNorm(3).eval().forward, x=torch.ones(2, 3))
    yield takes(sync_batch_norm.convert, module=torch.nn.BatchNorm1d(3), group=anything(None))
    yield takes(processes.run, world_size=1, job=math.sqrt, timeout=May(0.1, "2.5"))


def raises(thing):
    """The section Raises of a docstring."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    found = re.search(r"^Raises\n-+\n(.*?)(?=^\w[^\n]*\n-{3,}\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def promises():
    """Every public function, class and method of utils that promises a ValueError."""
    found = {}
    for module in pkgutil.walk_packages(utils.__path__, "utils."):
        space = importlib.import_module(module.name)
        for name in getattr(space, "__all__", ()):
            thing = getattr(space, name)
            if not callable(thing):
                continue
            place = thing.__module__.removeprefix("utils.")  # what a package offers comes from its modules
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


CALLS = dict(
    [*calls_in_numpy(), *calls_about_data(), *calls_about_evidence(), *calls_of_figures(), *calls_in_pytorch()]
)
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
