"""Values as text, and back: arrays, numbers, strings, None, and lists, tuples and dicts of these.

The same text of this module runs on both sides: here, and in the kernel of a student, whose answers are not trusted.
Nothing is pickled, and reading builds nothing but the types above.
"""

import base64
import json
import math

import numpy as np

DEEPEST = 20
KINDS = "biufc"


class Code:
    """A piece of code as a value: what `source` calls `name`, made anew wherever it arrives.

    Attributes
    ----------
    source : str
        Python code.
    name : str
        Which of the names that the code defines is meant.
    """

    def __init__(self, source, name):
        self.source, self.name = source, name

    def make(self):
        """Execute the source and give what it calls by the name."""
        space = {"__name__": "given"}
        exec(compile(self.source, f"<{self.name}>", "exec"), space)
        return space[self.name]


def pack(value):
    """Write a value as text.

    Parameters
    ----------
    value : ndarray, number, str, bool, None, Code, or list, tuple, dict of these
        Tensors of PyTorch count as arrays.

    Returns
    -------
    str
        ASCII letters, digits, `+`, `/` and `=` only.

    Raises
    ------
    TypeError
        If it is anything else; the message completes "expected ..., got ...".
    """
    return base64.b64encode(json.dumps(_down(value, 0)).encode()).decode()


def unpack(text, *, code=False):
    """Read a value from text that may have been written by anybody.

    Parameters
    ----------
    text : str
    code : bool
        Admit `Code`, and execute it.

    Returns
    -------
    ndarray, number, str, bool, None, or list, tuple, dict of these

    Raises
    ------
    ValueError
        If the text is not what `pack` writes.
    """
    try:
        return _up(json.loads(base64.b64decode(text, validate=True)), 0, code)
    except Exception as error:  # whatever may be wrong with it
        raise ValueError(f"expected a packed value, got something else ({str(error)[:100]})") from None


def _down(value, depth):
    if depth > DEEPEST:
        raise TypeError(f"expected lists at most {DEEPEST} deep, got deeper ones")
    if value is None or type(value) in (bool, str, int, float):
        return value
    if type(value) is complex:
        return {"c": [value.real, value.imag]}
    if isinstance(value, Code):
        return {"code": [value.source, value.name]}
    if isinstance(value, list | tuple):
        return {"l" if isinstance(value, list) else "t": [_down(part, depth + 1) for part in value]}
    if isinstance(value, dict):
        return {"d": [[_down(key, depth + 1), _down(part, depth + 1)] for key, part in value.items()]}
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        array = np.array(value, order="C", subok=False)
        if array.dtype.kind not in KINDS or array.dtype.itemsize > 16:
            raise TypeError(f"expected an array of numbers, got one of dtype {array.dtype}")
        array = array.astype(array.dtype.newbyteorder("<"))
        kind = "a" if isinstance(value, np.ndarray) else "s"
        return {kind: [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()]}
    raise TypeError(f"expected arrays, numbers, strings, or lists and dicts of these, got {type(value).__name__}")


def _up(node, depth, code):
    if depth > DEEPEST:
        raise ValueError("too deep")
    if node is None or isinstance(node, bool | str | int | float):
        return node
    ((tag, body),) = node.items()
    if tag == "l":
        return [_up(part, depth + 1, code) for part in body]
    if tag == "t":
        return tuple(_up(part, depth + 1, code) for part in body)
    if tag == "d":
        return {_key(_up(key, depth + 1, code)): _up(part, depth + 1, code) for key, part in body}
    if tag == "c":
        return complex(float(body[0]), float(body[1]))
    if tag in ("a", "s"):
        array = _array(*body)
        return array if tag == "a" else array[()]
    if tag == "code" and code:
        return Code(*body).make()
    raise ValueError("an unknown tag")


def _key(value):
    if not isinstance(value, str | int | float | tuple | None):
        raise ValueError("a dict has an entry that is no key")
    hash(value)
    return value


def _array(dtype, shape, data):
    dtype = np.dtype(str(dtype))
    if dtype.kind not in KINDS or dtype.itemsize > 16 or dtype.hasobject or dtype.shape:
        raise ValueError("an array that does not hold numbers")
    if len(shape) > 16 or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ValueError("an array without a shape")
    data = base64.b64decode(data, validate=True)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array that is not as long as its shape says")
    return np.frombuffer(bytearray(data), dtype).reshape(shape)
