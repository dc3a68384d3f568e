"""Exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the shell; see `bvverify verify --help`."""

    ALL_ROBUST = 0
    SOME_VIOLATED = 1
    USAGE = 2
    SOME_UNKNOWN = 3
    INTERNAL_ERROR = 4
    INTERRUPTED = 130
