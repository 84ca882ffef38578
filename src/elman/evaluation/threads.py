"""One thread for the baselines that start many of their own accord."""

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager[object]:
    """Trees of this size gain little from threads, and on a busy machine threads that wait cost ten times as much."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with scikit-learn

    limits: AbstractContextManager[object] = threadpool_limits(1, user_api="openmp")
    return limits
