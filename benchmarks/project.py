"""A folder of models, samples and reports that `orster` commands fill."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

FRAMES = 8  # of a clip that the judge is trained on
JUDGE = ("encoder.steps=1500", "encoder.batch=64")


class Project:
    """Each folder in it is made once, by the first thread that needs it; existing folders are not made
    again. `threads`: of each command. Several commands may run at once."""

    threads = 1

    def __init__(self, root: Path, glb: Path, config: Path) -> None:
        """`glb`: the folder of objects; `config`: settings of every command except `evaluate`, which
        keeps its protocol."""
        self.root, self.glb, self.config = root, glb, config
        self._locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    @property
    def _waiting(self) -> dict[str, str]:
        """Threads of a command that runs alone spin for a moment before they sleep (see `make weights`)."""
        return {} if self.threads == 1 else {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "10000"}

    def orster(self, *arguments: str, out: str) -> None:
        """`orster ARGUMENTS -o OUT`."""
        command = ["-m", "orster_cli", *arguments, "-o", str(self.root / out)]
        if arguments[0] not in ("evaluate", "construct"):
            command += ["--config", str(self.config)]
        self.python(*command, out=out)

    def python(self, *arguments: str, out: str) -> None:
        """Runs a Python command. On failure it prints the command's output and exits."""
        with self._guard:
            lock = self._locks[self.root / out]
        with lock:
            code, said = self._finish([sys.executable, *arguments])
        if self._stopped:
            raise SystemExit(f"{out}: stopped")
        if code:
            failed = f"{out}: {' '.join(arguments)}\n{said[-4000:]}"
            print(failed, file=sys.stderr, flush=True)  # at once: other threads go on for long
            raise SystemExit(f"{out}: failed")
        print(f"{out}: done", flush=True)

    def _finish(self, words: Sequence[str]) -> tuple[int, str]:
        """Exit code and standard error of a command. Once stopped, none is started."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads), **self._waiting}
        with self._guard:
            if self._stopped:
                return 1, ""
            running = subprocess.Popen(
                words,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._running.add(running)
        _, said = running.communicate()
        with self._guard:
            self._running.discard(running)
        return running.returncode, said

    def stop(self) -> None:
        """End the commands that run: a stage of training writes a checkpoint first. None is started after
        that."""
        with self._guard:
            self._stopped = True
            for running in self._running:
                running.terminate()

    def dataset(
        self,
        name: str,
        clips: Sequence[Mapping[str, str]],
        *changes: str,
        objects: str = "objects",
    ) -> None:
        """All `clips` (rows with file, clip, caption) as a dataset, from links in `objects`.
        `changes`: SECTION.KEY=VALUE."""
        folder = self.root / objects
        folder.mkdir(parents=True, exist_ok=True)
        for file in {row["file"] for row in clips}:
            if not (folder / file).exists():
                (folder / file).symlink_to((self.glb / file).resolve())
        captions = self.root / f"{name}.csv"
        with captions.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, fieldnames=list(clips[0]))
            writer.writeheader()
            writer.writerows({**row, "use": "1"} for row in clips)
        self.orster(
            "prepare-data", str(folder), "--captions", str(captions), *_set(changes), out=name
        )

    def stages(
        self, data: str, start: str, stages: Iterable[tuple[str, str, Sequence[str]]]
    ) -> Path:
        """Runs stages of training, each from the model of the one before, the first from `start`; returns
        the last model. A stage: command, folder of its model, other arguments."""
        last = self.root / start
        for command, out, more in stages:
            self.orster(command, str(self.root / data), "-m", str(last), *more, out=out)
            last = self.root / out
        return last

    def judge(self, clips: Sequence[Mapping[str, str]]) -> None:
        """An encoder with another seed than the shipped one, trained on all `clips`."""
        self.dataset("dataset-judge", clips, f"prepare.frames={FRAMES}", objects="objects-judge")
        data = str(self.root / "dataset-judge")
        self.orster("pretrain", data, "--role", "encoder", "--seed", "1", *_set(JUDGE), out="judge")


def _set(changes: Sequence[str]) -> list[str]:
    return [word for one in changes for word in ("--set", one)]
