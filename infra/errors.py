"""What the command line tells its user instead of a stack trace."""


class CommandError(Exception):
    """A command cannot do what it was asked for; the message names the thing, its value and what is allowed."""
