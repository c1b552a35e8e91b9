"""The machines: labs, SSH, the agent and every change made to a host. Knows nothing of benchmarks."""
