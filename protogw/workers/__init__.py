"""Several processes that serve the same addresses: a supervisor that starts and watches over them, and the workers.

The supervisor serves nobody. It binds ports once (port 0 becomes one that all have), finds what is wrong with a config
before it starts anything, keeps the admin address, and counts for the limits that all workers share.
"""
