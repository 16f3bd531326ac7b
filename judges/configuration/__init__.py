"""The configuration of judges: its tables, checked, and the settings that follow from them."""

from __future__ import annotations

from judges.configuration.hosting import adapters_of, check_memory, engine_settings, model_folders
from judges.configuration.settings import openai_settings, reward_settings, vllm_settings
from judges.configuration.tables import (
    BY,
    OVERALL,
    AskedTable,
    CascadeTable,
    JudgeTable,
    OpenAITable,
    RecordedTable,
    RewardTable,
    StudentTable,
    VllmTable,
    read_cascade,
    read_judge,
    tables,
)

__all__ = [
    "BY",
    "OVERALL",
    "AskedTable",
    "CascadeTable",
    "JudgeTable",
    "OpenAITable",
    "RecordedTable",
    "RewardTable",
    "StudentTable",
    "VllmTable",
    "adapters_of",
    "check_memory",
    "engine_settings",
    "model_folders",
    "openai_settings",
    "read_cascade",
    "read_judge",
    "reward_settings",
    "tables",
    "vllm_settings",
]
