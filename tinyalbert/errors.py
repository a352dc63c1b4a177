"""The one exception that a user's mistake raises."""


class InputError(ValueError):
    """Something that was given cannot be used: a file, a line, an argument, a configuration.

    The message is one sentence that names the thing and says what to do. The command line prints
    it and exits with status 2, without a traceback; everything else that is raised is our bug.
    """
