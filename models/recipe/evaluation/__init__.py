"""What a model is measured with: examples, measures, and the suites that put them together."""
