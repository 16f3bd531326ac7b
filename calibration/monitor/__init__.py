"""Whether a certificate still holds: monitors and audits of verdicts."""

from __future__ import annotations

__all__ = []
