"""Find the files of the folder ``data/``, which an installed package carries inside."""

from pathlib import Path

__all__ = []  # for the other modules


def data_file(name):
    """Where a file of the course's data is, by its name, such as ``claims.toml``.

    In ``utils/_data`` where the course was installed from a wheel, which has that folder; in a checkout, which does
    not have it, in ``data/``. What lies beside an installed package, in ``site-packages/data``, is never taken.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_data"
    return (inside if inside.is_dir() else package.parent / "data") / name
