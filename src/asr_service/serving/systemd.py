"""Notifications to systemd.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Sends messages to $NOTIFY_SOCKET; does nothing if it is not set.

    The variables are removed from the environment. Otherwise Gunicorn would send READY=1 when its master starts,
    minutes before a model is loaded, and child processes could send messages.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        ours = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._ping_every_s = int(watchdog_us) / 2e6 if watchdog_us.isdecimal() and ours else None
        self._pinged_s = float("-inf")
        self._status = ""

    def send(self, message: str) -> None:
        """Send one message, such as `READY=1`. Errors are ignored."""
        if not self._address:
            return
        # systemd may be restarting: a lost message must not stop the service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), self._address)

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`, if it has changed."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def ping(self, now_s: float) -> None:
        """Report to the watchdog that this process works, twice in each of its intervals."""
        if self._ping_every_s is not None and now_s - self._pinged_s >= self._ping_every_s:
            self._pinged_s = now_s
            self.send("WATCHDOG=1")
