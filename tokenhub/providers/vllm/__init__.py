"""vLLM, which speaks OpenAI's protocol: several endpoints that serve the same models, taken in turn."""
