"""``python -m elman``, and with it ``torchrun --nproc-per-node 2 -m elman``, is the command `elman`."""

from elman.cli.main import main

if __name__ == "__main__":
    main()
