"""The doors for inference: one file per dialect. A door translates in, calls `services.chat`, and translates out."""
