"""How a worker process ended, in words."""

import signal


def describe_exit(exit_code: int) -> str:
    """Describe how a process ended, for a log line. A negative `exit_code` is a signal."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    if -exit_code == signal.SIGKILL:
        return "SIGKILL: from an operator, from the kernel when memory ran out, or from the master after SIGABRT"
    if -exit_code == signal.SIGBUS:
        return "SIGBUS: a mapped file, such as the model, was cut short while it was in use, or memory is defective"
    names = {each.value: each.name for each in signal.Signals}
    return names.get(-exit_code, f"signal {-exit_code}")  # most real-time signals have no name
