"""Homework 3, batch norm by hand."""

import numpy as np

from . import wrong


def rewritten(function, **changes):
    """The function, with some entries of its result put in place of others."""

    def changed(*arguments, **named):
        result = function(*arguments, **named)
        return {**result, **{key: change(result, *arguments, **named) for key, change in changes.items()}}

    return changed


@wrong("forward-scores")
def unbiased_variance(ours):
    def forward(x, gamma, beta, eps):
        mu, var = (getattr(x, what)(axis=ours["AXIS"], keepdims=True) for what in ("mean", "var"))
        var = var * x.shape[ours["AXIS"]] / (x.shape[ours["AXIS"]] - 1)
        inv_std = 1 / np.sqrt(var + eps)
        x_hat = (x - mu) * inv_std
        return {"mu": mu, "xc": x - mu, "var": var, "inv_std": inv_std, "x_hat": x_hat, "y": gamma * x_hat + beta}

    return {"forward": forward}


@wrong("forward-scores")
def eps_beside_the_root(ours):
    def forward(x, gamma, beta, eps):
        mu, var = (getattr(x, what)(axis=ours["AXIS"], keepdims=True) for what in ("mean", "var"))
        inv_std = 1 / (np.sqrt(var) + eps)
        x_hat = (x - mu) * inv_std
        return {"mu": mu, "xc": x - mu, "var": var, "inv_std": inv_std, "x_hat": x_hat, "y": gamma * x_hat + beta}

    return {"forward": forward}


@wrong(
    "forward-scores", "staged-scores", "closed-scores", "update-scores", "average-scores", "evaluate-backward-scores"
)
def the_other_layout(ours):
    return {"AXIS": 1 - ours["AXIS"]}


@wrong("staged-scores")
def staged_without_variance(ours):
    def backward_staged(dy, cache, gamma):
        found, n = dict(staged(dy, cache, gamma)), dy.shape[ours["AXIS"]]
        found["dxc"] = found["dx_hat"] * cache["inv_std"]
        found["dmu"] = -found["dxc"].sum(axis=ours["AXIS"], keepdims=True)
        return found | {"dx": found["dxc"] + found["dmu"] / n}

    staged = ours["backward_staged"]
    return {"backward_staged": backward_staged}


@wrong("staged-scores")
def half_forgotten_and_made_good(ours):
    """The right dx with a wrong dvar in between: two wrongs that cancel."""
    staged = ours["backward_staged"]
    return {"backward_staged": rewritten(staged, dvar=lambda found, *_, **__: 2 * found["dvar"])}


@wrong("closed-scores")
def closed_without_variance(ours):
    def backward_closed(dy, x_hat, inv_std, gamma):
        return gamma * inv_std * (dy - dy.mean(axis=ours["AXIS"], keepdims=True))

    return {"backward_closed": backward_closed}


@wrong("closed-scores")
def closed_without_gamma(ours):
    closed = ours["backward_closed"]
    return {"backward_closed": lambda dy, x_hat, inv_std, gamma: closed(dy, x_hat, inv_std, 1.0)}


@wrong("update-scores", "average-scores")
def biased_running_variance(ours):
    def update(state, x, momentum):
        n = x.shape[ours["AXIS"]]
        new, zero = right(state, x, momentum), right(state | {"var": 0 * state["var"]}, x, momentum)
        return new | {"var": new["var"] - zero["var"] / n}

    right = ours["update"]
    return {"update": update}


@wrong("update-scores")
def the_other_convention(ours):
    right = ours["update"]
    return {"update": lambda state, x, momentum: right(state, x, None if momentum is None else 1 - momentum)}


@wrong("average-scores")
def none_taken_for_a_tenth(ours):
    right, tenth = ours["update"], 0.1 if ours["WEIGHT_OF"] == "new" else 0.9
    return {"update": lambda state, x, momentum: right(state, x, tenth if momentum is None else momentum)}


@wrong("evaluate-scores")
def evaluation_by_the_batch(ours):
    def evaluate(x, state, gamma, beta, eps):
        return ours["forward"](x, gamma, beta, eps)["y"]

    return {"evaluate": evaluate}


@wrong("evaluate-backward-scores")
def gradients_of_training_in_evaluation(ours):
    def evaluate_backward(dy, x, state, gamma, eps):
        inv_std = 1 / np.sqrt(state["var"] + eps)
        found = right(dy, x, state, gamma, eps)
        return found | {"dx": ours["backward_closed"](dy, (x - state["mean"]) * inv_std, inv_std, gamma)}

    right = ours["evaluate_backward"]
    return {"evaluate_backward": evaluate_backward}


@wrong("images-scores")
def per_pixel(ours):
    def forward_images(x, gamma, beta, eps):
        x_hat = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps)
        return gamma.reshape(1, -1, 1, 1) * x_hat + beta.reshape(1, -1, 1, 1)

    return {"forward_images": forward_images}


@wrong("average-scores")
def none_with_the_weights_swapped(ours):
    right = ours["update"]

    def update(state, x, momentum):
        if momentum is None:
            new = 1 - 1 / (state["batches"] + 1)
            momentum = new if ours["WEIGHT_OF"] == "new" else 1 - new
        return right(state, x, momentum)

    return {"update": update}


@wrong("evaluate-scores")
def mean_of_the_batch_in_evaluation(ours):
    right = ours["evaluate"]

    def evaluate(x, state, gamma, beta, eps):
        return right(x, state | {"mean": x.mean(axis=ours["AXIS"], keepdims=True)}, gamma, beta, eps)

    return {"evaluate": evaluate}


@wrong("closed-scores")
def closed_with_one_sum(ours):
    def backward_closed(dy, x_hat, inv_std, gamma):
        along = (dy * x_hat).mean(axis=ours["AXIS"], keepdims=True)
        return gamma * inv_std * (dy - dy.sum(axis=ours["AXIS"], keepdims=True) - x_hat * along)

    return {"backward_closed": backward_closed}


@wrong("evaluate-scores")
def other_names_for_the_arguments(ours):
    right = ours["evaluate"]
    return {"evaluate": lambda x, running, weight, bias, eps: right(x, running, weight, bias, eps)}


@wrong("update-scores", "average-scores")
def state_updated_in_place(ours):
    right = ours["update"]

    def update(state, x, momentum):
        state.update(right(state, x, momentum))
        return state

    return {"update": update}
