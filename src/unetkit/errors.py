class UserError(ValueError):
    """A mistake in what was asked for: shown as one line that names the key or file, the value and the fix."""
