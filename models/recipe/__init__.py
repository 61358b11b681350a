"""How `multimodal-embedding-v1` is made: run `python -m models.recipe --help`."""
