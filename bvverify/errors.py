"""Every error that bvverify raises on purpose.

One root, `BvverifyError`.  Each subclass tells the user what to do, and each message is one line: what is wrong,
where, and what would be accepted instead.
"""


class BvverifyError(Exception):
    """Root of all errors that bvverify raises on purpose."""


class UsageError(BvverifyError):
    """An option or argument is wrong.  Correct the call."""


class ModelFileError(BvverifyError):
    """A model file is missing, truncated or of no known format.  Check the path and how the file was saved."""


class InputError(BvverifyError):
    """An input array has the wrong shape, type or values.  Correct the data."""


class UnsupportedLayer(BvverifyError):
    """The model holds an operation that is not modelled.  The message lists what is; nothing is approximated in its
    place.
    """


class NotExact(BvverifyError):
    """The chosen target computes this layer in a way that is not modelled exactly.  Choose another target."""


class NotLinear(BvverifyError):
    """The question has no integer linear program.  Choose another stage."""


class TargetUnavailable(BvverifyError):
    """This machine cannot run the target's kernels.  Verification still works; replay needs a machine that can."""


class SolverUnavailable(BvverifyError):
    """The solver is not known, not installed, or cannot do what was asked.  Install it or choose another."""


class InternalError(BvverifyError):
    """bvverify contradicts itself or the kernel.  Nothing it said in this run may be trusted: please report the
    reproducer.
    """
