"""Fully connected networks, trained together by hand-written gradients that go into the weights at once.

Every array has the replicas first. PyTorch multiplies them in one call, and no gradient is stored: in networks this
large, reading and writing weights is what takes the time.
"""

import numpy as np
import torch

EPSILON = 1e-5  # in the denominators of batch norm, as in PyTorch

# The function of a unit, and its derivative, computed from its output.
UNITS = {
    "sigmoid": (torch.sigmoid, lambda h: h * (1 - h)),
    "tanh": (torch.tanh, lambda h: 1 - h * h),
    "softsign": (lambda z: z / (1 + z.abs()), lambda h: (1 - h.abs()) ** 2),
    "relu": (torch.relu, lambda h: (h > 0).float()),
}


def gaussian(deviation):
    """A start with weights from N(0, deviation²)."""
    return lambda rng, fan_in, fan_out: rng.normal(0, deviation, (fan_in, fan_out))


def standard(rng, fan_in, fan_out):
    """The start that Glorot and Bengio call standard, their equation 1."""
    return rng.uniform(-1, 1, (fan_in, fan_out)) / np.sqrt(fan_in)


def normalized(rng, fan_in, fan_out):
    """The start that Glorot and Bengio propose, their equation 16."""
    return rng.uniform(-1, 1, (fan_in, fan_out)) * np.sqrt(6 / (fan_in + fan_out))


def xavier(rng, fan_in, fan_out):
    """What He and others call Xavier: the variance is 1 / fan-in."""
    return rng.normal(0, np.sqrt(1 / fan_in), (fan_in, fan_out))


def he(rng, fan_in, fan_out):
    """What He and others propose for ReLU, their equation 10: the variance is 2 / fan-in."""
    return rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out))


class Stack:
    """Networks of the same shape, one per seed: `sizes` are those of input, hidden layers and output."""

    def __init__(self, sizes, seeds, unit, start, *, norm=False, momentum=0.0, device="cpu"):
        self.unit, self.slope = UNITS[unit]
        self.norm, self.momentum = norm, momentum
        n, rngs = len(seeds), [np.random.default_rng([seed, 0]) for seed in seeds]
        shapes = list(zip(sizes[:-1], sizes[1:], strict=True))
        drawn = [np.stack([start(rng, *shape) for rng in rngs]) for shape in shapes]
        self.W = [torch.tensor(W, dtype=torch.float32, device=device) for W in drawn]
        self.b = [torch.zeros(n, 1, fan_out, device=device) for _, fan_out in shapes]  # with norm: beta
        self.gamma = [torch.ones(n, 1, fan_out, device=device) for _, fan_out in shapes[:-1]] if norm else []
        self.speed = [torch.zeros_like(each) for each in self.parameters()] if momentum else []

    def parameters(self):
        """All that is trained."""
        return [*self.W, *self.b, *self.gamma]

    def forward(self, x, statistics=None):
        """Logits, the outputs of all layers from x on, the inputs of all units, and what batch norm remembers.

        `statistics` are means and variances per hidden layer; without them batch norm takes those of the batch.
        """
        outputs, inputs, remembered = [x], [], []
        for layer, W in enumerate(self.W):
            z = torch.bmm(outputs[-1], W)
            if self.norm and layer < len(self.W) - 1:
                mean = z.mean(1, keepdim=True) if statistics is None else statistics[layer][0]
                z -= mean
                variance = (z * z).mean(1, keepdim=True) if statistics is None else statistics[layer][1]
                scale = (variance + EPSILON).rsqrt_()
                z *= scale
                remembered.append((z, scale, mean, variance))
                z = torch.addcmul(self.b[layer], z, self.gamma[layer])
            else:
                z += self.b[layer]
            inputs.append(z)
            outputs.append(z if layer == len(self.W) - 1 else self.unit(z))
        return outputs.pop(), outputs, inputs, remembered

    def backward(self, x, y, rate, update):
        """Hand on rate times the gradient of the mean cross-entropy, per layer from the top, to `update`.

        It gets the layer, the input of its weights, the gradient there, and for batch norm those of gamma and beta.
        """
        logits, outputs, _, remembered = self.forward(x)
        delta = torch.softmax(logits, dim=2)
        delta.scatter_add_(2, y.unsqueeze(2), torch.full_like(delta[:, :, :1], -1.0))
        delta *= rate / y.shape[1]
        for layer in reversed(range(len(self.W))):
            last = layer == len(self.W) - 1
            if not last:
                delta = delta * self.slope(outputs[layer + 1])
            d_beta, d_gamma = delta.sum(1, keepdim=True), None
            if self.norm and not last:
                z, scale, _, _ = remembered[layer]
                d_gamma = (delta * z).sum(1, keepdim=True)
                mean = d_beta / y.shape[1]
                delta = (delta - mean).addcmul_(z, d_gamma, value=-1 / y.shape[1]).mul_(scale * self.gamma[layer])
            following = torch.bmm(delta, self.W[layer].transpose(1, 2)) if layer else None
            update(layer, outputs[layer], delta, d_beta, d_gamma)
            delta = following

    def step(self, x, y, rate):
        """One step of gradient descent; `rate` is a number, or a tensor of one per replica, (replicas, 1, 1)."""
        self.backward(x, y, rate, self._hurry if self.momentum else self._go)

    def _go(self, layer, h, delta, d_beta, d_gamma):
        self.W[layer].baddbmm_(h.transpose(1, 2), delta, alpha=-1)
        self.b[layer] -= d_beta
        if d_gamma is not None:
            self.gamma[layer] -= d_gamma

    def _hurry(self, layer, h, delta, d_beta, d_gamma):
        n = len(self.W)
        self.speed[layer].baddbmm_(h.transpose(1, 2), delta, beta=self.momentum)
        self.W[layer] -= self.speed[layer]
        moved = [(self.b[layer], self.speed[n + layer], d_beta)]
        if d_gamma is not None:
            moved.append((self.gamma[layer], self.speed[2 * n + layer], d_gamma))
        for parameter, speed, gradient in moved:
            speed.mul_(self.momentum).add_(gradient)
            parameter -= speed

    def statistics(self, x, size):
        """Means and unbiased variances of the hidden layers over batches of `size`, averaged, as in algorithm 2."""
        if not self.norm:
            return None
        found = []
        for batch in x.split(size):
            _, _, _, remembered = self.forward(batch.expand(len(self.W[0]), *batch.shape))
            found.append([(mean, variance * size / (size - 1)) for _, _, mean, variance in remembered])
        return [
            tuple(torch.stack(each).mean(0) for each in zip(*layer, strict=True)) for layer in zip(*found, strict=True)
        ]

    def parts(self, x, statistics=None, size=1000):
        """What `forward` gives for the same images in all replicas, in parts."""
        for batch in x.split(size):
            yield self.forward(batch.expand(len(self.W[0]), *batch.shape), statistics)

    def errors(self, x, y, statistics=None):
        """The percentage of images that each replica gets wrong."""
        chosen = torch.cat([logits.argmax(2) for logits, *_ in self.parts(x, statistics)], dim=1)
        return (100 * (chosen != y).double().mean(1)).tolist()


def batches(n, size, seeds, epoch, device="cpu"):
    """The order of one epoch: for each step, and each seed, the numbers of its images; a rest is left out."""
    steps = n // size
    orders = [np.random.default_rng([seed, 1, epoch]).permutation(n)[: steps * size] for seed in seeds]
    numbers = np.stack(orders).reshape(len(seeds), steps, size).transpose(1, 0, 2)
    return torch.tensor(np.ascontiguousarray(numbers), device=device)


def take(x, y, numbers):
    """The images and labels of one step, replicas first."""
    flat = numbers.reshape(-1)
    return x.index_select(0, flat).view(*numbers.shape, -1), y.index_select(0, flat).view(numbers.shape)
