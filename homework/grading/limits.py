"""How much one submission may use."""

from dataclasses import dataclass

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes for one submission; beyond them its kernel ends, and its reason says which limit it was."""

    start: float = 60.0  # seconds until the kernel answers for the first time
    cell: float = 20.0  # seconds per cell
    total: float = 180.0  # seconds for everything
    grace: float = 2.0  # seconds from an interrupt to the end of whoever does not heed it
    cpu: float = 150.0  # seconds of processor time of all its processes
    memory: int = 2048 * MB  # in use of all its processes
    address_space: int = 6144 * MB  # of one process, used or only reserved
    processes: int = 16  # at a time; watched
    tasks: int = 96  # processes and threads at a time; the system refuses more
    file: int = 64 * MB  # one file
    disk: int = 128 * MB  # /tmp, which is in memory
    exchange: int = 16 * MB  # the folder of the connection file
    output: int = 24 * MB  # sent in all messages
    reply: int = 12 * MB  # one message
    # This process may grow by so much while it listens: a message without end never arrives, but is kept.
    backlog: int = 512 * MB
    kernels: int = 40  # how often a kernel is started for what it did not get to
