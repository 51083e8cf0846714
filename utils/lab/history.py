"""What came of a training: losses and accuracies of all replicas, and questions about them."""

from dataclasses import dataclass

import numpy as np

from utils.arrays import _array, number, numeric, one_of, whole

__all__ = ["History"]

_ROUNDING = 1 + 1e-9  # rates whose ratio is at most this are one, computed in two ways


def different(rates):
    """The rates that differ by more than rounding, ascending, float64; and of each rate, which of them it is, int64.

    Of rates that differ by rounding only, the smallest stands for all.
    """
    found = []
    for rate in np.sort(rates):
        if not found or rate > found[-1] * _ROUNDING:
            found.append(rate)
    found = np.array(found, dtype=np.float64)
    return found, np.searchsorted(found, rates, side="right") - 1


def one_or_each(values, n, name, what="replicas"):
    """One number for all, or one for each of n, float64 of shape (n,); `what` is the word for the n in the message."""
    values, n = numeric(values, name), whole(n, "n")
    if values.shape not in ((), (n,)):
        raise ValueError(f"{name}: expected one, or one for each of the {n} {what}, got shape {values.shape}")
    return np.array(np.broadcast_to(values, n))


@dataclass(frozen=True, eq=False)
class History:
    """What came of a training.

    Parameters
    ----------
    seeds : ndarray, shape (R,), int64
    learning_rates : ndarray, shape (R,), float64
    steps : ndarray, shape (E,), int64
        After which the networks were evaluated.
    accuracy : dict of str to ndarray, shape (E, R), float64
        In percent, for "test" and, where the split has one, "validation". A network whose outputs are not numbers
        classifies nothing: 0.
    loss : ndarray, shape (T, R), float64
        On the batch of each of all T steps, before the step; infinite from the step on at which a replica diverged.
    diverged_at : ndarray, shape (R,), float64
        First step at which the loss was not a finite number; infinity for never.
    seconds : float
        Wall-clock time of the training steps, without evaluations, all replicas together.
    """

    seeds: np.ndarray
    learning_rates: np.ndarray
    steps: np.ndarray
    accuracy: dict
    loss: np.ndarray
    diverged_at: np.ndarray
    seconds: float

    @property
    def diverged(self):
        """Which replicas diverged; shape (R,), bool."""
        return np.isfinite(self.diverged_at)

    @property
    def rates(self):
        """The learning rates that occur, ascending; those that differ by rounding only are one, the smallest."""
        return different(self.learning_rates)[0]

    def grid(self, values):
        """Values of the replicas as a table of seeds and learning rates, both ascending.

        Parameters
        ----------
        values : array_like, shape (..., R)

        Returns
        -------
        ndarray, shape (..., n_seeds, n_rates)

        Raises
        ------
        ValueError
            If there is not exactly one replica for each seed and rate, or not one value for each replica.
        """
        rates, which = different(self.learning_rates)
        values, shape = _array(values, "values"), (len(np.unique(self.seeds)), len(rates))
        if values.shape[-1:] != self.seeds.shape:
            raise ValueError(f"values: expected shape (..., {len(self.seeds)}), one per replica, got {values.shape}")
        pairs = set(zip(self.seeds.tolist(), which.tolist(), strict=True))
        if not len(pairs) == len(self.seeds) == shape[0] * shape[1]:
            raise ValueError(
                f"grid: expected one replica for each of {shape[0]} seeds and {shape[1]} learning rates, "
                f"got {len(self.seeds)} replicas with {len(pairs)} different pairs"
            )
        order = np.lexsort((which, self.seeds))
        return values[..., order].reshape(*values.shape[:-1], *shape)

    def final(self, part="test"):
        """Accuracy after the last step.

        Parameters
        ----------
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (R,), float64
            Percent.

        Raises
        ------
        ValueError
            If the split had no such part.
        """
        hint = "; a split gets a validation part from with_validation(seed=...)"
        return self.accuracy[one_of(part, self.accuracy, "part", hint=hint)][-1]

    def best_rate(self, part="validation"):
        """The learning rate with the highest median accuracy over the seeds after the last step.

        Parameters
        ----------
        part : {"validation", "test"}

        Returns
        -------
        float
            The smallest, if several are best.
        """
        return float(self.rates[np.median(self.grid(self.final(part)), axis=0).argmax()])

    def at_best(self, part="test"):
        """Accuracy after the last step of every seed, at the rate that is best on validation images.

        Parameters
        ----------
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (n_seeds,), float64
            Percent.

        Raises
        ------
        ValueError
            If the split had no such part, or none for validation.
        """
        return self.at(self.best_rate()).final(part)

    def at(self, rate):
        """The replicas with one learning rate.

        Parameters
        ----------
        rate : float

        Returns
        -------
        History

        Raises
        ------
        ValueError
            If no replica has this rate.
        """
        rates, which = different(self.learning_rates)
        rate = number(rate, "rate", at_least=0)
        near = np.flatnonzero((rates <= rate * _ROUNDING) & (rate <= rates * _ROUNDING))
        if not near.size:
            raise ValueError(f"rate: expected one of {rates.tolist()}, got {rate}")
        chosen = np.flatnonzero(which == near[0])
        return History(
            self.seeds[chosen],
            self.learning_rates[chosen],
            self.steps,
            {part: values[:, chosen] for part, values in self.accuracy.items()},
            self.loss[:, chosen],
            self.diverged_at[chosen],
            self.seconds * len(chosen) / len(self.seeds),
        )

    def steps_to(self, accuracy, part="test"):
        """Steps until an accuracy was first seen at an evaluation.

        Parameters
        ----------
        accuracy : float or array_like, shape (R,)
            Percent.
        part : {"test", "validation"}

        Returns
        -------
        ndarray, shape (R,), float64
            Infinity for never.
        """
        self.final(part)
        reached = self.accuracy[part] >= one_or_each(accuracy, len(self.seeds), "accuracy")
        return np.where(reached.any(axis=0), self.steps[reached.argmax(axis=0)], np.inf)

    def usable_range(self, accuracy, part="test"):
        """The learning rates around the best one with which an accuracy is reached in the end, for each seed.

        Parameters
        ----------
        accuracy : float or array_like, shape (n_seeds,)
            Percent.
        part : {"test", "validation"}

        Returns
        -------
        low, high : ndarray, shape (n_seeds,), float64
            Smallest and largest of the neighbouring rates that will do; both 0 where none does.
        """
        table, rates = self.grid(self.final(part)), self.rates
        usable = table >= one_or_each(accuracy, len(table), "accuracy", "seeds")[:, None]
        low, high = np.zeros(len(table)), np.zeros(len(table))
        for i, row in enumerate(usable):
            first = last = int(table[i].argmax())
            if not row[first]:
                continue
            while first > 0 and row[first - 1]:
                first -= 1
            while last < len(rates) - 1 and row[last + 1]:
                last += 1
            low[i], high[i] = rates[first], rates[last]
        return low, high
