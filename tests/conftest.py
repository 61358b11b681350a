"""What every test can use."""

pytest_plugins = ["tests.clients.installed", "tests.servers.app", "tests.servers.postgres"]
