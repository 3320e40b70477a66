"""The base of every error that aiverify raises on purpose.

A room has one subclass beside its interface. Raw exceptions of libraries never leave the room that called them, and
only ``cli/`` turns an error into an exit.
"""


class AiverifyError(Exception):
    """Something could not be done. The message is one line that names the place; ``hint`` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def diagnostics(self) -> str:
        """The text for a person: the message, and below it the way out."""
        return f"{self}\n{self.hint}" if self.hint else str(self)


class UsageError(AiverifyError):
    """The options or arguments contradict each other."""


def in_words(error: Exception) -> str:
    """What ``error`` says, for a message that names the file: an OSError without its number and its own file name."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
