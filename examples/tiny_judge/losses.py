"""What the tiny judge is trained on: the labels, the text, and hints at the steps between them.

A hint is the loss of a linear probe, which is thrown away afterwards: does this word fit the topic,
which manner did this label prefer, what do these people like. Without hints the same things must be
found out from the labels alone, which takes many times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from examples.tiny_judge.sequences import Integers, Sequences

# after which layer a probe reads: each needs what the one before it has found
_FITS, _CHOSEN, _MANNER, _TASTE = 2, 2, 3, 3
PROBES: Final = ("fits", "chosen", "manner", "taste")


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over a batch.

    Attributes:
        label: Cross-entropy of the labels' tokens, over the whole vocabulary, against how often
            people prefer which response.
        text: Cross-entropy of every token; None where it is not asked for.
        hints: That of each probe which the batch has something for.
        agreement: How often the model agrees with a person.
    """

    label: Any
    text: Any
    hints: dict[str, Any]
    agreement: Any

    def total(self, text_weight: float, hint_weight: float) -> Any:
        """Return what is minimised."""
        total = self.label
        for hint in self.hints.values():
            total = total + hint_weight * hint
        return total if self.text is None else total + text_weight * self.text

    def __str__(self) -> str:
        shown = {"label": self.label, "text": self.text, **self.hints, "agreement": self.agreement}
        return "  ".join(f"{k} {float(v.detach()):.3f}" for k, v in shown.items() if v is not None)


def make_probes(hidden: int) -> Any:
    """Return one linear probe for each kind of hint."""
    import torch

    return torch.nn.ModuleDict({name: torch.nn.Linear(hidden, 1) for name in PROBES})


def losses(
    model: Any, probes: Any, batch: Sequences, label_ids: tuple[int, int], *, with_text: bool
) -> Losses:
    """Return the losses of a batch."""
    import torch

    ids = torch.from_numpy(batch.ids)
    output = model.model(ids, output_hidden_states=True)
    at = torch.arange(len(ids))[:, None], torch.from_numpy(batch.verdicts)
    logs = torch.log_softmax(model.lm_head(output.last_hidden_state[at]), -1)[..., list(label_ids)]
    p_a = torch.from_numpy(batch.p_a).float()
    return Losses(
        label=-(p_a * logs[..., 0] + (1 - p_a) * logs[..., 1]).mean(),
        text=_text(model, output.last_hidden_state, batch) if with_text else None,
        hints=_hints(probes, output.hidden_states, batch),
        agreement=torch.where(logs[..., 0] > logs[..., 1], p_a, 1 - p_a).mean(),
    )


def _text(model: Any, hidden: Any, batch: Sequences) -> Any:
    import torch

    ids = torch.from_numpy(batch.ids)
    is_text = torch.arange(1, ids.shape[1])[None] < torch.from_numpy(batch.lengths)[:, None]
    logits = model.lm_head(hidden[:, :-1][is_text])
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][is_text])


def _hints(probes: Any, states: Any, batch: Sequences) -> dict[str, Any]:
    import torch

    rows = torch.arange(len(batch.ids))[:, None]
    verdicts = torch.from_numpy(batch.verdicts)
    found = {"fits": _hint(probes["fits"], states[_FITS], batch.fits)}
    manners = states[_MANNER][rows, verdicts]
    found["manner"] = _hint(probes["manner"], manners, batch.manners)
    if batch.chosen.size:
        labels = states[_CHOSEN][rows, verdicts[:, :-1] + 1]
        found["chosen"] = _hint(probes["chosen"], labels, batch.chosen)
        tastes = states[_TASTE][rows, verdicts[:, 1:]]
        found["taste"] = _hint(probes["taste"], tastes, batch.tastes)
    return {name: hint for name, hint in found.items() if hint is not None}


def _hint(probe: Any, states: Any, signs: Integers) -> Any:
    """Return the loss of telling 1 from -1; places with a 0 do not count."""
    import torch

    targets = torch.from_numpy(signs)
    counts = targets != 0
    if not counts.any():
        return None
    return torch.nn.functional.binary_cross_entropy_with_logits(
        probe(states[counts])[:, 0], (targets[counts] > 0).float()
    )
