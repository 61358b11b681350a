import os

# Threads of PyTorch's that have nothing to do sleep. By default they spin for a while, on the cores
# that the decoders and Postgres need. OpenMP reads it when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
