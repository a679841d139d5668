"""Runs an image without a Docker engine: only root, buildah and util-linux are needed.

Its own mounts and processes, a read-only root with tmpfs where the image asks for it, the image's user with no
capability left and no way to gain one. The network is this machine's.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from waiting import until

_BUILDAH = ("buildah", "--storage-driver", os.environ.get("STORAGE_DRIVER", "vfs"))

_ENTER = """
set -e
root=$1 model=$2 user=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o uid=${user%:*},gid=${user#*:},mode=0750 tmpfs "$root/run/asr-service"
mount -t tmpfs tmpfs "$root/dev"
for node in null zero full random urandom; do touch "$root/dev/$node"; mount --bind "/dev/$node" "$root/dev/$node"; done
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs tmpfs "$root/dev/shm"
if [ -n "$model" ]; then mount --bind "$model" "$root/models"; mount -o remount,bind,ro "$root/models"; fi
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all -- "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    name: str
    config: dict[str, Any]
    """The image's configuration in Docker's format: User, Env, Entrypoint and others."""
    root: Path
    """The image's file system, which must not be changed."""

    @property
    def environ(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.config["Env"])


@dataclass(frozen=True, slots=True)
class Container:
    image: Image
    process: "subprocess.Popen[bytes]"
    environ: Mapping[str, str]
    log: Path

    @property
    def first(self) -> psutil.Process:
        """Return process 1 of the container."""
        return until(lambda: psutil.Process(self.process.pid).children(), what="process 1")[0]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the image's user, like `docker exec`."""
        user, group = self.image.config["User"].split(":")
        enter = ["nsenter", "-t", str(self.first.pid), "-m", "-p", "-r", "-w", "--"]
        become = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs", "--"]
        return subprocess.run(
            [*enter, *become, *command], env=self.environ, capture_output=True, text=True, timeout=60, check=False
        )


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    config = json.loads(_buildah("inspect", "--type", "image", name))["Docker"]["config"]
    working = _buildah("from", "--pull-never", name)
    try:
        yield Image(name, config, Path(_buildah("mount", working)))
    finally:
        _buildah("rm", working)


@contextmanager
def running(image: Image, log: Path, model: Path | None = None, **settings: str) -> Iterator[Container]:
    """Run the image like `docker run --read-only --cap-drop=ALL --tmpfs /tmp --tmpfs /run/asr-service`."""
    environ = image.environ | settings
    command = [*image.config["Entrypoint"], *image.config["Cmd"]]
    apart = ["unshare", "--mount", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    enter = ["bash", "-c", _ENTER, "enter", str(image.root), str(model or ""), image.config["User"]]
    with log.open("wb") as file:
        process = subprocess.Popen([*apart, *enter, *command], env=environ, stdout=file, stderr=file)
        try:
            yield Container(image, process, environ, log)
        finally:
            process.kill()
            process.wait(30)


def _buildah(*arguments: str) -> str:
    return subprocess.run(
        [*_BUILDAH, *arguments], capture_output=True, text=True, timeout=300, check=True
    ).stdout.strip()
