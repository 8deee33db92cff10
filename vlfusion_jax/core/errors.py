"""The one exception that means: the input is wrong, here is what to do about it."""


class UserError(Exception):
    """Bad input, found before work starts. The message names the file, key or parameter, and what to do.

    The command line prints the message alone and exits with status 2; from Python it is an ordinary exception.
    """
