"""The doors for inference. A door translates a body into a command, calls `services.chat`, and writes the answer.

Each dialect has its routes and fields (openai.py, anthropic.py), its messages (..._messages.py) and its answers
(..._out.py). What they share: reading fields by a table (fields.py), having a command answered (answers.py).
"""
