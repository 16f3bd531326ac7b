"""What is said where a certificate stands on labels that are no longer the present ones."""

from __future__ import annotations


def changed_labels_note(calibration: str, changed: int) -> str | None:
    """Say on how many pairs of a certificate the labels changed since; None if on none.

    New labels void no certificate: its promise is about the labels that it read.
    """
    if not changed:
        return None
    pairs = "a pair" if changed == 1 else f"{changed} pairs"
    return (
        f"labels were given or replaced on {pairs} that {calibration} was made from: it stands on "
        "those that it read (certify again to stand on the present ones)"
    )
