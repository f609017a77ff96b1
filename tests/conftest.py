pytest_plugins = ["tests.devnet.fixtures"]
