"""How much one submission may use."""

from dataclasses import dataclass

MB = 2**20


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes for one submission; beyond them its kernel ends, and its reason says which limit it was.

    Attributes
    ----------
    start : float
        Seconds until the kernel answers for the first time.
    cell : float
        Seconds per cell.
    total : float
        Seconds for everything.
    grace : float
        Seconds from an interrupt to the end of whoever does not heed it.
    cpu : float
        Seconds of processor time of all its processes.
    memory : int
        Bytes in use of all its processes.
    address_space : int
        Bytes of one process, used or only reserved.
    processes : int
        Processes at a time; watched.
    tasks : int
        Processes and threads at a time; the system refuses more.
    file : int
        Bytes of one file.
    disk : int
        Bytes of /tmp, which is in memory.
    exchange : int
        Bytes in the folder of the connection file.
    output : int
        Bytes sent in all messages.
    reply : int
        Bytes of one message.
    backlog : int
        Bytes by which this process may grow while it listens: a message without end never arrives, but is kept.
    kernels : int
        How often a kernel is started for what it did not get to.
    """

    start: float = 60.0
    cell: float = 20.0
    total: float = 180.0
    grace: float = 2.0
    cpu: float = 150.0
    memory: int = 2048 * MB
    address_space: int = 6144 * MB
    processes: int = 16
    tasks: int = 96
    file: int = 64 * MB
    disk: int = 128 * MB
    exchange: int = 16 * MB
    output: int = 24 * MB
    reply: int = 12 * MB
    backlog: int = 512 * MB
    kernels: int = 8
