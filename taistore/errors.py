"""The exception tree. A message is one line: what is wrong, where, and what to do about it."""


class TaistoreError(Exception):
    """Base of every error that a user can mend; the command line prints it as one line."""


class LabelError(TaistoreError):
    """A label file or a label name is not usable."""


class UnknownLabelError(LabelError):
    """A name that no label of the set has."""


class StoreError(TaistoreError):
    """A store is missing, of another version, or cannot be written."""


class EncoderError(TaistoreError):
    """An encoder is unknown, its weights are missing or damaged, or it does not fit the store."""


class TextError(TaistoreError):
    """Captions are missing, empty or too long for the encoder."""


class ImageError(TaistoreError):
    """An image or an image source cannot be read; ``reason`` is the code kept in ``rejects``."""

    def __init__(self, message: str, *, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class ManifestError(TaistoreError):
    """A manifest row is malformed or names a label outside the set."""


class TrainingError(TaistoreError):
    """A training cannot start, continue or be reloaded."""


class ScoringError(TaistoreError):
    """Scores cannot be computed or written."""


class ExportError(TaistoreError):
    """Tags cannot be written where another tool looks for them, or be taken back."""


class SyntheticError(TaistoreError):
    """Images of texts cannot be made, read or told apart."""


class PluginError(TaistoreError):
    """Another package's writer, encoder or source does not exist or cannot be used."""


class MissingExtraError(TaistoreError):
    """An optional dependency is not installed; the message holds the command that installs it."""
