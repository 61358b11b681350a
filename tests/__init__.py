import app  # noqa: F401 (before numpy, which reads the environment that this sets)
