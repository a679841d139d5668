"""Words to systemd: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html"""

import contextlib
import os
import socket
from collections.abc import MutableMapping


class Notifier:
    """Sends to $NOTIFY_SOCKET; does nothing where there is none.

    Takes the variables out of the environment: Gunicorn would say READY as soon as its master runs, which is minutes
    before a model is loaded, and no child has anything to tell.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        ours = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._ping_every_s = int(watchdog_us) / 2e6 if watchdog_us.isdigit() and ours else None
        self._pinged_s = float("-inf")
        self._status = ""

    def send(self, message: str) -> None:
        if not self._address:
            return
        # systemd may be restarting: a lost word must not stop the service.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), self._address)

    def status(self, text: str) -> None:
        """Show `text` in `systemctl status`, where it is new."""
        if text != self._status:
            self._status = text
            self.send(f"STATUS={text}")

    def ping(self, now_s: float) -> None:
        """Keep the watchdog from its bite, at twice the pace it asks for."""
        if self._ping_every_s is not None and now_s - self._pinged_s >= self._ping_every_s:
            self._pinged_s = now_s
            self.send("WATCHDOG=1")
