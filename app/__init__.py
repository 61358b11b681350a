import os

# Before anything imports PyTorch or numpy, which read these once. Threads that have nothing to do
# sleep: by default PyTorch's spin for a while after each operation, and those that numpy starts for
# a product of matrices do whatever they are told, on the cores that towers, decoders and Postgres
# need. So numpy starts none; its products here are small.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
