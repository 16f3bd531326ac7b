"""How a judge is asked, from its table: one function for each kind of judge."""

from __future__ import annotations

from collections.abc import Mapping

from judges.configuration.hosting import engine_settings
from judges.configuration.tables import OpenAITable, RewardTable, VllmTable
from judges.errors import JudgeConfigurationInvalid
from judges.openai.clients import checked_base_url
from judges.openai.settings import HALF, OpenAISettings, check_headers
from judges.reward.settings import FittedOn, RewardSettings
from judges.vllm.settings import VllmSettings


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
    try:
        check_headers(table.headers)
    except JudgeConfigurationInvalid as error:
        raise JudgeConfigurationInvalid(f"judges.{name}.{error}") from None
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
        temperature=table.temperature or 0.0,
        extra_body=table.extra_body,
        omit=frozenset(table.omit),
        system_role=table.system_role,
        min_label_mass=table.min_label_mass,
        early_stop=table.early_stop,
        reasons=table.reason_settings,
        concurrency=table.concurrency,
        max_reply_bytes=table.max_reply_bytes,
        timeout_s=table.timeout_s,
        attempts=table.attempts,
        longest_wait_s=table.longest_wait_s,
        price_input=table.price_input,
        price_output=table.price_output,
        budget_usd=table.budget_usd,
        api_key_env=table.api_key_env,
        headers=table.headers,
        query=table.query,
        batch_endpoint=table.batch_endpoint,
        batch_price=HALF if table.batch_price is None else table.batch_price,
    )


def vllm_settings(name: str, table: VllmTable) -> VllmSettings:
    """Return how a hosted judge is asked."""
    return VllmSettings(
        name=name,
        engine=engine_settings(table),
        endpoint=table.endpoint,
        orders=table.orders,
        confidence=table.confidence,
        max_tokens=table.answer_tokens,
        thinking_tokens=table.thinking_tokens,
        thinking_end=table.thinking_end,
        template_options=table.template_options,
        overflow=table.overflow,
        early_stop=table.early_stop,
        reasons=table.reason_settings,
        concurrency=table.concurrency,
        timeout_s=table.timeout_s,
        price_input=table.price_input,
        price_output=table.price_output,
        adapter=table.adapter,
    )


def reward_settings(name: str, table: RewardTable, fitted: FittedOn | None) -> RewardSettings:
    """Return how a reward model is asked; where it is hosted comes apart."""
    return RewardSettings(
        name=name,
        model=table.model,
        revision=table.revision,
        endpoint=table.endpoint or "classify",
        tokenizer=table.tokenizer,
        input=table.input,
        first_label=table.first_label,
        chat_template=table.chat_template,
        template_options=table.template_options,
        tau=None if fitted is not None else table.tau or 1.0,
        fitted_on=fitted,
        concurrency=table.concurrency,
        timeout_s=table.timeout_s,
        price_input=table.price_input,
    )
