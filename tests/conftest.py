"""What every test can use."""

pytest_plugins = ["tests.servers.app", "tests.servers.postgres"]
