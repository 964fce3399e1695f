"""Anything that speaks OpenAI's chat completions: OpenAI itself, vLLM, Ollama, Groq, OpenRouter, Mistral, Together."""
