"""The gateway beside its peers, in one run: CPU per request, throughput per core, latency."""
