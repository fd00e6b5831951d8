"""Every error a user can meet.

    SparsightError                 exit  says
    ├── UsageError                    2  what was asked can't be done; what to ask instead
    ├── DataError                     3  annotations or a data set that can't be used
    ├── PictureError                  4  a picture that can't be read (the others go on)
    ├── BundleError                   5  a bundle that is missing, damaged or of another version
    ├── TrainingError                 6  a training run that can't start or go on
    ├── PayloadError                  7  coded bytes that can't be decoded
    ├── SpoolError                    8  a spool that can't be opened or written, or stops when full
    └── LinkError                     9  frames that the cloud did not take; they are in the spool

A message says what was expected, what came and what to do. The command line prints it as one line
and ends with the class's `exit_code`; 1 is left to crashes.
"""


class SparsightError(Exception):
    """Base of all errors that are a user's to fix."""

    exit_code = 2


class UsageError(SparsightError):
    """A combination of options or values that makes no sense."""

    exit_code = 2


class DataError(SparsightError):
    """Annotations or a data set that can't be used as they are."""

    exit_code = 3


class PictureError(SparsightError):
    """A picture that can't be read; names the file."""

    exit_code = 4


class BundleError(SparsightError):
    """A bundle that is missing, damaged or of a version this code does not read."""

    exit_code = 5


class TrainingError(SparsightError):
    """A training run that can't start or go on."""

    exit_code = 6


class PayloadError(SparsightError):
    """Coded bytes of a frame that are damaged, cut, hostile or of another version."""

    exit_code = 7


class SpoolError(SparsightError):
    """A device's spool on disk that can't be opened, read or written."""

    exit_code = 8


class LinkError(SparsightError):
    """The cloud can't be reached, or did not take everything that was to be sent."""

    exit_code = 9


class WireError(SparsightError):
    """Bytes that are no message of ours, or a value that the wire can't carry."""

    exit_code = 7
