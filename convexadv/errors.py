"""Errors of the package: each message is a sentence that says what was given and what is needed."""


class InputError(ValueError):
    """An argument or a data set that cannot be used as given."""


class FileFormatError(InputError):
    """A file that is truncated, of another kind, or from a newer version."""


class CertificateError(ValueError):
    """A certificate that does not belong to the problem or breaks its own conditions."""


class SolverUnavailableError(RuntimeError):
    """A solver that is not installed, not licensed, or cannot hold the problem."""
