"""What tells a process from a later one that is given the same number."""


def started_at(pid: int) -> int:
    """Give when a process was started, in clock ticks since the machine was.

    Raises
    ------
    ProcessLookupError
        If there is no such process, or it has ended and only its parent has not looked yet.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is the program's name in parentheses, and may hold blanks and parentheses itself.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        fields = [b"X"]
    if fields[0] in b"ZX":
        raise ProcessLookupError(f"there is no process {pid} that a unit could be tied to")
    return int(fields[19])
