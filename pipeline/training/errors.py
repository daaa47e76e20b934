"""What can be wrong with a run."""


class TrainingError(ValueError):
    """A run that cannot start or go on: one line naming the file or setting."""
