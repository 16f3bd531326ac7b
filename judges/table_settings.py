"""From one judge's table to the settings of the judge."""

from __future__ import annotations

from collections.abc import Mapping

from judges.configuration import OpenAITable, VllmTable
from judges.engines import EngineSettings
from judges.errors import JudgeConfigurationInvalid
from judges.openai_api import checked_base_url
from judges.openai_settings import OpenAISettings
from judges.vllm_settings import VllmSettings


def openai_settings(name: str, table: OpenAITable, environ: Mapping[str, str]) -> OpenAISettings:
    """Return how a judge behind HTTP is asked.

    Raises:
        JudgeConfigurationInvalid: Its address is missing or wrong; names the key.
    """
    base_url = table.base_url or environ.get("OPENAI_BASE_URL")
    if not base_url:
        raise JudgeConfigurationInvalid(
            f"judges.{name}.base_url: missing (up to and including /v1); OPENAI_BASE_URL is not"
            " set either"
        )
    return OpenAISettings(
        name=name,
        base_url=checked_base_url(f"judges.{name}.base_url", base_url),
        model=table.model,
        revision=table.revision,
        endpoint=table.endpoint,
        tokenizer=table.tokenizer,
        orders=table.orders,
        confidence=table.confidence,
        max_tokens=table.answer_tokens,
        top_logprobs=table.top_logprobs,
        extra_body=table.extra_body,
        early_stop=table.early_stop,
        concurrency=table.concurrency,
        timeout_s=table.timeout_s,
        attempts=table.attempts,
        price_input=table.price_input,
        price_output=table.price_output,
        budget_usd=table.budget_usd,
        api_key_env=table.api_key_env,
    )


def vllm_settings(name: str, table: VllmTable) -> VllmSettings:
    """Return how a hosted judge is asked."""
    return VllmSettings(
        name=name,
        engine=EngineSettings(table.model, table.revision, table.engine, table.devices),
        endpoint=table.endpoint,
        orders=table.orders,
        confidence=table.confidence,
        max_tokens=table.answer_tokens,
        thinking_tokens=table.thinking_tokens,
        thinking_end=table.thinking_end,
        template_options=table.template_options,
        overflow=table.overflow,
        early_stop=table.early_stop,
        concurrency=table.concurrency,
        timeout_s=table.timeout_s,
        price_input=table.price_input,
        price_output=table.price_output,
    )
