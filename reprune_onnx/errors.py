"""The errors a caller can expect; everything else that escapes is a bug.

Each message is one line that names the node or the file, the numbers that disagree, and the next
step.
"""


class RepruneError(Exception):
    """A problem of the user's model, data or request; the command line exits with 1."""


class ModelError(RepruneError):
    """The file is not a model that this tool can read, analyse or prune."""


class KernelError(ModelError):
    """ONNX Runtime lacks an operator, or one for these types: the model cannot be run here."""


class DataError(RepruneError):
    """Calibration or evaluation data that cannot be read, or that the model does not take."""


class SelectionError(RepruneError):
    """The request selects nothing, or a selection file does not fit the model."""


class OutOfReachError(SelectionError):
    """More is asked to go than can; ``most`` is the share that can."""

    most: float


class OutputError(RepruneError):
    """The result cannot be written where it was asked for."""


class VerificationError(RepruneError):
    """The pruned model differs from the masked original, or nothing could show that it does not."""


class TrainingError(RepruneError):
    """Training went wrong: a loss that is not finite, or a part of PyTorch that is not there."""


class EngineError(RepruneError):
    """No TensorRT engine can be built, or used, here: a library, a GPU or a version is missing."""


class UsageError(RepruneError):
    """An option has a value outside its range. The command line exits with 2."""


class ArgumentError(UsageError, TypeError):
    """An argument of a function has a type that the function does not take."""
