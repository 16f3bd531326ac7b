"""vLLM's own offline `generate` on a judge's prompts: `LLM.generate`, all of a round at once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.hosted.judge_workload import Prompts, Round, made_pair
from judges.prompting.label_tokens import find_label_ids
from judges.types import Pair


class Offline:
    """One offline engine in this process."""

    def __init__(self, folder: str, engine: dict[str, Any], words: int) -> None:
        from vllm import LLM, SamplingParams

        self._llm = LLM(model=folder, **{"enable_prefix_caching": True, **engine})
        tokenizer = self._llm.get_tokenizer()
        self._prompts = Prompts(tokenizer, words)
        wanted = find_label_ids(tokenizer, self._prompts.template.labels).all
        self._sampling = SamplingParams(
            max_tokens=1, temperature=0, logprob_token_ids=wanted, allowed_token_ids=wanted,
            detokenize=False,
        )  # fmt: skip

    def run(self, pairs: Sequence[Pair]) -> Round:
        """Answer all prompts of these pairs at once."""
        started = time.perf_counter()
        prompts = [{"prompt_token_ids": ids} for pair in pairs for ids in self._prompts.of(pair)]
        self._llm.generate(prompts, self._sampling, use_tqdm=False)
        return Round(time.perf_counter() - started, len(pairs))

    def close(self) -> None:
        """Give the engine's memory back."""
        self._llm.llm_engine.engine_core.shutdown()


def seconds_offline(
    folder: str, engine: dict[str, Any], words: int, rounds: Sequence[Sequence[int]]
) -> list[float]:
    """Return how long each round of numbered pairs takes, in a process that ends with its engine.

    Not a number where it failed, which it has then explained: the other figures of a run stand.
    """
    with TemporaryDirectory() as scratch:
        job, found = Path(scratch) / "job.json", Path(scratch) / "found.json"
        job.write_text(json.dumps([folder, engine, words, [list(one) for one in rounds]]))
        command = [sys.executable, "-m", "benchmarks.hosted.offline_generate", str(job), str(found)]
        if subprocess.run(command, check=False, stdout=sys.stderr).returncode:
            return [math.nan] * len(rounds)
        seconds: list[float] = json.loads(found.read_text())
    return seconds


def main(job: str, found: str) -> None:
    """Run the rounds that a file describes, after a short one that nobody times."""
    folder, engine, words, rounds = json.loads(Path(job).read_text())
    offline = Offline(folder, engine, words)
    offline.run([made_pair(2 * 10**6 + number, words) for number in range(2)])
    seconds = [offline.run([made_pair(n, words) for n in one]).seconds for one in rounds]
    Path(found).write_text(json.dumps(seconds))
    offline.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
