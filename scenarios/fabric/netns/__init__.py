"""Real kernels: network namespaces on this machine, and between them our own Internet."""
