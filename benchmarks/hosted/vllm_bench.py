"""`vllm bench throughput` on the token counts of a judge's prompts.

It makes random tokens of its own: so many prompts behind so many shared beginnings, all posted at
once. The command's own entry point asks for the version of a package that builds for a CPU do not
have, so its functions are called.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.hosted.judge_workload import ANNOTATORS

_WARMUPS: Final = 2 * ANNOTATORS  # other prompts, so that nothing is cached that counts


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """What a judge's prompts look like to an engine.

    Attributes:
        prompts: How many; a multiple of the beginnings.
        shared: Tokens that a prompt shares with others of its annotator.
        own: Tokens of its own.
        beginnings: How many different ones.
    """

    prompts: int
    shared: int
    own: int
    beginnings: int = ANNOTATORS


def arguments(folder: str, engine: dict[str, Any], counts: TokenCounts) -> list[str]:
    """Return the command line."""
    words = [
        "--model", folder, "--dataset-name", "prefix_repetition",
        "--num-prompts", str(counts.prompts),
        "--prefix-repetition-prefix-len", str(counts.shared),
        "--prefix-repetition-suffix-len", str(counts.own),
        "--prefix-repetition-num-prefixes", str(counts.beginnings),
        "--prefix-repetition-output-len", "1",
    ]  # fmt: skip
    for name, value in {"enable_prefix_caching": True, **engine}.items():
        words += _option(name.replace("_", "-"), value)
    return words


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", json.dumps(value) if isinstance(value, dict | list) else str(value)]


def tokens_per_second(folder: str, engine: dict[str, Any], counts: TokenCounts) -> float:
    """Return the tokens, prompts' and answers', that it gets through in a second.

    Not a number where it failed, which it has then explained: the other figures of a run stand.
    """
    with TemporaryDirectory() as scratch:
        found = Path(scratch) / "found.json"
        command = [sys.executable, "-m", "benchmarks.hosted.vllm_bench"]
        words = [*arguments(folder, engine, counts), "--output-json", str(found)]
        if subprocess.run([*command, *words], check=False, stdout=sys.stderr).returncode:
            return math.nan
        return float(json.loads(found.read_text())["tokens_per_second"])


def parsed(words: Sequence[str]) -> Any:
    """Return what the installed vLLM understands of a command line."""
    from vllm.benchmarks.throughput import add_cli_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="python -m benchmarks.hosted.vllm_bench")
    add_cli_args(parser)
    return parser.parse_args(list(words))


if __name__ == "__main__":
    from vllm.benchmarks.throughput import main

    understood = parsed(sys.argv[1:])
    understood.num_warmups = _WARMUPS  # older versions have no such option, and warm up nothing
    main(understood)
