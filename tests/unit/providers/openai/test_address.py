from __future__ import annotations

import pytest

from tokenhub.providers.openai.address import address

AZURE = "https://acme.openai.azure.com"


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        # OpenAI
        ("", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/", "https://api.openai.com/v1/chat/completions"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1/chat/completions"),
        ("https://eu.api.openai.com/v1", "https://eu.api.openai.com/v1/chat/completions"),
        # Azure: a deployment, and the interface without dates
        (
            f"{AZURE}/openai/deployments/my-gpt?api-version=2024-10-21",
            f"{AZURE}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{AZURE}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
            f"{AZURE}/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
        ),
        (f"{AZURE}/openai/v1/", f"{AZURE}/openai/v1/chat/completions"),
        (f"{AZURE}/openai/v1?api-version=preview", f"{AZURE}/openai/v1/chat/completions?api-version=preview"),
        (f"{AZURE}/openai", f"{AZURE}/openai/v1/chat/completions"),
        (AZURE, f"{AZURE}/openai/v1/chat/completions"),
        # others who speak the protocol
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        ),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1/chat/completions"),
        ("https://api.together.xyz/v1", "https://api.together.xyz/v1/chat/completions"),
        ("https://api.fireworks.ai/inference/v1", "https://api.fireworks.ai/inference/v1/chat/completions"),
        ("https://api.mistral.ai", "https://api.mistral.ai/v1/chat/completions"),
        ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("https://integrate.api.nvidia.com/v1", "https://integrate.api.nvidia.com/v1/chat/completions"),
        ("https://openrouter.ai/api/v1", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.deepinfra.com/v1/openai", "https://api.deepinfra.com/v1/openai/chat/completions"),
        ("https://ark.example.com/api/v3", "https://ark.example.com/api/v3/chat/completions"),
        ("https://api.perplexity.ai/chat/completions", "https://api.perplexity.ai/chat/completions"),
        # forms
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions"),
        ("https://x.test/openai", "https://x.test/openai/chat/completions"),
        ("https://x.test/vllm", "https://x.test/vllm/v1/chat/completions"),
        ("https://x.test/v1?api-version=7#part", "https://x.test/v1/chat/completions?api-version=7"),
    ],
)
def test_the_place_of_chat_completions_is_found_from_what_operators_have(base_url: str, url: str) -> None:
    assert address(base_url).url == url


@pytest.mark.parametrize("base_url", ["ftp://x.test", "x.test", "//x.test", "http://", "http://[::1"])
def test_a_base_url_that_is_no_web_address_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError):
        address(base_url)


@pytest.mark.parametrize(
    ("base_url", "header", "prefix"),
    [
        (f"{AZURE}/openai/v1", "api-key", ""),
        ("https://acme.cognitiveservices.azure.com/openai/deployments/x?api-version=2024-10-21", "api-key", ""),
        ("https://ACME.OpenAI.Azure.com/openai/v1", "api-key", ""),
        ("https://api.openai.com/v1", "Authorization", "Bearer "),
        ("https://openai.azure.com.evil.test/openai/v1", "Authorization", "Bearer "),
        ("https://evil.test/acme.openai.azure.com", "Authorization", "Bearer "),
    ],
)
def test_only_azure_is_given_its_key_in_a_header_of_its_own(base_url: str, header: str, prefix: str) -> None:
    where = address(base_url)
    assert (where.key_header, where.key_prefix) == (header, prefix)


@pytest.mark.parametrize(
    ("base_url", "is_openai", "is_dated"),
    [
        ("", True, False),
        ("https://us.api.openai.com/v1", True, False),
        ("https://api.openai.com.evil.test/v1", False, False),
        ("https://my-api.openai.com/v1", False, False),
        (f"{AZURE}/openai/v1", True, False),
        (f"{AZURE}/openai/v1?api-version=preview", True, False),
        (f"{AZURE}/openai/deployments/x?api-version=2024-06-01", True, True),
        (f"{AZURE}/openai/deployments/x?api-version=2024-08-01-preview", True, True),
        (f"{AZURE}/openai/deployments/x?api-version=2024-09-01-preview", True, False),
        (f"{AZURE}/openai/deployments/x?api-version=2024-10-21", True, False),
        ("https://x.test/v1?api-version=2023-05-15", False, False),
    ],
)
def test_openais_own_servers_and_azures_older_interface_are_known(
    base_url: str, is_openai: bool, is_dated: bool
) -> None:
    where = address(base_url)
    assert (where.is_openai, where.is_dated) == (is_openai, is_dated)
