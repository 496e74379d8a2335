pytest_plugins = ["protogw.testing"]
