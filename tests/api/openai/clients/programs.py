"""The real client programs: how each is started. `make clients` installs them into .clients/ and node/node_modules."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PYTHON = ROOT / ".clients" / "bin" / "python"
NODE_MODULES = HERE / "node" / "node_modules"
RECORDED = HERE / "recorded"


@dataclass(frozen=True, slots=True)
class Program:
    """A script that sends recordings to a service with one client library, and prints the text of each answer."""

    name: str
    """The name of its recording."""
    script: str
    packages: tuple[str, ...]
    """The packages whose versions a recording names."""
    n_answers: int
    arguments: tuple[str, ...] = ()

    @property
    def is_python(self) -> bool:
        return self.script.endswith(".py")

    def missing(self) -> str | None:
        """Return what has to be installed, if anything."""
        needed = PYTHON if self.is_python else NODE_MODULES
        return None if needed.exists() else f"{needed} does not exist: make clients"

    def run(self, url: str, audio: Path, **environ: str) -> list[str]:
        """Run the program. Returns the lines that it prints."""
        start = [str(PYTHON), str(HERE / "programs" / self.script)]
        if not self.is_python:
            start = ["node", str(HERE / "node" / self.script)]
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONWARNINGS": "ignore", "OPENAI_API_KEY": "any"}
        done = subprocess.run(
            [*start, url, str(audio), *self.arguments],
            env=os.environ | quiet | environ, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stdout.splitlines() if line]

    def versions(self) -> dict[str, str]:
        """Return the installed version of each package."""
        if self.is_python:
            code = "import sys, importlib.metadata as m; print(*[m.version(name) for name in sys.argv[1:]])"
            told = subprocess.run([PYTHON, "-c", code, *self.packages], capture_output=True, text=True, check=True)
            return dict(zip(self.packages, told.stdout.split(), strict=True))
        read = [json.loads((NODE_MODULES / name / "package.json").read_text()) for name in self.packages]
        return {each["name"]: each["version"] for each in read}


PROGRAMS = (
    Program("groq-python", "groq_.py", ("groq",), 3),
    Program("langchain", "langchain_.py", ("langchain-community", "openai", "pydub"), 2),
    Program("litellm", "litellm_.py", ("litellm", "openai"), 3),
    Program("livekit", "livekit_.py", ("livekit-plugins-openai", "livekit-agents", "openai"), 3),
    Program("pipecat", "pipecat_.py", ("pipecat-ai", "openai", "groq"), 3),
    Program("wyoming-openai", "wyoming_.py", ("wyoming-openai", "openai"), 3),
    Program("openai-node", "openai.mjs", ("openai",), 4),
    Program("groq-node", "groq-sdk.mjs", ("groq-sdk",), 1),
    *(
        Program(f"vercel-ai-{release}", "ai.mjs", (f"ai{release}", f"ai{release}-openai"), 3, (str(release),))
        for release in (4, 5, 6, 7)
    ),
)
